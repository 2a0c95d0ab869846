CREATE OR REPLACE FUNCTION omop_emb.embed_queries(c omop_emb.config, queries text[])
    RETURNS TABLE (query_no int, embedding {{ vector }}.vector, error text)
LANGUAGE plpgsql STABLE
ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    keys bytea[];
    known_keys bytea[];
    known {{ vector }}.vector[];
    missing text[];
    missing_keys bytea[];
    found {{ vector }}.vector[];
    errors text[];
BEGIN
    keys := ARRAY(
        SELECT omop_emb.query_vector_key(
            c, (SELECT p.provenance_id FROM omop_emb.provenance p WHERE p.config_id = c.config_id), w.query)
        FROM unnest(queries) WITH ORDINALITY w (query, query_no)
        ORDER BY w.query_no);
    -- A standby cannot even read an unlogged table.
    IF NOT pg_is_in_recovery() THEN
        SELECT array_agg(q.key), array_agg(q.embedding) INTO known_keys, known
        FROM (SELECT DISTINCT k.key FROM unnest(keys) k (key)) w
        JOIN omop_emb.query_vector q ON q.slot = omop_emb.query_vector_slot(w.key) AND q.key = w.key;
    END IF;
    SELECT array_agg(m.query ORDER BY m.query_no), array_agg(m.key ORDER BY m.query_no) INTO missing, missing_keys
    FROM (
        SELECT DISTINCT ON (w.key) w.query, w.key, w.query_no
        FROM unnest(queries, keys) WITH ORDINALITY w (query, key, query_no)
        WHERE NOT EXISTS (SELECT FROM unnest(known_keys) k (key) WHERE k.key = w.key)
        ORDER BY w.key, w.query_no
    ) m;
    IF missing_keys IS NOT NULL THEN
        SELECT array_agg(a.embedding::{{ vector }}.vector ORDER BY a.text_no), array_agg(a.error ORDER BY a.text_no)
        INTO found, errors
        FROM omop_emb.embed_in_role(c, 'query', missing) a;
        PERFORM omop_emb.remember_queries(missing_keys, found);
    END IF;
    RETURN QUERY
        SELECT w.query_no::int, v.embedding, v.error
        FROM unnest(keys) WITH ORDINALITY w (key, query_no)
        JOIN (
            SELECT k.key, k.embedding, NULL AS error FROM unnest(known_keys, known) k (key, embedding)
            UNION ALL
            SELECT m.key, m.embedding, m.error FROM unnest(missing_keys, found, errors) m (key, embedding, error)
        ) v ON v.key = w.key
        ORDER BY w.query_no;
END
$$;

COMMENT ON FUNCTION omop_emb.embed_queries(omop_emb.config, text[]) IS
    'The vectors of many texts in the QUERY role, one row for each in their order, or what is wrong with the text, or'
    ' neither where letters have to answer; equal texts are asked for once, remembered ones not at all';
