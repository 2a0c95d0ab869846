CREATE OR REPLACE FUNCTION omop_emb.adopt_hnsw(c omop_emb.config, anew boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    hnsw text := omop_emb.embedding_table(c) || '_hnsw';
    built omop_emb.partial_index[];
    p omop_emb.partial_index;
BEGIN
    SELECT coalesce(array_agg(n.partial) FILTER (WHERE (n.partial).index_no IS NOT NULL), '{}')
    INTO built
    FROM omop_emb.planned_hnsw(c, anew) n
    WHERE omop_emb.is_valid_index(n.index_name);
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

COMMENT ON FUNCTION omop_emb.adopt_hnsw(omop_emb.config, boolean) IS
    'Let searches use the HNSW indexes that were built as planned, and drop those they take the place of or that are not'
    ' wanted any more';
