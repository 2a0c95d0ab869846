CREATE OR REPLACE FUNCTION omop_emb.planned_hnsw(c omop_emb.config, anew boolean)
    RETURNS TABLE (index_name text, partial omop_emb.partial_index, definition text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    hnsw text := omop_emb.embedding_table(c) || '_hnsw';
    last_no int := (SELECT coalesce(max(i.index_no), 0) FROM omop_emb.partial_index i WHERE i.config_id = c.config_id);
BEGIN
    IF anew THEN
        index_name := omop_emb.embedding_table(c) || '_new';
        partial := NULL;
        definition := omop_emb.hnsw_definition(c, index_name, 'live');
        RETURN NEXT;
    END IF;
    FOR partial IN
        SELECT c.config_id, (last_no + row_number() OVER ())::int, w.attribute, w.value
        FROM omop_emb.partial_indexes_wanted(c) w
        WHERE anew OR (w.attribute, w.value) NOT IN (
            SELECT i.attribute, i.value FROM omop_emb.partial_index i
            WHERE i.config_id = c.config_id AND omop_emb.is_valid_index(hnsw || '_' || i.index_no))
    LOOP
        index_name := hnsw || '_' || partial.index_no;
        definition := omop_emb.hnsw_definition(c, index_name, 'live AND ' || omop_emb.partial_condition(partial));
        RETURN NEXT;
    END LOOP;
END
$$;

COMMENT ON FUNCTION omop_emb.planned_hnsw(omop_emb.config, boolean) IS
    'The HNSW indexes to build: the partial ones that the configuration lacks, or all anew, under names that none has yet';
