CREATE OR REPLACE FUNCTION omop_emb.embed_query(c omop_emb.config, query text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer omop_emb.answer := omop_emb.request_query(c, query);
BEGIN
    -- Raised here, since an error raised in PL/Python gets a prefix and a traceback.
    IF answer.sqlstate IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = answer.sqlstate, MESSAGE = answer.error, HINT = answer.hint;
    END IF;
    RETURN answer.embedding;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_query(omop_emb.config, text) IS
    'The vector of a text in the QUERY role in pgvector''s text form';
