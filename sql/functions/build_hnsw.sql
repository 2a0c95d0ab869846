CREATE OR REPLACE FUNCTION omop_emb.build_hnsw(c omop_emb.config, anew boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    hnsw text := omop_emb.embedding_table(c) || '_hnsw';
    last_no int := (SELECT max(i.index_no) FROM omop_emb.partial_index i WHERE i.config_id = c.config_id);
    built omop_emb.partial_index[] := '{}';
    p omop_emb.partial_index;
BEGIN
    IF anew THEN
        PERFORM omop_emb.create_hnsw(c, omop_emb.embedding_table(c) || '_new', 'live');
    END IF;
    FOR p IN
        SELECT c.config_id, coalesce(last_no, 0) + row_number() OVER (), w.attribute, w.value
        FROM omop_emb.partial_indexes_wanted(c) w
        WHERE anew OR (w.attribute, w.value) NOT IN (
            SELECT i.attribute, i.value FROM omop_emb.partial_index i
            WHERE i.config_id = c.config_id AND omop_emb.is_valid_index(hnsw || '_' || i.index_no))
    LOOP
        PERFORM omop_emb.create_hnsw(c, hnsw || '_' || p.index_no, 'live AND ' || omop_emb.partial_condition(p));
        built := built || p;
    END LOOP;
    -- Searches go on with the old indexes until the new ones are there; a drop keeps them waiting until commit.
    FOR p IN
        DELETE FROM omop_emb.partial_index i
        WHERE i.config_id = c.config_id AND (
            (i.attribute, i.value) IN (SELECT b.attribute, b.value FROM unnest(built) b)
            OR (i.attribute, i.value) NOT IN (SELECT w.attribute, w.value FROM omop_emb.partial_indexes_wanted(c) w))
        RETURNING i.*
    LOOP
        EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', hnsw || '_' || p.index_no);
    END LOOP;
    INSERT INTO omop_emb.partial_index SELECT b.* FROM unnest(built) b;
    IF anew THEN
        EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', hnsw);
        EXECUTE format('ALTER INDEX omop_emb.%I RENAME TO %I', omop_emb.embedding_table(c) || '_new', hnsw);
    END IF;
    PERFORM omop_emb.create_search_functions(c);
END
$$;

COMMENT ON FUNCTION omop_emb.build_hnsw(omop_emb.config, boolean) IS
    'Build the partial HNSW indexes that the configuration lacks and drop those it does not want any more; or build all'
    ' its HNSW indexes anew';
