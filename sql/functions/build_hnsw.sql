CREATE OR REPLACE FUNCTION omop_emb.build_hnsw(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    workers text := current_setting('max_parallel_maintenance_workers');
BEGIN
    -- Parallel HNSW builds of pgvector before 0.8.2 can write past the end of a buffer.
    IF (SELECT string_to_array(e.extversion, '.')::int[] < '{0,8,2}' FROM pg_extension e WHERE e.extname = 'vector') THEN
        PERFORM set_config('max_parallel_maintenance_workers', '0', true);
    END IF;
    EXECUTE format(
        'CREATE INDEX %I ON omop_emb.%I USING hnsw (embedding {{ vector }}.%I) WITH (m = %s, ef_construction = %s) WHERE live',
        omop_emb.embedding_table(c) || '_new', omop_emb.embedding_table(c),
        c.storage || '_' || CASE c.distance WHEN 'inner_product' THEN 'ip' ELSE c.distance END || '_ops',
        c.hnsw_m, c.hnsw_ef_construction);
    PERFORM set_config('max_parallel_maintenance_workers', workers, true);
    -- Searches go on with the old index until the new one is there.
    EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw');
    EXECUTE format('ALTER INDEX omop_emb.%I RENAME TO %I',
        omop_emb.embedding_table(c) || '_new', omop_emb.embedding_table(c) || '_hnsw');
END
$$;

COMMENT ON FUNCTION omop_emb.build_hnsw(omop_emb.config) IS 'Build the HNSW index of the configuration, anew if it is there';
