CREATE OR REPLACE FUNCTION omop_emb.prepare_import(config text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
BEGIN
    PERFORM omop_emb.reconcile(NULL);
    PERFORM pg_advisory_xact_lock(hashtext('omop_emb'), c.config_id);
END
$$;

COMMENT ON FUNCTION omop_emb.prepare_import(text) IS 'First of three steps to import vectors: find out which texts there are';
