CREATE OR REPLACE FUNCTION omop_emb.partial_indexes_outdated(c omop_emb.config) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM omop_emb.partial_indexes_wanted(c) w
        FULL JOIN (SELECT p.* FROM omop_emb.partial_index p WHERE p.config_id = c.config_id) p
            ON p.attribute = w.attribute AND p.value = w.value
        WHERE w.attribute IS NULL OR p.attribute IS NULL
            OR NOT omop_emb.is_valid_index(omop_emb.embedding_table(c) || '_hnsw_' || p.index_no));
END
$$;

COMMENT ON FUNCTION omop_emb.partial_indexes_outdated(omop_emb.config) IS
    'Whether build_hnsw would build or drop one';
