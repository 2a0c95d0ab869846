CREATE OR REPLACE FUNCTION public.omop_emb_search(
    query text, k int DEFAULT 10, domains text[] DEFAULT NULL, vocabularies text[] DEFAULT NULL,
    concept_classes text[] DEFAULT NULL, standard_only boolean DEFAULT false, include_invalid boolean DEFAULT false,
    ancestor_concept_id int DEFAULT NULL, mode text DEFAULT 'hybrid', config text DEFAULT NULL)
    RETURNS TABLE (rank int, concept_id int, concept_name text, domain_id text, vocabulary_id text,
        concept_class_id text, concept_code text, standard_concept text, similarity double precision,
        matched_text text, matched_kind text, semantic_rank int, lexical_rank int)
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config;
    f omop_emb.search_filter;
    embedding {{ vector }}.vector;
BEGIN
    IF mode IS DISTINCT FROM 'semantic' AND mode IS DISTINCT FROM 'hybrid' THEN
        PERFORM omop_emb.require_mode(mode);
    END IF;
    c := omop_emb.config_for(config);
    f := omop_emb.search_filter(c, k, domains, vocabularies, concept_classes, standard_only, include_invalid,
        ancestor_concept_id, NULL);
    embedding := omop_emb.embed_query(c, query);
    IF embedding IS NULL THEN
        mode := 'lexical';
    END IF;
    RETURN QUERY EXECUTE 'SELECT s.* FROM ' || omop_emb.search_call(c, mode, '$1', '$2', '$3', '$4') || ' s'
        USING query, embedding, k::bigint, f;
    IF NOT FOUND THEN
        PERFORM omop_emb.warn_if_empty(c);
    END IF;
END
$$;

COMMENT ON FUNCTION public.omop_emb_search(text, int, text[], text[], text[], boolean, boolean, int, text, text) IS
    'The k concepts that answer a text best, one row each: by its vector in the QUERY role and, in mode hybrid, by its letters';
