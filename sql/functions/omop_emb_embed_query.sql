CREATE OR REPLACE FUNCTION public.omop_emb_embed_query(text text) RETURNS {{ vector }}.vector
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN omop_emb.embed_query(omop_emb.config_for(NULL), text);
END
$$;

COMMENT ON FUNCTION public.omop_emb_embed_query(text) IS
    'The vector of a text in the QUERY role of the active configuration, to compare with stored document vectors';
