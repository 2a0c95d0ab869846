CREATE OR REPLACE FUNCTION omop_emb.create_nearest(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := 'nearest_' || c.config_id;
    terms_per_concept float := 1;
    candidates_per_concept int;
BEGIN
    -- Each candidate costs a hundredth of the search, too few of them a second scan.
    IF c.synonyms THEN
        SELECT CASE WHEN m.reltuples > 0 THEN t.reltuples / m.reltuples ELSE 1.5 END INTO terms_per_concept
        FROM pg_class t, pg_class m
        WHERE t.oid = 'omop_emb.term'::regclass AND m.oid = 'omop_emb.concept'::regclass;
    END IF;
    candidates_per_concept := ceil(greatest(1, 2 * terms_per_concept - 1));
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
        SET hnsw.iterative_scan = relaxed_order
        SET plan_cache_mode = force_generic_plan
        SET enable_seqscan = off
        SET jit = off
        AS %3$L
        $sql$, name, c.hnsw_ef_search,
        format($body$
#variable_conflict use_column
DECLARE
    candidates bigint := %s * k;
BEGIN
    -- Several terms of one concept fold into one row, so the first candidates can be too few.
    WHILE candidates <= 16 * k LOOP
        RETURN QUERY %s;
        EXIT WHEN FOUND;
        candidates := candidates * 4;
    END LOOP;
END
$body$, candidates_per_concept, omop_emb.search_statement(c, false)));
    EXECUTE format('REVOKE ALL ON FUNCTION omop_emb.%I FROM PUBLIC', name);
    EXECUTE format('COMMENT ON FUNCTION omop_emb.%I IS %L', name,
        format('The index scan of configuration %s, written by omop_emb.create_nearest', c.name));
END
$$;

COMMENT ON FUNCTION omop_emb.create_nearest(omop_emb.config) IS
    'Make the function that searches the HNSW index of one configuration';
