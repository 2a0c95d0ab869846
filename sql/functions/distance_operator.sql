CREATE OR REPLACE FUNCTION omop_emb.distance_operator(distance text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE distance WHEN 'cosine' THEN '<=>' WHEN 'l2' THEN '<->' WHEN 'l1' THEN '<+>' WHEN 'inner_product' THEN '<#>' END;

COMMENT ON FUNCTION omop_emb.distance_operator(text) IS 'The operator of pgvector for a distance of omop_emb.config';
