CREATE OR REPLACE FUNCTION omop_emb.vocabulary_term(concept_ids int[])
    RETURNS TABLE (concept_id int, kind text, text text, config_id int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
-- Custom plans: a few concepts and the whole vocabulary need different ones, in one session too.
#variable_conflict use_column
DECLARE
    has_synonyms boolean := omop_emb.can_read('concept_synonym') IS TRUE
        AND EXISTS (SELECT FROM omop_emb.config f WHERE f.synonyms);
BEGIN
    RETURN QUERY
        SELECT c.concept_id, 'name', c.concept_name, 0
        FROM omop_emb.vocabulary_concept(vocabulary_term.concept_ids) c
        WHERE c.concept_name ~ E'\\S';
    RETURN QUERY
        SELECT c.concept_id, 'supplied', s.text, s.config_id
        FROM omop_emb.supplied_text s
        JOIN omop_emb.vocabulary_concept(vocabulary_term.concept_ids) c ON c.concept_id = s.concept_id
        WHERE s.text IS DISTINCT FROM c.concept_name;
    IF has_synonyms THEN
        RETURN QUERY
            SELECT DISTINCT c.concept_id, 'synonym', s.concept_synonym_name::text, 0
            FROM {{ cdm }}.concept_synonym s
            JOIN omop_emb.vocabulary_concept(vocabulary_term.concept_ids) c ON c.concept_id = s.concept_id
            WHERE s.concept_synonym_name ~ E'\\S'
                AND s.concept_synonym_name::text IS DISTINCT FROM c.concept_name
                AND (vocabulary_term.concept_ids IS NULL OR s.concept_id = ANY (vocabulary_term.concept_ids));
    END IF;
    IF EXISTS (SELECT FROM omop_emb.config f WHERE f.mapped_terms) THEN
        -- A configuration that leaves synonyms out has a text that is both only as a mapped term.
        RETURN QUERY
            SELECT m.concept_id, 'mapped', m.text, 0
            FROM omop_emb.mapped_text(
                vocabulary_term.concept_ids,
                has_synonyms AND NOT EXISTS (SELECT FROM omop_emb.config f WHERE f.mapped_terms AND NOT f.synonyms)) m;
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.vocabulary_term(int[]) IS
    'The texts of the concepts that any configuration indexes, all or those of the given concepts, as they are now';
