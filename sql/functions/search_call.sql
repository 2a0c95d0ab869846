CREATE OR REPLACE FUNCTION omop_emb.search_call(
    c omop_emb.config, mode text, query text, embedding text, k text, filter text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN CASE mode
    WHEN 'semantic' THEN format('omop_emb.%I(%s, %s, %s)', 'nearest_' || c.config_id, embedding, k, filter)
    WHEN 'hybrid' THEN format('omop_emb.%I(%s, %s, %s, %s)', 'hybrid_' || c.config_id, query, embedding, k, filter)
    WHEN 'lexical' THEN format('omop_emb.search_lexically(%s, %s, %s, %s)', c.config_id, query, k, filter) END;

COMMENT ON FUNCTION omop_emb.search_call(omop_emb.config, text, text, text, text, text) IS
    'The call that searches one configuration in a mode, as SQL, with its arguments as SQL';
