CREATE OR REPLACE FUNCTION omop_emb.lease_jobs(config text, worker text, max_jobs int, seconds double precision)
    RETURNS TABLE (job_id bigint, provenance_id int, text_hashes bytea[], texts text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
    made_under int;
    leased bigint[];
BEGIN
    -- Its document settings cannot change until these jobs are leased; then that deletes them.
    PERFORM FROM omop_emb.config f WHERE f.config_id = c.config_id FOR SHARE;
    c := omop_emb.config_for(c.name);
    SELECT p.provenance_id INTO made_under FROM omop_emb.provenance p WHERE p.config_id = c.config_id;
    WITH free AS MATERIALIZED (
        SELECT j.job_id
        FROM omop_emb.job j
        WHERE j.config_id = c.config_id AND (j.leased_until IS NULL OR j.leased_until < clock_timestamp())
        ORDER BY j.job_id
        LIMIT max_jobs
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE omop_emb.job j
        SET worker = lease_jobs.worker, leased_until = clock_timestamp() + make_interval(secs => seconds)
        FROM free f
        WHERE j.job_id = f.job_id
        RETURNING j.job_id
    )
    SELECT array_agg(t.job_id) INTO leased FROM taken t;
    RETURN QUERY SELECT t.job_id, made_under, t.text_hashes, t.texts FROM omop_emb.job_texts(c, leased) t;
END
$$;

COMMENT ON FUNCTION omop_emb.lease_jobs(text, text, int, double precision) IS
    'Give a worker the next jobs that nobody has, or whose lease has expired, for so many seconds, with the texts that'
    ' still want a vector and the provenance that their vectors must have';
