CREATE OR REPLACE FUNCTION omop_emb.create_nearest(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := 'nearest_' || c.config_id;
    by_partial_index text;
BEGIN
    -- Only a superuser may SET a parameter of a library that the session has not loaded.
    PERFORM '[0]'::{{ vector }}.vector;
    SELECT string_agg(format('
            ELSIF plan.index_no = %s THEN RETURN QUERY %s;', p.index_no,
            omop_emb.search_statement(c, false, ' AND ' || omop_emb.partial_condition(p))), '' ORDER BY p.index_no)
    INTO by_partial_index
    FROM omop_emb.partial_index p
    WHERE p.config_id = c.config_id;
    -- A function per configuration keeps its plans for the session: planning would cost half as much as the search.
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION omop_emb.%1$I(
            embedding {{ vector }}.vector, k bigint, filter omop_emb.search_filter)
            RETURNS SETOF omop_emb.search_result
        LANGUAGE plpgsql STABLE
        ROWS 40
        SET search_path = pg_catalog, pg_temp
        SET hnsw.ef_search = %2$s
        SET hnsw.iterative_scan = off
        SET hnsw.max_scan_tuples = 20000
        SET plan_cache_mode = force_generic_plan
        SET enable_seqscan = off
        SET jit = off
        AS %3$L
        $sql$, name, c.hnsw_ef_search, format($body$
#variable_conflict use_column
DECLARE
    -- Too few cost another scan, too many a hundredth of one each.
    candidates bigint := %1$s;
    plan omop_emb.search_plan;
    enough bigint := k;
    again boolean := false;
    scanned int;
    few int[];
BEGIN
    IF k <= 1000 THEN
        plan := omop_emb.plan_search(%3$s, filter, candidates);
        -- The last neighbours that a scan finds are not all of the nearest: with a filter, they may be the answer.
        IF plan.share < 1 THEN
            candidates := 4 * candidates;
            enough := 2 * k;
        END IF;
        -- Several terms of one concept fold into one row and the filter takes rows away, so the first candidates
        -- can be too few. An iterative scan goes on where they end, but pays for it from the start. Where the filter
        -- keeps what is far from the query, the share it keeps near it is smaller: then an exact scan may be cheaper.
        WHILE plan.index_no IS NOT NULL AND candidates <= 128 * k LOOP
            IF again OR candidates > plan.share * %4$s THEN
                scanned := ceil(4 * candidates / plan.share);
                EXIT WHEN again AND scanned > plan.matching / 2;
                PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true),
                    set_config('hnsw.max_scan_tuples', scanned::text, true);
            END IF;
            IF plan.index_no = 0 THEN RETURN QUERY %2$s;%5$s
            END IF;
            IF FOUND THEN
                RETURN;
            END IF;
            candidates := candidates * 4;
            again := true;
        END LOOP;
    END IF;
    IF plan.is_few THEN
        few := omop_emb.matching_concepts(filter);
        RETURN QUERY %6$s;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT r.* FROM omop_emb.config c, omop_emb.search_exactly(c, embedding, k, filter) r WHERE c.config_id = %3$s;
END
$body$, CASE WHEN c.synonyms OR c.mapped_terms THEN 'omop_emb.first_candidates(k)' ELSE 'k' END,
            omop_emb.search_statement(c, false), c.config_id, c.hnsw_ef_search / 2, coalesce(by_partial_index, ''),
            omop_emb.search_statement(c, true, ' AND t.concept_id = ANY (few)')));
    EXECUTE format('REVOKE ALL ON FUNCTION omop_emb.%I FROM PUBLIC', name);
    EXECUTE format('COMMENT ON FUNCTION omop_emb.%I IS %L', name,
        format('The k nearest concepts of a query vector in configuration %s: by an HNSW index, or exactly where that'
            ' looks at fewer terms; written by omop_emb.create_nearest', c.name));
END
$$;

COMMENT ON FUNCTION omop_emb.create_nearest(omop_emb.config) IS
    'Make the function that searches the vectors of one configuration, whose index scans are planned once a session';
