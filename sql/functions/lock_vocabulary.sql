CREATE OR REPLACE FUNCTION omop_emb.lock_vocabulary() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF omop_emb.can_read('concept') THEN
        LOCK TABLE {{ cdm }}.concept IN ACCESS SHARE MODE;
    END IF;
    IF omop_emb.can_read('concept_synonym') THEN
        LOCK TABLE {{ cdm }}.concept_synonym IN ACCESS SHARE MODE;
    END IF;
    IF EXISTS (SELECT FROM omop_emb.config f WHERE f.mapped_terms) AND omop_emb.can_read('concept_relationship') THEN
        LOCK TABLE {{ cdm }}.concept_relationship IN ACCESS SHARE MODE;
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.lock_vocabulary() IS
    'Wait for whoever replaces the vocabulary: a statement that began before a TRUNCATE ended would find the tables empty';
