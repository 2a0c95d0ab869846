CREATE OR REPLACE FUNCTION omop_emb.query_vector_key(c omop_emb.config, provenance_id int, query text) RETURNS bytea
LANGUAGE sql STABLE
-- The text form of a row quotes its fields, so no two rows have the same. The provenance changes with every discard.
RETURN sha256(convert_to(ROW(provenance_id, c.api_base, c.model, c.dimensions, c.query_prefix, c.query_params,
    c.distance, c.storage, query)::text, 'UTF8'));

COMMENT ON FUNCTION omop_emb.query_vector_key(omop_emb.config, int, text) IS
    'What the vector of a query is remembered by: SHA-256 of all that decides it and of the document vectors it is for';
