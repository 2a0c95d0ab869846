CREATE OR REPLACE FUNCTION omop_emb.passes_few(filter omop_emb.search_filter) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on
AS $$
DECLARE
    few CONSTANT int := 10000;
BEGIN
    IF filter.domains IS NULL AND filter.vocabularies IS NULL AND filter.concept_classes IS NULL
        AND NOT filter.standard_only AND filter.concept_ids IS NULL THEN
        RETURN false;
    END IF;
    RETURN count(*) <= few
        FROM (
            SELECT
            FROM omop_emb.concept m
            WHERE (filter.domains IS NULL OR m.domain_id = ANY (filter.domains))
                AND (filter.vocabularies IS NULL OR m.vocabulary_id = ANY (filter.vocabularies))
                AND (filter.concept_classes IS NULL OR m.concept_class_id = ANY (filter.concept_classes))
                AND (NOT filter.standard_only OR m.standard_concept = 'S')
                AND (filter.include_invalid OR m.is_valid)
                AND (filter.concept_ids IS NULL OR m.concept_id IN (SELECT unnest(filter.concept_ids)))
            LIMIT few + 1
        ) matching;
END
$$;

COMMENT ON FUNCTION omop_emb.passes_few(omop_emb.search_filter) IS
    'Whether so few concepts pass the filter that comparing them all is better than an index scan';
