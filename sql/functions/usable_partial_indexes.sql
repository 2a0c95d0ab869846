CREATE OR REPLACE FUNCTION omop_emb.usable_partial_indexes(c omop_emb.config) RETURNS SETOF omop_emb.partial_index
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT p.*
        FROM omop_emb.partial_index p
        WHERE p.config_id = c.config_id
            AND omop_emb.is_valid_index(omop_emb.embedding_table(c) || '_hnsw_' || p.index_no);
END
$$;

COMMENT ON FUNCTION omop_emb.usable_partial_indexes(omop_emb.config) IS
    'The partial indexes of the configuration that are there and valid';
