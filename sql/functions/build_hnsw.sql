CREATE OR REPLACE FUNCTION omop_emb.build_hnsw(c omop_emb.config, anew boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    workers text := current_setting('max_parallel_maintenance_workers');
    planned record;
BEGIN
    IF NOT omop_emb.may_build_in_parallel() THEN
        PERFORM set_config('max_parallel_maintenance_workers', '0', true);
    END IF;
    FOR planned IN SELECT p.* FROM omop_emb.planned_hnsw(c, anew) p LOOP
        EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', planned.index_name);
        EXECUTE 'CREATE ' || planned.definition;
    END LOOP;
    PERFORM set_config('max_parallel_maintenance_workers', workers, true);
    PERFORM omop_emb.adopt_hnsw(c, anew);
END
$$;

COMMENT ON FUNCTION omop_emb.build_hnsw(omop_emb.config, boolean) IS
    'Build the partial HNSW indexes that the configuration lacks and drop those it does not want any more; or build all'
    ' its HNSW indexes anew; searches go on meanwhile, vectors cannot be written';
