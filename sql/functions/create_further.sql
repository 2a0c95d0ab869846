CREATE OR REPLACE FUNCTION omop_emb.create_further(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := 'further_' || c.config_id;
    by_partial_index text;
BEGIN
    -- Only a superuser may SET a parameter of a library that the session has not loaded.
    PERFORM '[0]'::{{ vector }}.vector;
    SELECT string_agg(format('
    ELSIF index_no = %s THEN RETURN QUERY %s;', p.index_no,
        omop_emb.search_statement(c, 'further', ' AND ' || omop_emb.partial_condition(p))), '' ORDER BY p.index_no)
    INTO by_partial_index
    FROM omop_emb.partial_index p
    WHERE p.config_id = c.config_id;
    -- What a filter keeps may be far from the query, where a scan finds less of what is nearest: five times the effort.
    -- An iterative scan pays from its start for being able to go on, so it is not what every search does.
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION omop_emb.%1$I(
            embedding {{ vector }}.vector, k bigint, filter omop_emb.search_filter,
            index_no int, candidates bigint, enough bigint, looked_at bigint)
            RETURNS SETOF omop_emb.search_result
        LANGUAGE plpgsql STABLE PARALLEL SAFE
        ROWS 40
        SET search_path = pg_catalog, pg_temp
        SET hnsw.ef_search = %2$s
        SET hnsw.iterative_scan = relaxed_order
        SET hnsw.max_scan_tuples = 1000000
        SET plan_cache_mode = force_generic_plan
        SET enable_seqscan = off
        SET enable_hashjoin = off
        SET enable_mergejoin = off
        SET jit = off
        AS %3$L
        $sql$, name, least(5 * c.hnsw_ef_search, 1000), format($body$
#variable_conflict use_column
BEGIN
    IF index_no = 0 THEN RETURN QUERY %s;%s
    END IF;
END
$body$, omop_emb.search_statement(c, 'further'), coalesce(by_partial_index, '')));
    EXECUTE format('REVOKE ALL ON FUNCTION omop_emb.%I FROM PUBLIC', name);
    EXECUTE format('COMMENT ON FUNCTION omop_emb.%I IS %L', name,
        format('The k nearest concepts of a query vector in configuration %s from among so many of the nearest terms, or'
            ' nothing when fewer concepts than enough pass the filter; written by omop_emb.create_further', c.name));
END
$$;

COMMENT ON FUNCTION omop_emb.create_further(omop_emb.config) IS
    'Make the function that goes on, in an iterative scan, where the first candidates of nearest_<config_id> end';
