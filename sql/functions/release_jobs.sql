CREATE OR REPLACE FUNCTION omop_emb.release_jobs(worker text, job_ids bigint[] DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE omop_emb.job j SET worker = NULL, leased_until = NULL
    WHERE j.worker = release_jobs.worker AND (release_jobs.job_ids IS NULL OR j.job_id = ANY (release_jobs.job_ids));
END;

COMMENT ON FUNCTION omop_emb.release_jobs(text, bigint[]) IS 'Give back jobs of a worker, all or those given, for others to take';
