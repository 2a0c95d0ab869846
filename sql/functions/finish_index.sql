CREATE OR REPLACE FUNCTION omop_emb.finish_index(config text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
    anew boolean := omop_emb.needs_hnsw(c);
BEGIN
    IF (anew OR omop_emb.is_valid_index(omop_emb.embedding_table(c) || '_hnsw') AND omop_emb.partial_indexes_outdated(c))
        -- Two builds at once would wait for each other's locks; whoever comes second leaves it to the first.
        AND pg_try_advisory_xact_lock(hashtext('omop_emb build'), c.config_id)
        AND anew = omop_emb.needs_hnsw(c) THEN
        PERFORM omop_emb.build_hnsw(c, anew);
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.finish_index(text) IS 'Last step: build the HNSW indexes once everything is loaded';
