DO $do$
DECLARE
    object record;
    extension text;
    extensions text[] := '{}';
BEGIN
    IF to_regclass('omop_emb.installation') IS NOT NULL THEN
        SELECT i.created_extensions INTO extensions FROM omop_emb.installation i;
    END IF;
    FOR object IN
        SELECT g.tgname, g.tgrelid::regclass AS relation
        FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'omop_emb' AND NOT g.tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', object.tgname, object.relation);
    END LOOP;
    FOR object IN
        SELECT p.oid::regprocedure AS name
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'public' AND p.proname LIKE 'omop\_emb\_%'
            AND pg_get_userbyid(p.proowner) = 'omop_emb_owner'
    LOOP
        EXECUTE format('DROP ROUTINE %s', object.name);
    END LOOP;
    DROP SCHEMA IF EXISTS omop_emb CASCADE;
    FOREACH extension IN ARRAY extensions LOOP
        BEGIN
            EXECUTE format('DROP EXTENSION IF EXISTS %I', extension);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            RAISE WARNING 'extension % stays: other objects use it', extension;
        END;
    END LOOP;
    FOR object IN
        SELECT r.rolname FROM pg_roles r WHERE r.rolname IN ('omop_emb_owner', 'omop_emb_reader', 'omop_emb_admin')
    LOOP
        EXECUTE format('DROP OWNED BY %I', object.rolname);
        BEGIN
            EXECUTE format('DROP ROLE %I', object.rolname);
        EXCEPTION WHEN dependent_objects_still_exist OR object_in_use THEN
            RAISE WARNING 'role % stays: another database of this cluster uses it', object.rolname;
        END;
    END LOOP;
END
$do$;
