CREATE OR REPLACE FUNCTION omop_emb.hnsw_definition(c omop_emb.config, name text, condition text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN format(
        'INDEX %I ON omop_emb.%I USING hnsw (embedding {{ vector }}.%I) WITH (m = %s, ef_construction = %s) WHERE %s',
        name, omop_emb.embedding_table(c),
        c.storage || '_' || CASE c.distance WHEN 'inner_product' THEN 'ip' ELSE c.distance END || '_ops',
        c.hnsw_m, c.hnsw_ef_construction, condition);
END
$$;

COMMENT ON FUNCTION omop_emb.hnsw_definition(omop_emb.config, text, text) IS
    'What follows CREATE for an HNSW index of that name over the vectors of a configuration that meet a condition';
