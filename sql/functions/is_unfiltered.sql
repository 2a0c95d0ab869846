CREATE OR REPLACE FUNCTION omop_emb.is_unfiltered(filter omop_emb.search_filter) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN filter.domains IS NULL AND filter.vocabularies IS NULL AND filter.concept_classes IS NULL
    AND NOT filter.standard_only AND filter.concept_ids IS NULL;

COMMENT ON FUNCTION omop_emb.is_unfiltered(omop_emb.search_filter) IS
    'Whether next to everything that is indexed passes the filter';
