CREATE OR REPLACE FUNCTION omop_emb.texts_without_vector(config text) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT count(DISTINCT p.text_hash) FROM omop_emb.pending_text(omop_emb.config_for(config), NULL) p);
END
$$;

COMMENT ON FUNCTION omop_emb.texts_without_vector(text) IS
    'How many texts of the configuration an index run would still embed: those that wait after a failure are not counted';
