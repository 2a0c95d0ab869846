CREATE OR REPLACE FUNCTION omop_emb.embed_in_role(c omop_emb.config, role text, texts text[])
    RETURNS SETOF omop_emb.answer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer omop_emb.answer;
BEGIN
    FOR answer IN SELECT r.* FROM omop_emb.request_embeddings(c, role, texts) r LOOP
        IF answer.unavailable AND c.lexical_fallback AND role = 'query' THEN
            PERFORM omop_emb.warn_of_lexical_answers(answer.error);
            CONTINUE;
        END IF;
        -- Raised here, since an error raised in PL/Python gets a prefix and a traceback.
        IF answer.sqlstate IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = answer.sqlstate, MESSAGE = answer.error, HINT = answer.hint;
        END IF;
        RETURN NEXT answer;
    END LOOP;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_in_role(omop_emb.config, text, text[]) IS
    'One row per text in the role document or query: its vector in pgvector''s text form, or what is wrong with the'
    ' text; neither, with a warning, when the endpoint is unavailable and searches can do without it';
