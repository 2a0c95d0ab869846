CREATE OR REPLACE FUNCTION omop_emb.lock_activation() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_advisory_xact_lock(hashtext('omop_emb'), hashtext('activate'));
$$;

COMMENT ON FUNCTION omop_emb.lock_activation() IS 'Wait for whoever is changing which configuration is active';
