-- The vocabulary belongs to somebody else: a view, a policy or a type of theirs would run their code as our owner.
CREATE OR REPLACE FUNCTION omop_emb.can_read(vocabulary_table text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
        AND NOT EXISTS (
            SELECT FROM pg_attribute a
            JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND t.typnamespace <> 'pg_catalog'::regnamespace)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = {{ cdm_name }} AND c.relname = vocabulary_table
);

COMMENT ON FUNCTION omop_emb.can_read(text) IS
    'Whether this package may read a table of the vocabulary: granted, a plain table of built-in types without row'
    ' security; NULL when there is no such table';
