CREATE OR REPLACE FUNCTION public.omop_emb_search(
    query text, k int DEFAULT 10, domains text[] DEFAULT NULL, vocabularies text[] DEFAULT NULL,
    concept_classes text[] DEFAULT NULL, standard_only boolean DEFAULT false, include_invalid boolean DEFAULT false,
    ancestor_concept_id int DEFAULT NULL, mode text DEFAULT 'semantic', config text DEFAULT NULL)
    RETURNS TABLE (rank int, concept_id int, concept_name text, domain_id text, vocabulary_id text,
        concept_class_id text, concept_code text, standard_concept text, similarity double precision,
        matched_text text, matched_kind text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config;
    f omop_emb.search_filter;
BEGIN
    IF mode IS DISTINCT FROM 'semantic' THEN
        RAISE EXCEPTION 'there is no search mode %', coalesce(quote_literal(mode), 'NULL')
            USING ERRCODE = 'OE005', HINT = 'The mode is ''semantic''.';
    END IF;
    c := omop_emb.config_for(config);
    f := omop_emb.search_filter(c, k, domains, vocabularies, concept_classes, standard_only, include_invalid,
        ancestor_concept_id, NULL);
    RETURN QUERY EXECUTE format('SELECT n.* FROM omop_emb.%I($1, $2, $3) n', 'nearest_' || c.config_id)
        USING omop_emb.embed_query(c, query)::{{ vector }}.vector, k::bigint, f;
    IF NOT FOUND AND NOT omop_emb.has_vectors(c.name) THEN
        RAISE WARNING 'nothing is indexed in configuration %', quote_literal(c.name)
            USING HINT = format('Run omop-emb-admin index, or SELECT * FROM omop_emb_index(config => %L).', c.name);
    END IF;
END
$$;

COMMENT ON FUNCTION public.omop_emb_search(text, int, text[], text[], text[], boolean, boolean, int, text, text) IS
    'The k concepts nearest in meaning to a text, which is embedded in the QUERY role; one row per concept, best first';
