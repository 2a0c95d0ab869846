CREATE OR REPLACE FUNCTION omop_emb.embed_documents(c omop_emb.config, texts text[]) RETURNS SETOF omop_emb.answer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer omop_emb.answer;
BEGIN
    FOR answer IN SELECT r.* FROM omop_emb.request_documents(c, texts) r LOOP
        -- Raised here, since an error raised in PL/Python gets a prefix and a traceback.
        IF answer.sqlstate IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = answer.sqlstate, MESSAGE = answer.error, HINT = answer.hint;
        END IF;
        RETURN NEXT answer;
    END LOOP;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_documents(omop_emb.config, text[]) IS
    'One row per text, in the DOCUMENT role: its vector in pgvector''s text form, or what is wrong with the text';
