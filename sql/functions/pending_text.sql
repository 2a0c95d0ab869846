CREATE OR REPLACE FUNCTION omop_emb.pending_text(
    c omop_emb.config, concept_ids int[], text_hashes bytea[] DEFAULT NULL, max_terms bigint DEFAULT NULL)
    RETURNS TABLE (text_hash bytea, text text, concept_id int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    -- Without JIT: right after a load there are no statistics, and compiling takes longer than running.
    -- Concepts that are asked for by id are tried at once, failed or not.
    RETURN QUERY EXECUTE format($sql$
        SELECT w.text_hash, w.text, w.concept_id
        FROM omop_emb.wanted_term($1) w
        WHERE ($2 IS NULL OR w.concept_id = ANY ($2))
            AND ($3 IS NULL OR w.text_hash = ANY ($3))
            AND NOT EXISTS (SELECT FROM omop_emb.%I e WHERE e.text_hash = w.text_hash)
            AND ($2 IS NOT NULL OR NOT EXISTS (
                SELECT FROM omop_emb.failure f
                WHERE f.config_id = $1.config_id AND f.text_hash = w.text_hash AND f.next_attempt > now()))
        LIMIT $4
        $sql$, omop_emb.embedding_table(c)) USING c, concept_ids, text_hashes, max_terms;
END
$$;

COMMENT ON FUNCTION omop_emb.pending_text(omop_emb.config, int[], bytea[], bigint) IS
    'The terms of the configuration that have no vector yet: all, or those of the given concepts or hashes; no more than'
    ' so many';
