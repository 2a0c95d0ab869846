CREATE OR REPLACE FUNCTION omop_emb.standard_targets(concept_ids int[])
    RETURNS TABLE (concept_id int, standard_concept_id int, concept_name text, domain_id text, vocabulary_id text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 1000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM omop_emb.require_vocabulary_table('concept');
    PERFORM omop_emb.require_vocabulary_table('concept_relationship');
    -- Sites widen columns: what has an index is compared as it is, all else is read as text. The flags come last, since
    -- the planner takes them for far more selective than they are.
    RETURN QUERY
        WITH link AS MATERIALIZED (
            SELECT s.concept_id, r.concept_id_2 AS target_id, r.invalid_reason::text
            FROM unnest(standard_targets.concept_ids) s (concept_id)
            JOIN {{ cdm }}.concept_relationship r ON r.concept_id_1 = s.concept_id
            WHERE r.relationship_id::text = 'Maps to'
            UNION ALL SELECT s.concept_id, s.concept_id, NULL FROM unnest(standard_targets.concept_ids) s (concept_id)
        ), target AS MATERIALIZED (
            SELECT l.concept_id, t.concept_id AS target_id, t.concept_name, t.domain_id, t.vocabulary_id,
                t.standard_concept, t.invalid_reason
            FROM link l
            JOIN {{ cdm }}.concept t ON t.concept_id = l.target_id
            WHERE omop_emb.flag(l.invalid_reason) IS NULL
        )
        SELECT DISTINCT ON (t.concept_id, t.target_id)
            t.concept_id, t.target_id::int, t.concept_name::text, t.domain_id::text, t.vocabulary_id::text
        FROM target t
        WHERE t.target_id BETWEEN -2147483648 AND 2147483647 AND omop_emb.flag(t.standard_concept::text) = 'S'
            AND omop_emb.flag(t.invalid_reason::text) IS NULL
        ORDER BY t.concept_id, t.target_id, t.concept_name::text;
END
$$;

COMMENT ON FUNCTION omop_emb.standard_targets(int[]) IS
    'The valid standard concepts that concepts map to: a standard one to itself, others by valid ''Maps to'' links;'
    ' OE005 without concept_relationship';
