CREATE OR REPLACE FUNCTION omop_emb.can_read(vocabulary_table text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = {{ cdm_name }} AND c.relname = vocabulary_table
);

COMMENT ON FUNCTION omop_emb.can_read(text) IS
    'Whether this package may read a table of the vocabulary; NULL when there is no such table';
