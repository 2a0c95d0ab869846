CREATE OR REPLACE FUNCTION omop_emb.remember_queries(keys bytea[], embeddings {{ vector }}.vector[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    mine int[];
BEGIN
    -- ON CONFLICT is a serialization failure where a row is newer than the snapshot.
    IF current_setting('transaction_read_only')::boolean
        OR current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
    THEN
        RETURN;
    END IF;
    -- Another transaction's new row would be waited for, perhaps for hours. One lock stands for many slots, since a
    -- server has room for a few thousand.
    mine := ARRAY(
        SELECT g.stripe
        FROM (SELECT DISTINCT omop_emb.query_vector_slot(k) % 256 AS stripe FROM unnest(keys) k) g
        WHERE pg_try_advisory_xact_lock(hashtext('omop_emb.query_vector'), g.stripe));
    INSERT INTO omop_emb.query_vector AS q (slot, key, embedding)
    SELECT DISTINCT ON (s.slot) s.slot, n.key, n.embedding
    FROM unnest(keys, embeddings) n (key, embedding),
        LATERAL (SELECT omop_emb.query_vector_slot(n.key) AS slot) s
    WHERE n.embedding IS NOT NULL AND s.slot % 256 = ANY (mine)
    ORDER BY s.slot
    ON CONFLICT (slot) DO UPDATE SET key = excluded.key, embedding = excluded.embedding WHERE q.key <> excluded.key;
END
$$;

COMMENT ON FUNCTION omop_emb.remember_queries(bytea[], {{ vector }}.vector[]) IS
    'Remember vectors of queries for all sessions, in place of older ones; nothing where that would fail or wait';
