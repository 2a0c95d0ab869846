CREATE OR REPLACE FUNCTION omop_emb.may_mirror() RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
-- Whoever holds lock_mirror gets it once more, but not the weaker one while others wait.
RETURN CASE
    WHEN pg_try_advisory_xact_lock_shared(hashtext('omop_emb'), hashtext('reconcile')) THEN true
    ELSE pg_try_advisory_xact_lock(hashtext('omop_emb'), hashtext('reconcile')) END;

COMMENT ON FUNCTION omop_emb.may_mirror() IS
    'Whether a trigger may change concepts and terms now: not while they are being reconciled, since a writer of the'
    ' vocabulary must not wait for that; what it changes is then only queued';
