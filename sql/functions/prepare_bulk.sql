CREATE OR REPLACE FUNCTION omop_emb.prepare_bulk(c omop_emb.config, pending bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_empty boolean;
BEGIN
    EXECUTE format('SELECT NOT EXISTS (SELECT FROM omop_emb.%I)', omop_emb.embedding_table(c)) INTO is_empty;
    -- Filling an HNSW index row by row takes several times as long as building it afterwards.
    IF is_empty AND pending >= 1000 THEN
        EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw');
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.prepare_bulk(omop_emb.config, bigint) IS
    'Drop the HNSW index of an empty configuration that is about to be filled; finish_index builds it again';
