CREATE OR REPLACE FUNCTION omop_emb.create_nearest(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := 'nearest_' || c.config_id;
BEGIN
    -- Only a superuser may SET a parameter of a library that the session has not loaded.
    PERFORM '[0]'::{{ vector }}.vector;
    -- A function per configuration keeps its plans for the session: planning would cost half as much as the search.
    -- It changes no setting on its way, which workers of a parallel query may not.
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION omop_emb.%1$I(
            embedding {{ vector }}.vector, k bigint, filter omop_emb.search_filter)
            RETURNS SETOF omop_emb.search_result
        LANGUAGE plpgsql STABLE PARALLEL SAFE
        COST 10000 ROWS 40
        SET search_path = pg_catalog, pg_temp
        SET hnsw.ef_search = %2$s
        SET hnsw.iterative_scan = off
        SET plan_cache_mode = force_generic_plan
        SET enable_seqscan = off
        SET jit = off
        AS %3$L
        $sql$, name, c.hnsw_ef_search, format($body$
#variable_conflict use_column
DECLARE
    -- Too few cost another scan, too many a hundredth of one each.
    candidates bigint := %1$s;
    enough bigint := k;
    plan omop_emb.search_plan;
    index_no int;
    looked_at double precision;
    few int[];
BEGIN
    IF k <= 1000 THEN
        plan := omop_emb.plan_search(%2$s, filter, candidates);
        index_no := plan.index_no;
        looked_at := candidates;
        -- The last neighbours that a scan finds are not all of the nearest: with a filter, they may be the answer.
        IF NOT omop_emb.is_unfiltered(filter) AND index_no IS NOT NULL THEN
            candidates := 4 * candidates;
            enough := 4 * k;
            looked_at := ceil(1.5 * candidates / plan.share);
        END IF;
        -- A query is often near what passes its filter, whatever the share of it in all.
        IF index_no > 0 AND candidates <= %3$s OR index_no = 0 AND looked_at <= %3$s THEN
            RETURN QUERY %4$s;
            IF FOUND THEN
                RETURN;
            END IF;
            IF index_no = 0 THEN
                candidates := 4 * candidates;
                looked_at := 4 * looked_at;
            END IF;
        END IF;
        -- The first look is worth it by the plan. When fewer pass than by the plan, the filter keeps what is far from
        -- the query, of which a scan misses much: one more only where an exact scan would take very long.
        WHILE index_no IS NOT NULL AND candidates <= 128 * k
            AND (candidates <= 4 * %1$s OR looked_at < plan.matching / 128) LOOP
            RETURN QUERY
                SELECT n.* FROM omop_emb.%5$I(embedding, k, filter, index_no, candidates, enough, looked_at::bigint) n;
            IF FOUND THEN
                RETURN;
            END IF;
            candidates := 2 * candidates;
            looked_at := 4 * looked_at;
        END LOOP;
    END IF;
    IF plan.is_few THEN
        few := omop_emb.matching_concepts(filter);
        RETURN QUERY %6$s;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT r.* FROM omop_emb.config c, omop_emb.search_exactly(c, embedding, k, filter) r WHERE c.config_id = %2$s;
END
$body$, CASE WHEN c.synonyms OR c.mapped_terms THEN 'omop_emb.first_candidates(k)' ELSE 'k' END,
            c.config_id, c.hnsw_ef_search, omop_emb.search_statement(c, 'nearest'), 'further_' || c.config_id,
            omop_emb.search_statement(c, 'few')));
    EXECUTE format('REVOKE ALL ON FUNCTION omop_emb.%I FROM PUBLIC', name);
    EXECUTE format('COMMENT ON FUNCTION omop_emb.%I IS %L', name,
        format('The k nearest concepts of a query vector in configuration %s: by an HNSW index, or exactly where that'
            ' looks at fewer terms; written by omop_emb.create_nearest', c.name));
END
$$;

COMMENT ON FUNCTION omop_emb.create_nearest(omop_emb.config) IS
    'Make the function that searches the vectors of one configuration, whose index scans are planned once a session';
