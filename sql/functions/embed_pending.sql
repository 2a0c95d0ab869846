CREATE OR REPLACE FUNCTION omop_emb.embed_pending(
        c omop_emb.config, concept_ids int[], max_concepts int,
        OUT embedded bigint, OUT reused bigint, OUT failed bigint, OUT remaining bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me text := omop_emb.session_worker();
    hashes bytea[];
    jobs bigint[];
    job_id bigint;
    done record;
    problem text;
    advice text;
BEGIN
    embedded := 0;
    reused := 0;
    failed := 0;
    -- Of two calls, the second waits, interruptibly, and finds it done.
    PERFORM pg_advisory_xact_lock(hashtext('omop_emb'), c.config_id);
    IF embed_pending.concept_ids IS NOT NULL OR max_concepts IS NOT NULL THEN
        WITH pending AS MATERIALIZED (
            SELECT p.* FROM omop_emb.pending_text(c, embed_pending.concept_ids) p
        ), chosen AS (
            SELECT DISTINCT p.concept_id FROM pending p ORDER BY p.concept_id LIMIT max_concepts
        )
        SELECT array_agg(t.text_hash ORDER BY t.concept_id, t.text_hash)
        INTO hashes
        FROM (
            SELECT p.text_hash, min(p.concept_id) AS concept_id
            FROM pending p
            WHERE p.concept_id IN (SELECT h.concept_id FROM chosen h)
            GROUP BY p.text_hash
        ) t;
        jobs := omop_emb.queue_first(c, hashes, me);
    END IF;
    LOOP
        IF hashes IS NULL AND embed_pending.concept_ids IS NULL AND max_concepts IS NULL THEN
            SELECT array_agg(l.job_id) INTO jobs FROM omop_emb.lease_jobs(c.name, me, 1, 86400) l;
        END IF;
        job_id := jobs[1];
        EXIT WHEN job_id IS NULL;
        jobs := jobs[2:];
        BEGIN
            SELECT * INTO done FROM omop_emb.embed_leased(c, me, ARRAY[job_id]);
        EXCEPTION WHEN SQLSTATE 'OE003' OR SQLSTATE 'OE004' THEN
            IF embedded = 0 THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
            RAISE WARNING 'indexing stopped after % texts: %', embedded, problem
                USING HINT = advice || ' What is indexed so far is kept; run the same again for the rest.';
            PERFORM omop_emb.release_jobs(me);
            EXIT;
        END;
        embedded := embedded + done.embedded;
        reused := reused + done.reused;
        failed := failed + done.failed;
    END LOOP;
    -- Concepts asked for by id are pending again at once when they failed.
    SELECT count(DISTINCT p.text_hash) - CASE WHEN embed_pending.concept_ids IS NULL THEN 0 ELSE failed END
    INTO remaining
    FROM omop_emb.pending_text(c, embed_pending.concept_ids) p;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_pending(omop_emb.config, int[], int) IS
    'Embed, in the DOCUMENT role and in this transaction, the texts of the configuration that have no vector yet';
