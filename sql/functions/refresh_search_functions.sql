CREATE OR REPLACE FUNCTION omop_emb.refresh_search_functions() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM omop_emb.create_search_functions(c) FROM omop_emb.config c;
END
$$;

COMMENT ON FUNCTION omop_emb.refresh_search_functions() IS
    'Write the search functions of every configuration again, after an upgrade';
