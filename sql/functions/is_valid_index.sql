CREATE OR REPLACE FUNCTION omop_emb.is_valid_index(name text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN coalesce(
    (SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(format('omop_emb.%I', is_valid_index.name))), false);

COMMENT ON FUNCTION omop_emb.is_valid_index(text) IS 'Whether an index of that name is there and can be scanned';
