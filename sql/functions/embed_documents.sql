CREATE OR REPLACE FUNCTION omop_emb.embed_documents(c omop_emb.config, texts text[]) RETURNS SETOF omop_emb.answer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT a.* FROM omop_emb.embed_in_role(c, 'document', texts) a;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_documents(omop_emb.config, text[]) IS
    'One row per text, in the DOCUMENT role: its vector in pgvector''s text form, or what is wrong with the text';
