CREATE OR REPLACE FUNCTION omop_emb.has_vectors(config text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_one boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM omop_emb.%I e WHERE e.live)',
        omop_emb.embedding_table(omop_emb.config_for(config))) INTO found_one;
    RETURN found_one;
END
$$;

COMMENT ON FUNCTION omop_emb.has_vectors(text) IS 'Whether any text of the configuration has a vector';
