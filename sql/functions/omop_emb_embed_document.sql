CREATE OR REPLACE FUNCTION public.omop_emb_embed_document(text text) RETURNS {{ vector }}.vector
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer record;
BEGIN
    SELECT d.embedding, d.error INTO answer
    FROM omop_emb.embed_documents(omop_emb.config_for(NULL), ARRAY[text]) d;
    IF answer.error IS NOT NULL THEN
        RAISE EXCEPTION '%', answer.error
            USING ERRCODE = 'OE005', HINT = 'The endpoint embeds other texts: this one is not acceptable to it.';
    END IF;
    RETURN answer.embedding::{{ vector }}.vector;
END
$$;

COMMENT ON FUNCTION public.omop_emb_embed_document(text) IS
    'The vector of a text in the DOCUMENT role of the active configuration';
