CREATE OR REPLACE FUNCTION omop_emb.job_texts(c omop_emb.config, job_ids bigint[])
    RETURNS TABLE (job_id bigint, text_hashes bytea[], texts text[])
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT j.job_id, coalesce(t.text_hashes, '{}'), coalesce(t.texts, '{}')
        FROM omop_emb.job j
        CROSS JOIN LATERAL (
            SELECT array_agg(h.text_hash ORDER BY h.position) AS text_hashes, array_agg(w.text ORDER BY h.position) AS texts
            FROM unnest(j.text_hashes) WITH ORDINALITY h (text_hash, position)
            CROSS JOIN LATERAL (SELECT d.text FROM omop_emb.wanted_term($1) d WHERE d.text_hash = h.text_hash LIMIT 1) w
            WHERE NOT EXISTS (SELECT FROM omop_emb.%I e WHERE e.text_hash = h.text_hash)
        ) t
        WHERE j.job_id = ANY ($2)
        ORDER BY j.job_id
        $sql$, omop_emb.embedding_table(c)) USING c, job_ids;
END
$$;

COMMENT ON FUNCTION omop_emb.job_texts(omop_emb.config, bigint[]) IS
    'The texts of jobs, without those that meanwhile nobody wants or that have got a vector otherwise';
