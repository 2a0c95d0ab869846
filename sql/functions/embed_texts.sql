CREATE OR REPLACE FUNCTION omop_emb.embed_texts(config text, role text, texts text[])
    RETURNS TABLE (text_no int, embedding real[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config;
    answer omop_emb.answer;
BEGIN
    IF role IS NULL OR role NOT IN ('document', 'query') THEN
        RAISE EXCEPTION 'there is no role %', coalesce(quote_literal(role), 'NULL')
            USING ERRCODE = 'OE005', HINT = 'The role is ''document'' or ''query''.';
    END IF;
    IF texts IS NULL OR array_position(texts, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'a text to embed is NULL' USING ERRCODE = 'OE005', HINT = 'Pass an array of texts.';
    END IF;
    c := omop_emb.config_for(config);
    -- Letters are no answer here.
    c.lexical_fallback := false;
    FOR answer IN SELECT a.* FROM omop_emb.embed_in_role(c, role, texts) a LOOP
        IF answer.error IS NOT NULL THEN
            RAISE EXCEPTION 'text % of %: %', answer.text_no, cardinality(texts), answer.error
                USING ERRCODE = 'OE005', HINT = 'The endpoint embeds other texts: this one is not acceptable to it.';
        END IF;
        text_no := answer.text_no;
        embedding := answer.embedding::{{ vector }}.vector::real[];
        RETURN NEXT;
    END LOOP;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_texts(text, text, text[]) IS
    'The vectors of texts in a chosen role, to measure what the roles are worth; nothing is stored';
