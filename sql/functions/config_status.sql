CREATE OR REPLACE FUNCTION omop_emb.config_status(config text DEFAULT NULL)
    RETURNS TABLE (name text, is_active boolean, concepts_in_scope bigint, indexed bigint, pending bigint, stale bigint,
        failed bigint, oldest_pending timestamptz, index_valid boolean, triggers_installed boolean, last_error text,
        matching_vectors bigint, stale_vectors bigint, orphaned_vectors bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c omop_emb.config;
    fits boolean;
BEGIN
    FOR c IN
        SELECT * FROM omop_emb.config f
        WHERE config_status.config IS NULL OR f.name = config_status.config
        ORDER BY f.name
    LOOP
        SELECT omop_emb.fits(c, p) INTO fits FROM omop_emb.provenance p WHERE p.config_id = c.config_id;
        -- Compared with the vocabulary itself, since a restore or a disabled trigger queues nothing.
        BEGIN
        RETURN QUERY EXECUTE format($sql$
            WITH source AS MATERIALIZED (
                SELECT v.* FROM omop_emb.vocabulary_concept(NULL) v WHERE omop_emb.in_scope($1, v)
            ), source_term AS MATERIALIZED (
                SELECT t.concept_id, t.kind, t.text
                FROM omop_emb.vocabulary_term(NULL) t
                JOIN source s ON s.concept_id = t.concept_id
                WHERE omop_emb.indexes_kind($1, t.kind) AND t.config_id IN (0, $1.config_id)
            ), searchable AS MATERIALIZED (
                SELECT w.concept_id, w.kind, w.text
                FROM omop_emb.wanted_term($1) w
                JOIN omop_emb.%1$I e ON e.text_hash = w.text_hash AND e.live
            ), pending AS (
                SELECT count(DISTINCT d.concept_id) AS concepts
                FROM (SELECT * FROM source_term EXCEPT SELECT * FROM searchable) d
            ), stale AS (
                SELECT count(DISTINCT d.concept_id) AS concepts
                FROM (
                    SELECT l.concept_id FROM (SELECT * FROM searchable EXCEPT SELECT * FROM source_term) l
                    UNION ALL
                    SELECT m.concept_id
                    FROM omop_emb.concept m
                    LEFT JOIN source s ON s.concept_id = m.concept_id
                    WHERE omop_emb.in_scope($1, m) AND s IS DISTINCT FROM m
                        AND EXISTS (SELECT FROM searchable l WHERE l.concept_id = m.concept_id)
                ) d
            ), failed AS (
                SELECT count(DISTINCT t.concept_id) AS concepts FROM omop_emb.failed_terms() t WHERE t.config = $1.name
            ), vectors AS (
                SELECT count(*) FILTER (WHERE e.live AND $2) AS matching, count(*) FILTER (WHERE NOT $2) AS stale,
                    count(*) FILTER (WHERE NOT e.live AND $2) AS orphaned
                FROM omop_emb.%1$I e
            )
            SELECT $1.name, $1.is_active, (SELECT count(*) FROM source),
                (SELECT count(*) FROM source) - pending.concepts, pending.concepts, stale.concepts, failed.concepts,
                least((SELECT min(q.queued_at) FROM omop_emb.queue q),
                    (SELECT min(j.queued_at) FROM omop_emb.job j WHERE j.config_id = $1.config_id)),
                coalesce((SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(%2$L)), false),
                omop_emb.triggers_installed(),
                nullif(concat_ws('; ',
                    (SELECT t.error FROM omop_emb.failed_terms() t WHERE t.config = $1.name
                        ORDER BY t.failed_at DESC LIMIT 1),
                    CASE WHEN $1.mapped_terms THEN omop_emb.mapped_terms_problem() END), ''),
                vectors.matching, vectors.stale, vectors.orphaned
            FROM pending, stale, failed, vectors
            $sql$, omop_emb.embedding_table(c), format('omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw'))
            USING c, coalesce(fits, false);
        EXCEPTION WHEN undefined_table THEN
            -- Deleted by another session since this statement began.
            NULL;
        END;
    END LOOP;
END
$$;

COMMENT ON FUNCTION omop_emb.config_status(text) IS 'The rows of the view omop_emb.status, or that of one configuration';
