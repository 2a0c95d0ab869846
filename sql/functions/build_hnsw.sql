CREATE OR REPLACE FUNCTION omop_emb.build_hnsw(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    PERFORM omop_emb.create_hnsw(c, omop_emb.embedding_table(c) || '_new', 'live');
    -- Searches go on with the old index until the new one is there.
    PERFORM omop_emb.drop_hnsw(c);
    EXECUTE format('ALTER INDEX omop_emb.%I RENAME TO %I',
        omop_emb.embedding_table(c) || '_new', omop_emb.embedding_table(c) || '_hnsw');
    PERFORM omop_emb.build_partial_indexes(c);
END
$$;

COMMENT ON FUNCTION omop_emb.build_hnsw(omop_emb.config) IS
    'Build the HNSW indexes of the configuration, anew if they are there';
