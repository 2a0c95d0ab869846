CREATE OR REPLACE FUNCTION omop_emb.export_vectors(config text, after bytea, max_rows int)
    RETURNS TABLE (text_hash bytea, embedded_at timestamptz, embedding bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT e.text_hash, e.embedded_at, {{ vector }}.%I(e.embedding)
        FROM omop_emb.%I e
        WHERE e.text_hash > $1
        ORDER BY e.text_hash
        LIMIT $2
        $sql$, c.storage || '_send', omop_emb.embedding_table(c)) USING coalesce(after, ''), max_rows;
END
$$;

COMMENT ON FUNCTION omop_emb.export_vectors(text, bytea, int) IS
    'The vectors of a configuration in pgvector''s binary form, in the order of text_hash, from after the given one';
