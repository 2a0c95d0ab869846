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
            embedding {{ vector }}.vector, k bigint, filter omop_emb.search_filter)
            RETURNS SETOF omop_emb.search_result
        LANGUAGE plpgsql STABLE
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
BEGIN
    IF k <= 1000 AND (
        (filter).domains IS NULL AND (filter).vocabularies IS NULL AND (filter).concept_classes IS NULL
        AND NOT (filter).standard_only AND (filter).concept_ids IS NULL
        OR NOT omop_emb.passes_few(filter)) THEN
        -- Several terms of one concept fold into one row and the filter takes rows away, so the first candidates
        -- can be too few. An iterative scan goes on where they end, but pays for it from the start.
        WHILE candidates <= 16 * k LOOP
            RETURN QUERY %2$s;
            IF FOUND THEN
                RETURN;
            END IF;
            PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true);
            candidates := candidates * 4;
        END LOOP;
    END IF;
    RETURN QUERY
        SELECT r.* FROM omop_emb.config c, omop_emb.search_exactly(c, embedding, k, filter) r WHERE c.config_id = %3$s;
END
$body$, CASE WHEN c.synonyms THEN 'omop_emb.first_candidates(k)' ELSE 'k' END, omop_emb.search_statement(c, false), c.config_id));
    EXECUTE format('REVOKE ALL ON FUNCTION omop_emb.%I FROM PUBLIC', name);
    EXECUTE format('COMMENT ON FUNCTION omop_emb.%I IS %L', name,
        format('The k nearest concepts of a query vector in configuration %s: by the HNSW index, or exactly where few'
            ' concepts pass the filter; written by omop_emb.create_nearest', c.name));
END
$$;

COMMENT ON FUNCTION omop_emb.create_nearest(omop_emb.config) IS
    'Make the function that searches the vectors of one configuration, whose index scan is planned once a session';
