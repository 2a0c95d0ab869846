CREATE OR REPLACE PROCEDURE public.omop_emb_index_pending(
    config text DEFAULT NULL, INOUT embedded bigint DEFAULT NULL, INOUT failed bigint DEFAULT NULL,
    INOUT remaining bigint DEFAULT NULL)
LANGUAGE plpgsql
AS $$
-- A procedure that commits may neither be SECURITY DEFINER nor have settings: every name here is qualified.
DECLARE
    job_id bigint;
    done record;
    problem text;
    code text;
    advice text;
BEGIN
    PERFORM omop_emb.begin_index(config);
    COMMIT;
    embedded := 0;
    failed := 0;
    LOOP
        SELECT l.job_id INTO job_id FROM omop_emb.lease_for_session(config) l;
        COMMIT;
        EXIT WHEN job_id IS NULL;
        code := NULL;
        BEGIN
            SELECT e.embedded, e.failed INTO done
            FROM omop_emb.embed_jobs(config, omop_emb.session_worker(), ARRAY[job_id]) e;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
            PERFORM omop_emb.release_jobs(omop_emb.session_worker());
        END;
        COMMIT;
        IF code IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = code, MESSAGE = problem, HINT = advice;
        END IF;
        embedded := embedded OPERATOR(pg_catalog.+) done.embedded;
        failed := failed OPERATOR(pg_catalog.+) done.failed;
    END LOOP;
    PERFORM omop_emb.count_for_searches(config);
    COMMIT;
    PERFORM omop_emb.finish_index(config);
    COMMIT;
    remaining := omop_emb.texts_without_vector(config);
END
$$;

COMMENT ON PROCEDURE public.omop_emb_index_pending(text, bigint, bigint, bigint) IS
    'Bring the index up to date with a transaction per batch, for schedulers such as pg_cron: what is done is committed,'
    ' and no transaction is long but that of an index build. Not inside a transaction block';
