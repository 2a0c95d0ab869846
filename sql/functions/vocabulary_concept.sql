CREATE OR REPLACE FUNCTION omop_emb.vocabulary_concept(concept_ids int[]) RETURNS SETOF omop_emb.concept
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
-- Custom plans: a few concepts and the whole vocabulary need different ones, in one session too.
#variable_conflict use_column
BEGIN
    -- A table that was created again is not readable for this package until migrate ran.
    IF omop_emb.can_read('concept') IS NOT TRUE THEN
        RETURN;
    END IF;
    -- Sites widen columns: everything is read as text.
    RETURN QUERY
        SELECT DISTINCT ON (m.concept_id) m.*
        FROM (
            SELECT c.concept_id::int, c.concept_name::text, c.domain_id::text, c.vocabulary_id::text,
                c.concept_class_id::text, c.concept_code::text,
                omop_emb.flag(c.standard_concept),
                omop_emb.flag(c.invalid_reason) IS NULL
            FROM {{ cdm }}.concept c
            WHERE c.concept_id BETWEEN -2147483648 AND 2147483647
                AND (vocabulary_concept.concept_ids IS NULL OR c.concept_id = ANY (vocabulary_concept.concept_ids))
        ) m (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code, standard_concept,
            is_valid)
        WHERE EXISTS (SELECT FROM omop_emb.config f WHERE omop_emb.in_scope(f, m::omop_emb.concept))
        -- Without a primary key an id may come twice: the same row must speak for it every time.
        ORDER BY m.concept_id, m.is_valid DESC, m.concept_name DESC NULLS LAST, m;
END
$$;

COMMENT ON FUNCTION omop_emb.vocabulary_concept(int[]) IS
    'The concepts of the vocabulary that any configuration indexes, all or those given, as they are now';
