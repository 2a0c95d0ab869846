CREATE OR REPLACE FUNCTION omop_emb.embedding_table(c omop_emb.config) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN 'embedding_' || c.config_id;

COMMENT ON FUNCTION omop_emb.embedding_table(omop_emb.config) IS
    'The name of the table in schema omop_emb that holds the vectors of the configuration';
