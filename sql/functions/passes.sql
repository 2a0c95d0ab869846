CREATE OR REPLACE FUNCTION omop_emb.passes(filter omop_emb.search_filter, m omop_emb.concept) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (filter.domains IS NULL OR m.domain_id = ANY (filter.domains))
    AND (filter.vocabularies IS NULL OR m.vocabulary_id = ANY (filter.vocabularies))
    AND (filter.concept_classes IS NULL OR m.concept_class_id = ANY (filter.concept_classes))
    AND (NOT filter.standard_only OR m.standard_concept IS NOT DISTINCT FROM 'S')
    AND (filter.include_invalid OR m.is_valid)
    AND (filter.excluded_concept_id IS NULL OR m.concept_id IS DISTINCT FROM filter.excluded_concept_id);

COMMENT ON FUNCTION omop_emb.passes(omop_emb.search_filter, omop_emb.concept) IS
    'Whether a concept passes a filter by what it is; concept_ids, a set that may be large, is left to the caller';
