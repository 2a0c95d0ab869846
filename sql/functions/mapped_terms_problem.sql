CREATE OR REPLACE FUNCTION omop_emb.mapped_terms_problem() RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    readable boolean := omop_emb.can_read('concept_relationship');
BEGIN
    RETURN CASE
        WHEN readable THEN NULL
        WHEN readable IS NULL
            THEN format('mapped terms are not indexed: there is no table %s.concept_relationship', {{ cdm_name }})
        ELSE format('mapped terms are not indexed: omop_emb_owner may not read %s.concept_relationship', {{ cdm_name }})
    END;
END
$$;

COMMENT ON FUNCTION omop_emb.mapped_terms_problem() IS 'Why no configuration can index mapped terms now; NULL when they can';
