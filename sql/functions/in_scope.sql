CREATE OR REPLACE FUNCTION omop_emb.in_scope(c omop_emb.config, m omop_emb.concept) RETURNS boolean
LANGUAGE sql STABLE
RETURN (c.domains IS NULL OR m.domain_id = ANY (c.domains))
    AND (c.vocabularies IS NULL OR m.vocabulary_id = ANY (c.vocabularies))
    AND (c.concept_classes IS NULL OR m.concept_class_id = ANY (c.concept_classes))
    AND (NOT c.standard_only OR m.standard_concept IS NOT DISTINCT FROM 'S')
    AND (c.include_invalid OR m.is_valid);

COMMENT ON FUNCTION omop_emb.in_scope(omop_emb.config, omop_emb.concept) IS
    'Whether the configuration indexes the concept';
