CREATE OR REPLACE FUNCTION omop_emb.matching_concepts(filter omop_emb.search_filter) RETURNS int[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = on
SET random_page_cost = 1.1
AS $$
BEGIN
    RETURN ARRAY(
        SELECT m.concept_id
        FROM omop_emb.concept m
        WHERE omop_emb.passes(filter, m)
            AND (filter.concept_ids IS NULL OR m.concept_id = ANY (filter.concept_ids)));
END
$$;

COMMENT ON FUNCTION omop_emb.matching_concepts(omop_emb.search_filter) IS
    'The concepts that pass a filter, for filters that few pass; planned anew for each filter';
