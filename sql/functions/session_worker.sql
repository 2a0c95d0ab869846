CREATE OR REPLACE FUNCTION omop_emb.session_worker() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN 'session ' || pg_backend_pid();

COMMENT ON FUNCTION omop_emb.session_worker() IS 'The name under which this session leases jobs';
