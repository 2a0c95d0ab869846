CREATE OR REPLACE FUNCTION omop_emb.embed_pending(
        c omop_emb.config, concept_ids int[], max_concepts int,
        OUT embedded bigint, OUT reused bigint, OUT failed bigint, OUT remaining bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    batch record;
    done record;
    problem text;
    advice text;
BEGIN
    embedded := 0;
    reused := 0;
    failed := 0;
    -- Two sessions must not pay for the same text; the second waits, interruptibly, and finds it done.
    PERFORM pg_advisory_xact_lock(hashtext('omop_emb'), c.config_id);
    FOR batch IN
        WITH pending AS MATERIALIZED (
            SELECT p.* FROM omop_emb.pending_text(c, embed_pending.concept_ids) p
        ), chosen AS (
            SELECT DISTINCT p.concept_id FROM pending p ORDER BY p.concept_id LIMIT max_concepts
        ), distinct_text AS (
            SELECT p.text_hash, min(p.text) AS text, count(*) AS uses, min(p.concept_id) AS concept_id
            FROM pending p
            GROUP BY p.text_hash
            HAVING max_concepts IS NULL OR bool_or(p.concept_id IN (SELECT h.concept_id FROM chosen h))
        ), numbered AS (
            SELECT d.*, row_number() OVER (ORDER BY d.concept_id, d.text_hash) - 1 AS position FROM distinct_text d
        )
        SELECT array_agg(n.text_hash ORDER BY n.position) AS hashes, array_agg(n.text ORDER BY n.position) AS texts,
            array_agg(n.uses ORDER BY n.position) AS uses
        FROM numbered n
        GROUP BY n.position / c.batch_size
        ORDER BY n.position / c.batch_size
    LOOP
        BEGIN
            EXECUTE format($sql$
                WITH answer AS MATERIALIZED (
                    SELECT i.text_hash, i.uses, d.embedding, d.error
                    FROM omop_emb.embed_documents($1, $2) d
                    JOIN ROWS FROM (unnest($3), unnest($4)) WITH ORDINALITY i (text_hash, uses, text_no)
                        ON i.text_no = d.text_no
                ), stored AS (
                    INSERT INTO omop_emb.%1$I (text_hash, embedding, domains, vocabularies)
                    SELECT a.text_hash, a.embedding::{{ vector }}.%2$I, f.domains, f.vocabularies
                    FROM answer a
                    JOIN omop_emb.filed_under($1, $3) f ON f.text_hash = a.text_hash
                    WHERE a.error IS NULL
                    ON CONFLICT (text_hash) DO NOTHING
                ), refused AS (
                    INSERT INTO omop_emb.failure AS f (config_id, text_hash, next_attempt, error)
                    SELECT $1.config_id, a.text_hash, now() + interval '1 minute', a.error
                    FROM answer a
                    WHERE a.error IS NOT NULL
                    ON CONFLICT (config_id, text_hash) DO UPDATE SET
                        attempts = f.attempts + 1, failed_at = now(), error = excluded.error,
                        next_attempt = now() + least(interval '1 day', interval '1 minute' * 2 ^ least(f.attempts, 20))
                ), recovered AS (
                    DELETE FROM omop_emb.failure f USING answer a
                    WHERE f.config_id = $1.config_id AND f.text_hash = a.text_hash AND a.error IS NULL
                )
                SELECT count(*) FILTER (WHERE a.error IS NULL) AS embedded,
                    coalesce(sum(a.uses - 1) FILTER (WHERE a.error IS NULL), 0) AS reused,
                    count(*) FILTER (WHERE a.error IS NOT NULL) AS failed
                FROM answer a
                $sql$, omop_emb.embedding_table(c), c.storage)
                INTO done USING c, batch.texts, batch.hashes, batch.uses;
        EXCEPTION WHEN SQLSTATE 'OE003' OR SQLSTATE 'OE004' THEN
            IF embedded = 0 THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
            RAISE WARNING 'indexing stopped after % texts: %', embedded, problem
                USING HINT = advice || ' What is indexed so far is kept; run the same again for the rest.';
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
    'Embed, in the DOCUMENT role, the texts of the configuration that have no vector yet';
