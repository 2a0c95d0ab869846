CREATE OR REPLACE FUNCTION omop_emb.catch_up(compare_all boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- More are found faster by comparing everything.
    most_ids CONSTANT bigint := 20000;
    changed int8multirange := (SELECT range_agg(q.concept_ids) FROM omop_emb.queue q);
    ids numeric;
    c omop_emb.config;
    due bytea[];
BEGIN
    SELECT sum(CASE WHEN lower_inf(r) OR upper_inf(r) THEN 'infinity'::numeric ELSE upper(r) - lower(r) END)
    INTO ids FROM unnest(changed) r;
    IF compare_all OR ids > most_ids THEN
        PERFORM omop_emb.reconcile(NULL);
    ELSIF ids > 0 THEN
        PERFORM omop_emb.reconcile(ARRAY(
            SELECT i::int FROM unnest(changed) r, generate_series(lower(r), upper(r) - 1) i));
    END IF;
    FOR c IN SELECT * FROM omop_emb.config LOOP
        SELECT array_agg(f.text_hash) INTO due
        FROM omop_emb.failure f WHERE f.config_id = c.config_id AND f.next_attempt <= now();
        IF due IS NOT NULL THEN
            PERFORM omop_emb.lock_mirror();
            PERFORM omop_emb.create_jobs(c, due);
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION omop_emb.catch_up(boolean) IS
    'Bring the mirror in line with what changed in the vocabulary, as the triggers queued it or else by comparing all of'
    ' it, and queue jobs for what has no vector and for failures that are due again';
