CREATE OR REPLACE FUNCTION omop_emb.vocabulary_term(concept_ids int[])
    RETURNS TABLE (concept_id int, kind text, text text, config_id int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT c.concept_id, 'name', c.concept_name, 0
        FROM omop_emb.vocabulary_concept(vocabulary_term.concept_ids) c
        WHERE c.concept_name ~ '\S';
    RETURN QUERY
        SELECT c.concept_id, 'supplied', s.text, s.config_id
        FROM omop_emb.supplied_text s
        JOIN omop_emb.vocabulary_concept(vocabulary_term.concept_ids) c ON c.concept_id = s.concept_id
        WHERE s.text IS DISTINCT FROM c.concept_name;
    IF omop_emb.can_read('concept_synonym') IS NOT TRUE
        OR NOT EXISTS (SELECT FROM omop_emb.config f WHERE f.synonyms) THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT DISTINCT c.concept_id, 'synonym', s.concept_synonym_name::text, 0
        FROM {{ cdm }}.concept_synonym s
        JOIN omop_emb.vocabulary_concept(vocabulary_term.concept_ids) c ON c.concept_id = s.concept_id
        WHERE s.concept_synonym_name ~ '\S'
            AND s.concept_synonym_name::text IS DISTINCT FROM c.concept_name
            AND (vocabulary_term.concept_ids IS NULL OR s.concept_id = ANY (vocabulary_term.concept_ids));
END
$$;

COMMENT ON FUNCTION omop_emb.vocabulary_term(int[]) IS
    'The texts of the concepts that any configuration indexes, all or those of the given concepts, as they are now';
