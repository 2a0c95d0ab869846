CREATE OR REPLACE FUNCTION omop_emb.needs_hnsw(c omop_emb.config) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Filling an HNSW index row by row takes several times as long as building it once everything is there.
    RETURN NOT omop_emb.is_valid_index(omop_emb.embedding_table(c) || '_hnsw')
        AND NOT EXISTS (SELECT FROM omop_emb.pending_text(c, NULL, max_terms => 1));
END
$$;

COMMENT ON FUNCTION omop_emb.needs_hnsw(omop_emb.config) IS
    'Whether everything is loaded and the HNSW index is missing or invalid';
