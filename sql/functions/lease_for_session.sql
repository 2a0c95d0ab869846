CREATE OR REPLACE FUNCTION omop_emb.lease_for_session(config text, OUT job_id bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    -- A request ends within timeout_ms, but one about rejected texts is halved again and again.
    SELECT l.job_id INTO job_id
    FROM omop_emb.lease_jobs(c.name, omop_emb.session_worker(), 1, 60 + 2.0 * c.timeout_ms / 1000) l;
END
$$;

COMMENT ON FUNCTION omop_emb.lease_for_session(text) IS 'Give this session the next job, none when all are done or taken';
