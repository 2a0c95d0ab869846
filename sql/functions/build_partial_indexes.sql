CREATE OR REPLACE FUNCTION omop_emb.build_partial_indexes(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    p omop_emb.partial_index;
    wanted record;
    changed boolean := false;
BEGIN
    FOR p IN
        SELECT * FROM omop_emb.partial_index i
        WHERE i.config_id = c.config_id AND (i.attribute, i.value) NOT IN (
            SELECT w.attribute, w.value FROM omop_emb.partial_indexes_wanted(c) w)
    LOOP
        EXECUTE format('DROP INDEX IF EXISTS omop_emb.%I', omop_emb.embedding_table(c) || '_hnsw_' || p.index_no);
        DELETE FROM omop_emb.partial_index i WHERE i.config_id = c.config_id AND i.index_no = p.index_no;
        changed := true;
    END LOOP;
    FOR wanted IN SELECT w.* FROM omop_emb.partial_indexes_wanted(c) w LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM omop_emb.partial_index i
            WHERE i.config_id = c.config_id AND i.attribute = wanted.attribute AND i.value = wanted.value);
        INSERT INTO omop_emb.partial_index (config_id, index_no, attribute, value)
        SELECT c.config_id, coalesce(max(i.index_no), 0) + 1, wanted.attribute, wanted.value
        FROM omop_emb.partial_index i WHERE i.config_id = c.config_id
        RETURNING * INTO p;
        PERFORM omop_emb.create_hnsw(c, omop_emb.embedding_table(c) || '_hnsw_' || p.index_no,
            'live AND ' || omop_emb.partial_condition(p));
        changed := true;
    END LOOP;
    IF changed THEN
        PERFORM omop_emb.create_search_functions(c);
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.build_partial_indexes(omop_emb.config) IS
    'Build the partial HNSW indexes that the configuration has use for, and drop those it has not';
