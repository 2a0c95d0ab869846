CREATE OR REPLACE FUNCTION omop_emb.embed_jobs(
    config text, worker text, job_ids bigint[], OUT embedded bigint, OUT reused bigint, OUT failed bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT e.embedded, e.reused, e.failed INTO embedded, reused, failed
    FROM omop_emb.embed_leased(omop_emb.config_for(config), worker, job_ids) e;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_jobs(text, text, bigint[]) IS
    'The same as embed_leased, for the configuration of that name';
