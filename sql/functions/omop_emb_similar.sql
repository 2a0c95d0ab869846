-- RETURNS TABLE would name a column like the argument concept_id, which PostgreSQL refuses.
CREATE OR REPLACE FUNCTION public.omop_emb_similar(
    concept_id int, k int DEFAULT 10, domains text[] DEFAULT NULL, vocabularies text[] DEFAULT NULL,
    concept_classes text[] DEFAULT NULL, standard_only boolean DEFAULT false, include_invalid boolean DEFAULT false,
    ancestor_concept_id int DEFAULT NULL, config text DEFAULT NULL)
    RETURNS SETOF omop_emb.search_result
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
    f omop_emb.search_filter := omop_emb.search_filter(c, k, domains, vocabularies, concept_classes, standard_only,
        include_invalid, ancestor_concept_id, concept_id);
    name_vector {{ vector }}.vector;
BEGIN
    EXECUTE format($sql$
        SELECT e.embedding::{{ vector }}.vector
        FROM omop_emb.wanted_term($1) w
        JOIN omop_emb.%I e ON e.text_hash = w.text_hash AND e.live
        WHERE w.concept_id = $2 AND w.kind = 'name'
        $sql$, omop_emb.embedding_table(c)) INTO name_vector USING c, concept_id;
    IF name_vector IS NULL THEN
        RAISE EXCEPTION 'concept % is not indexed in configuration %', coalesce(concept_id::text, 'NULL'),
            quote_literal(c.name)
            USING ERRCODE = 'OE005',
                HINT = 'Check that the concept exists and is in the scope of the configuration, and run omop_emb_index().';
    END IF;
    RETURN QUERY EXECUTE format('SELECT n.* FROM omop_emb.%I($1, $2, $3) n', 'nearest_' || c.config_id)
        USING name_vector, k::bigint, f;
END
$$;

COMMENT ON FUNCTION public.omop_emb_similar(int, int, text[], text[], text[], boolean, boolean, int, text) IS
    'The k concepts nearest in meaning to the name of a concept, itself excluded; no model is called';
