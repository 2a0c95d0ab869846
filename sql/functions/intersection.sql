CREATE OR REPLACE FUNCTION omop_emb.intersection(a text[], b text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a
    ELSE ARRAY(SELECT x FROM unnest(a) x WHERE x = ANY (b)) END;

COMMENT ON FUNCTION omop_emb.intersection(text[], text[]) IS 'The values in both arrays; NULL stands for all values';
