CREATE OR REPLACE FUNCTION omop_emb.create_hnsw(c omop_emb.config, name text, condition text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    workers text := current_setting('max_parallel_maintenance_workers');
BEGIN
    -- Parallel HNSW builds of pgvector before 0.8.2 can write past the end of a buffer.
    IF (SELECT string_to_array(e.extversion, '.')::int[] < '{0,8,2}' FROM pg_extension e WHERE e.extname = 'vector') THEN
        PERFORM set_config('max_parallel_maintenance_workers', '0', true);
    END IF;
    EXECUTE format(
        'CREATE INDEX %I ON omop_emb.%I USING hnsw (embedding {{ vector }}.%I) WITH (m = %s, ef_construction = %s) WHERE %s',
        name, omop_emb.embedding_table(c),
        c.storage || '_' || CASE c.distance WHEN 'inner_product' THEN 'ip' ELSE c.distance END || '_ops',
        c.hnsw_m, c.hnsw_ef_construction, condition);
    PERFORM set_config('max_parallel_maintenance_workers', workers, true);
END
$$;

COMMENT ON FUNCTION omop_emb.create_hnsw(omop_emb.config, text, text) IS
    'Build an HNSW index of that name over the vectors of a configuration that meet a condition, given as SQL';
