CREATE OR REPLACE FUNCTION public.omop_emb_embed_query(text text) RETURNS {{ vector }}.vector
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(NULL);
BEGIN
    -- Letters are no answer here.
    c.lexical_fallback := false;
    RETURN omop_emb.embed_query(c, text);
END
$$;

COMMENT ON FUNCTION public.omop_emb_embed_query(text) IS
    'The vector of a text in the QUERY role of the active configuration, to compare with stored document vectors';
