CREATE OR REPLACE FUNCTION omop_emb.hnsw_to_build(config text)
    RETURNS TABLE (config_id int, index_name text, definition text, bytes double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
    anew boolean := omop_emb.needs_hnsw(c);
    vectors double precision;
BEGIN
    IF NOT anew AND NOT omop_emb.is_valid_index(omop_emb.embedding_table(c) || '_hnsw') THEN
        RETURN;
    END IF;
    SELECT greatest(r.reltuples, 0) INTO vectors
    FROM pg_class r WHERE r.oid = format('omop_emb.%I', omop_emb.embedding_table(c))::regclass;
    RETURN QUERY
        SELECT c.config_id, p.index_name, p.definition,
            vectors * (c.dimensions * CASE c.storage WHEN 'halfvec' THEN 2 ELSE 4 END + 24.0 * c.hnsw_m + 200)
        FROM omop_emb.planned_hnsw(c, anew) p;
END
$$;

COMMENT ON FUNCTION omop_emb.hnsw_to_build(text) IS
    'The HNSW indexes that the configuration lacks once everything is loaded, as what follows CREATE INDEX, with the bytes'
    ' of maintenance_work_mem that a build of all vectors takes about';
