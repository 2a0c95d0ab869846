CREATE OR REPLACE FUNCTION omop_emb.finish_index(config text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
BEGIN
    -- Filling an HNSW index row by row takes several times as long as building it once everything is there.
    IF to_regclass(format('omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw')) IS NULL
        AND NOT EXISTS (SELECT FROM omop_emb.pending_text(c, NULL)) THEN
        PERFORM omop_emb.build_hnsw(c);
        ANALYZE omop_emb.concept, omop_emb.term;
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.finish_index(text) IS 'Third step: build the HNSW index once everything is loaded';
