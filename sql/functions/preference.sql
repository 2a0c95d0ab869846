CREATE OR REPLACE FUNCTION omop_emb.preference(standard_concept text, is_valid boolean) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN standard_concept = 'S' THEN 0 WHEN standard_concept = 'C' THEN 1 WHEN is_valid THEN 2 ELSE 3 END;

COMMENT ON FUNCTION omop_emb.preference(text, boolean) IS
    'The order of concepts that match equally well: standard, classification, other valid ones, invalid ones';
