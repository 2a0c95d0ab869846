CREATE OR REPLACE FUNCTION omop_emb.enqueue(concept_ids int8multirange) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF isempty(enqueue.concept_ids) THEN
        RETURN;
    END IF;
    -- A job that is being worked off at this moment is locked, and does not cover what changes now.
    PERFORM FROM omop_emb.queue q WHERE q.concept_ids @> enqueue.concept_ids LIMIT 1 FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        INSERT INTO omop_emb.queue (concept_ids) VALUES (enqueue.concept_ids);
    END IF;
    -- Also for what is queued already: whoever was told of that may look before this transaction ends.
    PERFORM pg_notify('omop_emb', '');
    IF EXISTS (SELECT FROM omop_emb.config c WHERE c.immediate_rows > 0) THEN
        PERFORM omop_emb.index_at_once(enqueue.concept_ids);
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.enqueue(int8multirange) IS
    'Queue concepts for indexing unless a job already covers them, wake whoever listens on channel omop_emb, and'
    ' index at once what a configuration wants so';
