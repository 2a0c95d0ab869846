CREATE OR REPLACE FUNCTION omop_emb.synonym_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM omop_emb.enqueue(range_agg(int8range(n.concept_id::bigint, n.concept_id::bigint + 1)))
        FROM new_rows n
        WHERE n.concept_id BETWEEN -2147483648 AND 2147483647
        HAVING count(*) > 0;
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM omop_emb.enqueue(range_agg(int8range(d.concept_id::bigint, d.concept_id::bigint + 1)))
        FROM (
            (SELECT n.concept_id, n.concept_synonym_name FROM new_rows n
                EXCEPT SELECT o.concept_id, o.concept_synonym_name FROM old_rows o)
            UNION ALL
            (SELECT o.concept_id, o.concept_synonym_name FROM old_rows o
                EXCEPT SELECT n.concept_id, n.concept_synonym_name FROM new_rows n)
        ) d
        WHERE d.concept_id BETWEEN -2147483648 AND 2147483647
        HAVING count(*) > 0;
    ELSE
        PERFORM omop_emb.enqueue(range_agg(int8range(o.concept_id::bigint, o.concept_id::bigint + 1)))
        FROM old_rows o
        WHERE o.concept_id BETWEEN -2147483648 AND 2147483647
        HAVING count(*) > 0;
    END IF;
    -- A synonym that is gone must not be found.
    IF TG_OP = 'INSERT' OR NOT omop_emb.may_mirror() THEN
        RETURN NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        DELETE FROM omop_emb.term t
        USING (
            SELECT o.concept_id, o.concept_synonym_name::text AS text FROM old_rows o
            EXCEPT SELECT n.concept_id, n.concept_synonym_name::text FROM new_rows n
        ) d
        WHERE t.concept_id = d.concept_id AND t.kind = 'synonym' AND t.text = d.text
            AND t.text_hash = sha256(convert_to(d.text, 'UTF8'));
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM omop_emb.term t
        USING old_rows d
        WHERE t.concept_id = d.concept_id AND t.kind = 'synonym' AND t.text = d.concept_synonym_name::text
            AND t.text_hash = sha256(convert_to(d.concept_synonym_name::text, 'UTF8'));
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION omop_emb.synonym_changed() IS 'Queue the concepts whose synonyms changed; take what is gone out of the searches at once';

DO $do$
BEGIN
    IF omop_emb.can_read('concept_synonym') IS NULL THEN
        RETURN;
    END IF;
    CREATE OR REPLACE TRIGGER omop_emb_inserted AFTER INSERT ON {{ cdm }}.concept_synonym
        REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.synonym_changed();
    CREATE OR REPLACE TRIGGER omop_emb_updated AFTER UPDATE ON {{ cdm }}.concept_synonym
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.synonym_changed();
    CREATE OR REPLACE TRIGGER omop_emb_deleted AFTER DELETE ON {{ cdm }}.concept_synonym
        REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.synonym_changed();
    CREATE OR REPLACE TRIGGER omop_emb_truncated AFTER TRUNCATE ON {{ cdm }}.concept_synonym
        FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.vocabulary_truncated();
END
$do$;
