CREATE OR REPLACE FUNCTION omop_emb.triggers_installed() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT bool_and(t.wanted = (
        SELECT count(*) FROM pg_trigger g
        WHERE g.tgrelid = t.relation AND g.tgname LIKE 'omop\_emb\_%' AND g.tgenabled IN ('O', 'A')))
    FROM (VALUES (to_regclass('{{ cdm }}.concept'), 4), (to_regclass('{{ cdm }}.concept_synonym'), 4)) t (relation, wanted)
    WHERE t.relation IS NOT NULL
);

COMMENT ON FUNCTION omop_emb.triggers_installed() IS
    'Whether the vocabulary tables carry the triggers of this package, switched on; migrate puts them back';
