CREATE OR REPLACE FUNCTION omop_emb.flag(value text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN btrim(value) NOT IN ('', 'NA') THEN btrim(value) END;

COMMENT ON FUNCTION omop_emb.flag(text) IS
    'A one-letter flag of the vocabulary; sites store an empty string or NA where the standard says NULL';
