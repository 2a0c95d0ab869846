CREATE OR REPLACE FUNCTION omop_emb.stored_sample(config text, max_texts int)
    RETURNS TABLE (text text, embedding real[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    -- Hashes are in no order that has to do with the texts: the first of them are a sample as good as any.
    RETURN QUERY EXECUTE format($sql$
        SELECT t.text, e.embedding::real[]
        FROM omop_emb.%I e
        CROSS JOIN LATERAL (
            SELECT w.text FROM omop_emb.term w WHERE w.text_hash = e.text_hash AND w.config_id IN (0, $1) LIMIT 1) t
        WHERE e.live
        ORDER BY e.text_hash
        LIMIT $2
        $sql$, omop_emb.embedding_table(c)) USING c.config_id, max_texts;
END
$$;

COMMENT ON FUNCTION omop_emb.stored_sample(text, int) IS
    'A few texts in use with their stored vectors, always the same ones, to see whether the model still gives them';
