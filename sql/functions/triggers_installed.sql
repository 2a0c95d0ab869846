CREATE OR REPLACE FUNCTION omop_emb.triggers_installed() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT coalesce(bool_and(4 = (
        SELECT count(*) FROM pg_trigger g
        WHERE g.tgrelid = c.oid AND g.tgname LIKE 'omop\_emb\_%' AND g.tgenabled IN ('O', 'A'))), false)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = {{ cdm_name }} AND c.relname IN ('concept', 'concept_synonym')
);

COMMENT ON FUNCTION omop_emb.triggers_installed() IS
    'Whether the vocabulary tables carry the triggers of this package, switched on; migrate puts them back';
