CREATE OR REPLACE FUNCTION omop_emb.drop_hnsw(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    p omop_emb.partial_index;
BEGIN
    EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw');
    FOR p IN DELETE FROM omop_emb.partial_index i WHERE i.config_id = c.config_id RETURNING * LOOP
        EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw_' || p.index_no);
    END LOOP;
    PERFORM omop_emb.create_search_functions(c);
END
$$;

COMMENT ON FUNCTION omop_emb.drop_hnsw(omop_emb.config) IS
    'Drop the HNSW indexes of the configuration; finish_index builds them again';
