CREATE OR REPLACE FUNCTION omop_emb.create_search_functions(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM omop_emb.create_further(c), omop_emb.create_nearest(c), omop_emb.create_hybrid(c);
END
$$;

COMMENT ON FUNCTION omop_emb.create_search_functions(omop_emb.config) IS
    'Make the functions that search one configuration: nearest_<config_id>, with further_<config_id>, and hybrid_<config_id>';
