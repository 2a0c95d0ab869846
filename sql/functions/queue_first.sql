CREATE OR REPLACE FUNCTION omop_emb.queue_first(c omop_emb.config, text_hashes bytea[], worker text) RETURNS bigint[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    waiting record;
    created bigint[];
BEGIN
    FOR waiting IN
        SELECT j.job_id, j.text_hashes FROM omop_emb.job j
        WHERE j.config_id = c.config_id AND (j.leased_until IS NULL OR j.leased_until < clock_timestamp())
            AND j.text_hashes && queue_first.text_hashes
        FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE omop_emb.job j
        SET text_hashes = ARRAY(
            SELECT h FROM unnest(waiting.text_hashes) WITH ORDINALITY u (h, position)
            WHERE h <> ALL (queue_first.text_hashes) ORDER BY u.position)
        WHERE j.job_id = waiting.job_id;
    END LOOP;
    DELETE FROM omop_emb.job j WHERE j.config_id = c.config_id AND j.text_hashes = '{}';
    -- What is left of them in jobs is with somebody else.
    WITH others AS MATERIALIZED (
        SELECT unnest(j.text_hashes) AS text_hash FROM omop_emb.job j WHERE j.config_id = c.config_id
    ), own AS (
        INSERT INTO omop_emb.job (config_id, text_hashes, worker, leased_until)
        SELECT c.config_id, array_agg(h.text_hash ORDER BY h.position), queue_first.worker, 'infinity'
        FROM (
            SELECT u.text_hash, row_number() OVER (ORDER BY u.position) - 1 AS position
            FROM unnest(queue_first.text_hashes) WITH ORDINALITY u (text_hash, position)
            WHERE NOT EXISTS (SELECT FROM others o WHERE o.text_hash = u.text_hash)
        ) h
        GROUP BY h.position / c.batch_size
        ORDER BY h.position / c.batch_size
        RETURNING job_id
    )
    SELECT array_agg(o.job_id ORDER BY o.job_id) INTO created FROM own o;
    RETURN created;
END
$$;

COMMENT ON FUNCTION omop_emb.queue_first(omop_emb.config, bytea[], text) IS
    'Put texts into jobs of their own, which the worker has, for the rest of the transaction; those that somebody else is'
    ' embedding are left out; returns the jobs';
