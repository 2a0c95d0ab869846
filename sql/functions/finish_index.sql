CREATE OR REPLACE FUNCTION omop_emb.finish_index(config text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    IF to_regclass(format('omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw')) IS NULL THEN
        PERFORM omop_emb.build_hnsw(c);
        ANALYZE omop_emb.concept, omop_emb.term;
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.finish_index(text) IS 'Third step: build the HNSW index if the bulk load went without it';
