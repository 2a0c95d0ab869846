CREATE OR REPLACE FUNCTION omop_emb.renew_lease(worker text, seconds double precision) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE omop_emb.job j SET leased_until = clock_timestamp() + make_interval(secs => seconds)
    WHERE j.worker = renew_lease.worker;
END;

COMMENT ON FUNCTION omop_emb.renew_lease(text, double precision) IS
    'Let a worker keep the jobs that it has for so many seconds from now';
