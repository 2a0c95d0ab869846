CREATE OR REPLACE FUNCTION omop_emb.enqueue(concept_ids int8multirange) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO omop_emb.queue (concept_ids)
    SELECT enqueue.concept_ids
    WHERE NOT isempty(enqueue.concept_ids)
        AND NOT EXISTS (SELECT FROM omop_emb.queue q WHERE q.concept_ids @> enqueue.concept_ids);
    IF FOUND THEN
        PERFORM pg_notify('omop_emb', '');
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.enqueue(int8multirange) IS
    'Queue concepts for indexing unless a job already covers them, and wake whoever listens on channel omop_emb';
