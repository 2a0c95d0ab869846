CREATE OR REPLACE FUNCTION omop_emb.query_vector_slot(key bytea) RETURNS int
LANGUAGE sql IMMUTABLE
RETURN ((get_byte(key, 0) << 16) + (get_byte(key, 1) << 8) + get_byte(key, 2)) % 10000;

COMMENT ON FUNCTION omop_emb.query_vector_slot(bytea) IS
    'The row of omop_emb.query_vector that a key has to itself or shares with others: there are 10,000';
