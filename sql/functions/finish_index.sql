CREATE OR REPLACE FUNCTION omop_emb.finish_index(config text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
    hnsw text := format('omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw');
BEGIN
    -- Filling an HNSW index row by row takes several times as long as building it once everything is there.
    IF to_regclass(hnsw) IS NULL AND NOT EXISTS (SELECT FROM omop_emb.pending_text(c, NULL, 1))
        -- Two builds at once would wait for each other's locks; whoever comes second leaves it to the first.
        AND pg_try_advisory_xact_lock(hashtext('omop_emb build'), c.config_id)
        AND to_regclass(hnsw) IS NULL THEN
        PERFORM omop_emb.refresh_statistics();
        PERFORM omop_emb.build_hnsw(c);
    ELSIF to_regclass(hnsw) IS NOT NULL AND omop_emb.partial_indexes_outdated(c)
        AND pg_try_advisory_xact_lock(hashtext('omop_emb build'), c.config_id) THEN
        PERFORM omop_emb.build_partial_indexes(c);
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.finish_index(text) IS 'Third step: build the HNSW index once everything is loaded';
