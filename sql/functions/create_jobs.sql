CREATE OR REPLACE FUNCTION omop_emb.create_jobs(c omop_emb.config, text_hashes bytea[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    texts bigint;
    since timestamptz;
BEGIN
    IF create_jobs.text_hashes IS NULL THEN
        -- They are queued anew, without those that got a vector otherwise or that nobody wants any more.
        WITH anew AS (
            DELETE FROM omop_emb.job j
            WHERE j.job_id IN (
                SELECT l.job_id FROM omop_emb.job l
                WHERE l.config_id = c.config_id AND (l.leased_until IS NULL OR l.leased_until < clock_timestamp())
                FOR UPDATE SKIP LOCKED)
            RETURNING j.queued_at
        )
        SELECT min(a.queued_at) INTO since FROM anew a;
    END IF;
    WITH queued AS MATERIALIZED (
        SELECT unnest(j.text_hashes) AS text_hash FROM omop_emb.job j WHERE j.config_id = c.config_id
    ), pending AS (
        SELECT p.text_hash, min(p.concept_id) AS concept_id
        FROM omop_emb.pending_text(c, NULL, create_jobs.text_hashes) p
        WHERE NOT EXISTS (SELECT FROM queued q WHERE q.text_hash = p.text_hash)
        GROUP BY p.text_hash
    ), numbered AS (
        SELECT p.text_hash, row_number() OVER (ORDER BY p.concept_id, p.text_hash) - 1 AS position FROM pending p
    ), created AS (
        INSERT INTO omop_emb.job (config_id, text_hashes, queued_at)
        SELECT c.config_id, array_agg(n.text_hash ORDER BY n.position), coalesce(since, now())
        FROM numbered n
        GROUP BY n.position / c.batch_size
        ORDER BY n.position / c.batch_size
        RETURNING cardinality(job.text_hashes) AS texts
    )
    SELECT coalesce(sum(n.texts), 0) INTO texts FROM created n;
    RETURN texts;
END
$$;

COMMENT ON FUNCTION omop_emb.create_jobs(omop_emb.config, bytea[]) IS
    'Queue the texts of the configuration, all or those given, that have no vector and are in no job, a job per batch;'
    ' for whoever holds lock_mirror; returns how many texts';
