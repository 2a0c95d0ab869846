CREATE OR REPLACE FUNCTION omop_emb.lock_mirror() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('omop_emb'), hashtext('reconcile'));
END
$$;

COMMENT ON FUNCTION omop_emb.lock_mirror() IS
    'Wait until nobody else brings concepts and terms in line with the vocabulary; the others wait until this transaction ends';
