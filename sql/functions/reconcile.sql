CREATE OR REPLACE FUNCTION omop_emb.reconcile(concept_ids int[] DEFAULT NULL, may_drop_index boolean DEFAULT false)
    RETURNS TABLE (config_id int, removed bigint, reused bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Nobody can do anything about the notice that a word is too long to be indexed.
SET client_min_messages = warning
AS $$
#variable_conflict use_column
DECLARE
    wanted_ids int[] := reconcile.concept_ids;
    wanted_range int8multirange;
    touched bytea[];
    touched_now bytea[];
    come_now bytea[];
    changes bigint;
    changed_concepts bigint;
    started timestamptz;
    problem text;
    c omop_emb.config;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'indexing in a % transaction could miss what others committed since it began',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'OE005', HINT = 'Run it in a READ COMMITTED transaction.';
    END IF;
    PERFORM omop_emb.require_vocabulary_table('concept');
    IF NOT omop_emb.can_read('concept_synonym') THEN
        PERFORM omop_emb.require_vocabulary_table('concept_synonym');
    END IF;
    SELECT omop_emb.mapped_terms_problem() INTO problem FROM omop_emb.config f WHERE f.mapped_terms LIMIT 1;
    IF wanted_ids IS NULL AND problem IS NOT NULL THEN
        RAISE WARNING USING MESSAGE = problem, HINT = 'Restore the table and run omop-emb-admin migrate, then index.';
    END IF;
    PERFORM omop_emb.lock_mirror();
    PERFORM omop_emb.lock_vocabulary();
    started := clock_timestamp();

    IF wanted_ids IS NULL THEN
        DELETE FROM omop_emb.queue q
        WHERE q.job_id IN (SELECT l.job_id FROM omop_emb.queue l FOR UPDATE SKIP LOCKED);
    ELSE
        SELECT range_agg(int8range(i, i + 1::bigint)) INTO wanted_range FROM unnest(wanted_ids) i WHERE i IS NOT NULL;
        UPDATE omop_emb.queue q SET concept_ids = q.concept_ids - wanted_range
        WHERE q.job_id IN (
            SELECT l.job_id FROM omop_emb.queue l WHERE l.concept_ids && wanted_range FOR UPDATE SKIP LOCKED);
        DELETE FROM omop_emb.queue WHERE isempty(concept_ids);
    END IF;

    WITH source AS MATERIALIZED (
        SELECT * FROM omop_emb.vocabulary_concept(wanted_ids)
    ), gone AS (
        DELETE FROM omop_emb.concept m
        WHERE (wanted_ids IS NULL OR m.concept_id = ANY (wanted_ids))
            AND NOT EXISTS (SELECT FROM source s WHERE s.concept_id = m.concept_id)
    )
    INSERT INTO omop_emb.concept
    SELECT s.*
    FROM source s
    LEFT JOIN omop_emb.concept m ON m.concept_id = s.concept_id
    WHERE m.concept_id IS NULL OR m IS DISTINCT FROM s::omop_emb.concept
    ON CONFLICT (concept_id) DO UPDATE SET
        concept_name = excluded.concept_name, domain_id = excluded.domain_id,
        vocabulary_id = excluded.vocabulary_id, concept_class_id = excluded.concept_class_id,
        concept_code = excluded.concept_code, standard_concept = excluded.standard_concept,
        is_valid = excluded.is_valid;
    GET DIAGNOSTICS changed_concepts = ROW_COUNT;

    WITH source AS MATERIALIZED (
        SELECT * FROM omop_emb.vocabulary_term(wanted_ids)
    ), gone AS (
        DELETE FROM omop_emb.term t
        WHERE (wanted_ids IS NULL OR t.concept_id = ANY (wanted_ids))
            AND NOT EXISTS (
                SELECT FROM source s WHERE s.concept_id = t.concept_id AND s.kind = t.kind AND s.text = t.text
                    AND s.config_id = t.config_id)
        RETURNING t.text_hash
    ), come AS (
        INSERT INTO omop_emb.term (text_hash, concept_id, kind, text, config_id)
        SELECT sha256(convert_to(s.text, 'UTF8')), s.concept_id, s.kind, s.text, s.config_id
        FROM source s
        WHERE NOT EXISTS (
            SELECT FROM omop_emb.term t WHERE t.concept_id = s.concept_id AND t.kind = s.kind AND t.text = s.text
                AND t.config_id = s.config_id)
        ON CONFLICT DO NOTHING
        RETURNING text_hash
    )
    SELECT array_agg(h.text_hash) FILTER (WHERE wanted_ids IS NOT NULL), count(*),
        (array_agg(h.text_hash) FILTER (WHERE h.is_new))[:1000]
    INTO touched_now, changes, come_now
    FROM (SELECT text_hash, false AS is_new FROM gone UNION ALL SELECT text_hash, true FROM come) h;
    changes := changes + changed_concepts;
    IF changes >= 1000 OR changes > 0 AND NOT EXISTS (SELECT FROM omop_emb.term t OFFSET 10000) THEN
        -- The planner must not take them for empty tables until autovacuum comes round.
        PERFORM omop_emb.refresh_statistics();
    ELSIF changes > 0 THEN
        PERFORM omop_emb.learn_words(come_now);
    END IF;
    IF wanted_ids IS NOT NULL THEN
        -- The concept may have entered or left a configuration's scope with its texts unchanged.
        touched := coalesce(touched_now, '{}') || ARRAY(
            SELECT t.text_hash FROM omop_emb.term t WHERE t.concept_id = ANY (wanted_ids));
    END IF;

    -- Locked, so that one that another session deletes is waited for and left out.
    FOR c IN SELECT * FROM omop_emb.config FOR KEY SHARE LOOP
        RETURN QUERY SELECT c.config_id, r.removed, r.reused FROM omop_emb.refresh_live(c, touched, started, may_drop_index) r;
        PERFORM omop_emb.create_jobs(c, touched);
    END LOOP;
END
$$;

COMMENT ON FUNCTION omop_emb.reconcile(int[], boolean) IS
    'Bring concepts, terms and the set of live vectors in line with the vocabulary, without calling a model, and queue jobs for texts without one; an HNSW index'
    ' of which much would change is dropped if that is allowed: searches wait for the end of the transaction then';
