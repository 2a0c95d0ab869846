CREATE OR REPLACE FUNCTION omop_emb.create_nearest(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := 'nearest_' || c.config_id;
BEGIN
    -- Only a superuser may SET a parameter of a library that the session has not loaded.
    PERFORM '[0]'::{{ vector }}.vector;
    -- A function per configuration keeps its plan for the session: planning would cost half as much as the search.
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION omop_emb.%1$I(
            embedding {{ vector }}.vector, k int, candidates bigint, filter omop_emb.search_filter)
            RETURNS SETOF omop_emb.search_result
        LANGUAGE plpgsql STABLE
        SET search_path = pg_catalog, pg_temp
        SET hnsw.ef_search = %2$s
        SET hnsw.iterative_scan = relaxed_order
        SET plan_cache_mode = force_generic_plan
        SET enable_seqscan = off
        SET jit = off
        AS %3$L
        $sql$, name, c.hnsw_ef_search,
        E'#variable_conflict use_column\nBEGIN\n    RETURN QUERY\n' || omop_emb.search_statement(c, false) || E';\nEND\n');
    EXECUTE format('REVOKE ALL ON FUNCTION omop_emb.%I FROM PUBLIC', name);
    EXECUTE format('COMMENT ON FUNCTION omop_emb.%I IS %L', name,
        format('The index scan of configuration %s, written by omop_emb.create_nearest', c.name));
END
$$;

COMMENT ON FUNCTION omop_emb.create_nearest(omop_emb.config) IS
    'Make the function that searches the HNSW index of one configuration';
