CREATE OR REPLACE FUNCTION omop_emb.adopt_built(config text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
BEGIN
    PERFORM omop_emb.adopt_hnsw(c, omop_emb.is_valid_index(omop_emb.embedding_table(c) || '_new'));
END
$$;

COMMENT ON FUNCTION omop_emb.adopt_built(text) IS
    'Let searches use the HNSW indexes that a client built concurrently, as hnsw_to_build said';
