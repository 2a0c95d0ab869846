CREATE OR REPLACE FUNCTION omop_emb.embed_query(c omop_emb.config, query text) RETURNS {{ vector }}.vector
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wanted bytea;
    embedding {{ vector }}.vector;
    answer omop_emb.answer;
BEGIN
    SELECT omop_emb.query_vector_key(
        c, (SELECT p.provenance_id FROM omop_emb.provenance p WHERE p.config_id = c.config_id), embed_query.query)
    INTO wanted;
    -- A standby cannot even read an unlogged table.
    IF NOT pg_is_in_recovery() THEN
        SELECT q.embedding INTO embedding
        FROM omop_emb.query_vector q WHERE q.slot = omop_emb.query_vector_slot(wanted) AND q.key = wanted;
        IF FOUND THEN
            RETURN embedding;
        END IF;
    END IF;
    answer := omop_emb.request_query(c, query, wanted);
    IF answer.unavailable AND c.lexical_fallback THEN
        PERFORM omop_emb.warn_of_lexical_answers(answer.error);
        RETURN NULL;
    END IF;
    -- Raised here, since an error raised in PL/Python gets a prefix and a traceback.
    IF answer.sqlstate IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = answer.sqlstate, MESSAGE = answer.error, HINT = answer.hint;
    END IF;
    embedding := answer.embedding::{{ vector }}.vector;
    IF answer.text_no IS NOT NULL THEN
        PERFORM omop_emb.remember_queries(ARRAY[wanted], ARRAY[embedding]);
    END IF;
    RETURN embedding;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_query(omop_emb.config, text) IS
    'The vector of a text in the QUERY role, remembered or asked for; NULL, with a warning, when the endpoint is'
    ' unavailable and the configuration can do without it';
