CREATE OR REPLACE FUNCTION omop_emb.mapped_text(concept_ids int[], without_synonyms boolean)
    RETURNS TABLE (concept_id int, text text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF omop_emb.can_read('concept') IS NOT TRUE OR omop_emb.can_read('concept_relationship') IS NOT TRUE THEN
        RETURN;
    END IF;
    -- A few concepts and all of them need different plans, and there may be no concept_synonym to name.
    RETURN QUERY EXECUTE format($sql$
        WITH mapping AS MATERIALIZED (
            SELECT r.concept_id_1, r.concept_id_2
            FROM {{ cdm }}.concept_relationship r
            WHERE r.relationship_id = 'Maps to' AND r.concept_id_1 <> r.concept_id_2
                -- The planner knows how many are NULL, but not what flag() makes of them.
                AND (r.invalid_reason IS NULL OR omop_emb.flag(r.invalid_reason) IS NULL)
                AND r.concept_id_1 BETWEEN -2147483648 AND 2147483647
                AND r.concept_id_2 BETWEEN -2147483648 AND 2147483647
                AND ($1 IS NULL OR r.concept_id_2 = ANY ($1))
        )
        SELECT DISTINCT c.concept_id, s.concept_name::text
        FROM mapping r
        JOIN {{ cdm }}.concept s ON s.concept_id = r.concept_id_1
        JOIN omop_emb.vocabulary_concept($1) c ON c.concept_id = r.concept_id_2
        WHERE s.concept_name ~ E'\\S' AND s.concept_name::text IS DISTINCT FROM c.concept_name
            AND omop_emb.flag(s.standard_concept) IS DISTINCT FROM 'S'%s
        $sql$, CASE WHEN without_synonyms THEN $sql$
            AND NOT EXISTS (
                SELECT FROM {{ cdm }}.concept_synonym y
                WHERE y.concept_id = r.concept_id_2 AND y.concept_synonym_name::text = s.concept_name::text)
        $sql$ END) USING concept_ids;
END
$$;

COMMENT ON FUNCTION omop_emb.mapped_text(int[], boolean) IS
    'The names of the non-standard concepts, indexed or not, that map to concepts that any configuration indexes, all or'
    ' those given, apart from the concept''s own name and, on demand, its synonyms';
