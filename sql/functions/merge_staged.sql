CREATE OR REPLACE FUNCTION omop_emb.merge_staged(
    config text, worker text, job_ids bigint[], unfinished bigint, OUT embedded bigint, OUT reused bigint, OUT failed bigint, OUT lost bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
    held bigint[];
    hashes bytea[];
    unanswered bytea[];
    wanted bytea[];
BEGIN
    IF NOT omop_emb.open_staging() THEN
        RAISE EXCEPTION 'concepts and terms are being reconciled' USING ERRCODE = 'lock_not_available';
    END IF;
    SELECT array_agg(j.job_id) INTO held
    FROM (
        SELECT l.job_id FROM omop_emb.job l
        WHERE l.job_id = ANY (job_ids) AND l.worker = merge_staged.worker
        ORDER BY l.job_id
        FOR UPDATE
    ) j;
    SELECT array_agg(h.text_hash) INTO hashes
    FROM omop_emb.job j, unnest(j.text_hashes) h (text_hash)
    WHERE j.job_id = ANY (held);
    lost := cardinality(job_ids) - coalesce(cardinality(held), 0);
    -- What nobody wants any more is kept, but not live: the text may come back.
    EXECUTE format($sql$
        WITH answer AS MATERIALIZED (
            SELECT s.text_hash, s.embedding, s.error, f.domains, f.vocabularies, f.terms
            FROM pg_temp.omop_emb_staging s
            LEFT JOIN omop_emb.filed_under($1, $2) f ON f.text_hash = s.text_hash
            WHERE s.text_hash = ANY ($2)
        ), stored AS (
            INSERT INTO omop_emb.%1$I (text_hash, embedding, live, domains, vocabularies)
            SELECT a.text_hash, a.embedding::{{ vector }}.%2$I, a.terms IS NOT NULL, coalesce(a.domains, '{}'),
                coalesce(a.vocabularies, '{}')
            FROM answer a
            WHERE a.error IS NULL
            ON CONFLICT (text_hash) DO NOTHING
        ), refused AS (
            INSERT INTO omop_emb.failure AS f (config_id, text_hash, next_attempt, error)
            SELECT $1.config_id, a.text_hash, now() + interval '1 minute', a.error
            FROM answer a
            WHERE a.error IS NOT NULL AND a.terms IS NOT NULL
            ON CONFLICT (config_id, text_hash) DO UPDATE SET
                attempts = f.attempts + 1, failed_at = now(), error = excluded.error,
                next_attempt = now() + least(interval '1 day', interval '1 minute' * 2 ^ least(f.attempts, 20))
        ), recovered AS (
            DELETE FROM omop_emb.failure f USING answer a
            WHERE f.config_id = $1.config_id AND f.text_hash = a.text_hash AND a.error IS NULL
        )
        SELECT count(*) FILTER (WHERE a.error IS NULL),
            coalesce(sum(a.terms - 1) FILTER (WHERE a.error IS NULL), 0),
            count(*) FILTER (WHERE a.error IS NOT NULL)
        FROM answer a
        $sql$, omop_emb.embedding_table(c), c.storage)
        INTO embedded, reused, failed USING c, hashes;
    SELECT array_agg(u.text_hash) INTO unanswered
    FROM omop_emb.job j, unnest(j.text_hashes) u (text_hash)
    WHERE j.job_id = ANY (held) AND j.job_id IS DISTINCT FROM unfinished
        AND NOT EXISTS (SELECT FROM pg_temp.omop_emb_staging s WHERE s.text_hash = u.text_hash);
    IF unanswered IS NOT NULL THEN
        -- Nobody wanted them when the job was leased. Those that came back were not queued anew, being in this job.
        SELECT array_agg(p.text_hash) INTO wanted FROM omop_emb.pending_text(c, NULL, unanswered) p;
        UPDATE omop_emb.job j
        SET worker = NULL, leased_until = NULL, text_hashes = ARRAY(
            SELECT u.text_hash FROM unnest(j.text_hashes) WITH ORDINALITY u (text_hash, position)
            WHERE u.text_hash = ANY (wanted) ORDER BY u.position)
        WHERE j.job_id = ANY (held) AND j.job_id IS DISTINCT FROM unfinished AND j.text_hashes && wanted;
    END IF;
    DELETE FROM omop_emb.job j
    WHERE j.job_id = ANY (held) AND j.job_id IS DISTINCT FROM unfinished AND j.worker = merge_staged.worker;
    UPDATE omop_emb.job j
    SET text_hashes = ARRAY(
        SELECT u.text_hash FROM unnest(j.text_hashes) WITH ORDINALITY u (text_hash, position)
        WHERE u.text_hash NOT IN (SELECT s.text_hash FROM pg_temp.omop_emb_staging s)
        ORDER BY u.position)
    WHERE j.job_id = unfinished AND j.job_id = ANY (held);
END
$$;

COMMENT ON FUNCTION omop_emb.merge_staged(text, text, bigint[], bigint) IS
    'Store the staged answers to the texts of the jobs that the worker still has, and end these jobs, but for the'
    ' unfinished one, of which only these texts are done. embedded: texts; reused: further terms with one of these texts;'
    ' failed: texts that the endpoint rejected; lost: jobs that it had no more, whose answers are dropped';
