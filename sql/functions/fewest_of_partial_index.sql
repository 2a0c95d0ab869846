CREATE OR REPLACE FUNCTION omop_emb.fewest_of_partial_index() RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN 10000;

COMMENT ON FUNCTION omop_emb.fewest_of_partial_index() IS
    'The concepts that a domain or vocabulary must have for a partial index; fewer are compared one by one';
