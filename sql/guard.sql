-- Whoever owns these could have migrate run their code as a superuser.
DO $do$
DECLARE
    foreign_object text;
BEGIN
    SELECT format('schema omop_emb of role %s', r.rolname) INTO foreign_object
    FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
    WHERE n.nspname = 'omop_emb' AND NOT r.rolsuper;
    IF NOT FOUND THEN
        SELECT format('function %s of role %s', p.oid::regprocedure, r.rolname) INTO foreign_object
        FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN ({{ public_functions }})
            AND NOT r.rolsuper AND r.rolname <> 'omop_emb_owner';
    END IF;
    IF foreign_object IS NOT NULL THEN
        RAISE EXCEPTION '% is in the way: it was not made by omop_emb', foreign_object
            USING HINT = 'Rename or drop it, then run migrate again.';
    END IF;
END
$do$;
