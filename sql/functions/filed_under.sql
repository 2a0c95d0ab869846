CREATE OR REPLACE FUNCTION omop_emb.filed_under(c omop_emb.config, text_hashes bytea[])
    RETURNS TABLE (text_hash bytea, domains text[], vocabularies text[], terms bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT w.text_hash,
            coalesce(array_agg(DISTINCT w.domain_id) FILTER (WHERE w.domain_id IS NOT NULL AND %L), '{}'),
            coalesce(array_agg(DISTINCT w.vocabulary_id) FILTER (WHERE w.vocabulary_id IS NOT NULL AND %L), '{}'),
            count(*)
        FROM %s
        GROUP BY w.text_hash
        $sql$, 'domain_id' = ANY (c.partial_indexes), 'vocabulary_id' = ANY (c.partial_indexes),
        CASE WHEN text_hashes IS NULL THEN 'omop_emb.wanted_term($1) w'
            -- OFFSET keeps it a look-up per text: the planner would rather read all terms for a thousand of them.
            ELSE '(SELECT DISTINCT unnest($2)) h (text_hash)'
                ' CROSS JOIN LATERAL (SELECT * FROM omop_emb.wanted_term($1) t WHERE t.text_hash = h.text_hash OFFSET 0) w'
            END) USING c, text_hashes;
END
$$;

COMMENT ON FUNCTION omop_emb.filed_under(omop_emb.config, bytea[]) IS
    'The domains and vocabularies of the concepts that use each text, as far as there may be partial indexes for them, and'
    ' how many terms use it: of all texts of the configuration or those given';
