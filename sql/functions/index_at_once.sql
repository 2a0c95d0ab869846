CREATE OR REPLACE FUNCTION omop_emb.index_at_once(concept_ids int8multirange) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    longest_wait CONSTANT double precision := 1000;
    statement_limit double precision := extract(epoch FROM current_setting('statement_timeout')::interval) * 1000;
    concepts numeric;
    ids int[];
    c omop_emb.config;
BEGIN
    SELECT sum(CASE WHEN lower_inf(r) OR upper_inf(r) THEN 'infinity'::numeric ELSE upper(r) - lower(r) END)
    INTO concepts FROM unnest(concept_ids) r;
    IF concepts > (SELECT max(f.immediate_rows) FROM omop_emb.config f)
        OR current_setting('transaction_isolation') <> 'read committed'
        -- Else somebody else has lock_mirror, and the writer would wait.
        OR NOT pg_try_advisory_xact_lock(hashtext('omop_emb'), hashtext('reconcile')) THEN
        RETURN;
    END IF;
    ids := ARRAY(SELECT i::int FROM unnest(concept_ids) r, generate_series(lower(r), upper(r) - 1) i);
    BEGIN
        PERFORM omop_emb.reconcile(ids);
        FOR c IN SELECT * FROM omop_emb.config f WHERE f.immediate_rows >= concepts LOOP
            -- The writer must not fail by its statement_timeout because the endpoint is slow.
            c.timeout_ms := least(c.timeout_ms, longest_wait, CASE WHEN statement_limit > 0 THEN greatest(1, (statement_limit
                - extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000) / 2) END);
            c.max_retries := 0;
            PERFORM omop_emb.embed_pending(c, ids, NULL);
        END LOOP;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'concepts are queued, not indexed at once: %', SQLERRM
            USING HINT = 'A worker or the next index run will index them.';
    END;
END
$$;

COMMENT ON FUNCTION omop_emb.index_at_once(int8multirange) IS
    'Index a few changed concepts in the transaction of who changed them, for configurations with immediate_rows; whatever'
    ' goes wrong, they stay queued and the writer goes on';
