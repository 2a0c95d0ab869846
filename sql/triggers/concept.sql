-- Owned by omop_emb_owner and SECURITY DEFINER: whoever may write the vocabulary needs no right on this package.
CREATE OR REPLACE FUNCTION omop_emb.concept_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM omop_emb.enqueue(range_agg(int8range(n.concept_id::bigint, n.concept_id::bigint + 1)))
    FROM new_rows n
    WHERE n.concept_id BETWEEN -2147483648 AND 2147483647
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION omop_emb.concept_inserted() IS 'Queue the concepts that were inserted';

CREATE OR REPLACE FUNCTION omop_emb.concept_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at_once boolean;
    has_partial_indexes boolean;
BEGIN
    -- The usual update changes nothing that matters here, and one pass over each side shows it.
    IF NOT EXISTS (
        SELECT n.concept_id, n.concept_name, n.domain_id, n.vocabulary_id, n.concept_class_id, n.concept_code,
            n.standard_concept, n.invalid_reason
        FROM new_rows n
        EXCEPT
        SELECT o.concept_id, o.concept_name, o.domain_id, o.vocabulary_id, o.concept_class_id, o.concept_code,
            o.standard_concept, o.invalid_reason
        FROM old_rows o
    ) THEN
        RETURN NULL;
    END IF;

    at_once := omop_emb.may_mirror();
    -- Also before there are any: the first one may be in the making.
    has_partial_indexes := EXISTS (SELECT FROM omop_emb.partial_index p)
        OR EXISTS (SELECT FROM omop_emb.config c WHERE c.partial_indexes <> '{}')
            AND (SELECT sum(g.concepts) FROM omop_emb.concept_group g) >= omop_emb.fewest_of_partial_index();
    -- A concept that is not mirrored may have come into the scope of a configuration by an attribute alone.
    PERFORM omop_emb.enqueue(range_agg(int8range(d.concept_id::bigint, d.concept_id::bigint + 1)))
    FROM (
        SELECT coalesce(n.concept_id, o.concept_id) AS concept_id
        FROM new_rows n
        FULL JOIN old_rows o ON o.concept_id = n.concept_id
        WHERE n.concept_name IS DISTINCT FROM o.concept_name OR n.concept_id IS NULL OR o.concept_id IS NULL
            OR ((n.domain_id, n.vocabulary_id, n.concept_class_id, n.standard_concept, n.invalid_reason)
                IS DISTINCT FROM
                (o.domain_id, o.vocabulary_id, o.concept_class_id, o.standard_concept, o.invalid_reason)
                AND (NOT at_once OR NOT EXISTS (SELECT FROM omop_emb.concept m WHERE m.concept_id = n.concept_id)))
            -- Its vectors have to be filed anew; until then plan_search leaves the partial indexes alone.
            OR has_partial_indexes AND (n.domain_id, n.vocabulary_id) IS DISTINCT FROM (o.domain_id, o.vocabulary_id)
    ) d
    WHERE d.concept_id BETWEEN -2147483648 AND 2147483647
    HAVING count(*) > 0;
    IF NOT at_once THEN
        RETURN NULL;
    END IF;

    DELETE FROM omop_emb.concept m
    USING old_rows o
    WHERE m.concept_id = o.concept_id AND NOT EXISTS (SELECT FROM new_rows n WHERE n.concept_id = o.concept_id);

    WITH changed AS MATERIALIZED (
        SELECT n.concept_id, n.concept_name, n.domain_id, n.vocabulary_id, n.concept_class_id, n.concept_code,
            n.standard_concept, n.invalid_reason
        FROM new_rows n
        EXCEPT
        SELECT o.concept_id, o.concept_name, o.domain_id, o.vocabulary_id, o.concept_class_id, o.concept_code,
            o.standard_concept, o.invalid_reason
        FROM old_rows o
    )
    UPDATE omop_emb.concept m
    SET concept_name = n.concept_name, domain_id = n.domain_id, vocabulary_id = n.vocabulary_id,
        concept_class_id = n.concept_class_id, concept_code = n.concept_code,
        standard_concept = omop_emb.flag(n.standard_concept), is_valid = omop_emb.flag(n.invalid_reason) IS NULL
    FROM changed n
    WHERE m.concept_id = n.concept_id;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION omop_emb.concept_updated() IS 'Queue the concepts whose name changed; copy what filters need at once, without embedding';

CREATE OR REPLACE FUNCTION omop_emb.concept_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF omop_emb.may_mirror() THEN
        DELETE FROM omop_emb.concept m USING old_rows o WHERE m.concept_id = o.concept_id;
    END IF;
    PERFORM omop_emb.enqueue(range_agg(int8range(o.concept_id::bigint, o.concept_id::bigint + 1)))
    FROM old_rows o
    WHERE o.concept_id BETWEEN -2147483648 AND 2147483647
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION omop_emb.concept_deleted() IS 'Take the deleted concepts out of the searches at once';

CREATE OR REPLACE TRIGGER omop_emb_inserted AFTER INSERT ON {{ cdm }}.concept
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.concept_inserted();
CREATE OR REPLACE TRIGGER omop_emb_updated AFTER UPDATE ON {{ cdm }}.concept
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.concept_updated();
CREATE OR REPLACE TRIGGER omop_emb_deleted AFTER DELETE ON {{ cdm }}.concept
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.concept_deleted();
CREATE OR REPLACE TRIGGER omop_emb_truncated AFTER TRUNCATE ON {{ cdm }}.concept
    FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.vocabulary_truncated();
