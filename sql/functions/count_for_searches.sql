CREATE OR REPLACE FUNCTION omop_emb.count_for_searches(config text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF omop_emb.needs_hnsw(omop_emb.config_to_fill(config)) THEN
        PERFORM omop_emb.refresh_statistics();
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.count_for_searches(text) IS
    'Third step: refresh the statistics when the HNSW index is about to be built; in a transaction of its own, since'
    ' other index runs wait for its end';
