CREATE OR REPLACE FUNCTION omop_emb.similarity_expression(distance text, value text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN format(CASE distance
    WHEN 'cosine' THEN 'greatest(0, least(1, 1 - %s / 2))'
    WHEN 'inner_product' THEN 'greatest(0, least(1, (1 - %s) / 2))'
    ELSE '1 / (1 + %s)' END, value);

COMMENT ON FUNCTION omop_emb.similarity_expression(text, text) IS
    'SQL for the similarity, 0 to 1, that a distance, given as SQL too, means';
