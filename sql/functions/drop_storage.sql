CREATE OR REPLACE FUNCTION omop_emb.drop_storage(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    EXECUTE format('DROP FUNCTION IF EXISTS omop_emb.%I, omop_emb.%I, omop_emb.%I',
        'hybrid_' || c.config_id, 'nearest_' || c.config_id, 'further_' || c.config_id);
    EXECUTE format('DROP TABLE IF EXISTS omop_emb.%I', omop_emb.embedding_table(c));
    DELETE FROM omop_emb.partial_index i WHERE i.config_id = c.config_id;
    DELETE FROM omop_emb.provenance p WHERE p.config_id = c.config_id;
    -- Who has a lease on them may have read the settings that they had until now.
    DELETE FROM omop_emb.job j WHERE j.config_id = c.config_id;
    DELETE FROM omop_emb.failure f WHERE f.config_id = c.config_id;
END
$$;

COMMENT ON FUNCTION omop_emb.drop_storage(omop_emb.config) IS 'Drop what create_storage made for the configuration';
