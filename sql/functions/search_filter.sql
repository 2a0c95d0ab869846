CREATE OR REPLACE FUNCTION omop_emb.search_filter(
    c omop_emb.config, k int, domains text[], vocabularies text[], concept_classes text[], standard_only boolean,
    include_invalid boolean, ancestor_concept_id int, excluded_concept_id int) RETURNS omop_emb.search_filter
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    f omop_emb.search_filter;
BEGIN
    IF k IS NULL OR k < 1 THEN
        RAISE EXCEPTION 'k is %, it must be at least 1', coalesce(k::text, 'NULL')
            USING ERRCODE = 'OE005', HINT = 'k is the number of concepts to return.';
    END IF;
    IF greatest(array_ndims(domains), array_ndims(vocabularies), array_ndims(concept_classes)) > 1 THEN
        RAISE EXCEPTION 'a filter is an array of % dimensions',
            greatest(array_ndims(domains), array_ndims(vocabularies), array_ndims(concept_classes))
            USING ERRCODE = 'OE005', HINT = 'Pass a flat array of values, such as ARRAY[''Condition'', ''Drug''].';
    END IF;
    IF array_position(domains, NULL) IS NOT NULL OR array_position(vocabularies, NULL) IS NOT NULL
        OR array_position(concept_classes, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'a filter holds NULL among its values'
            USING ERRCODE = 'OE005', HINT = 'Leave it out: nothing compares with NULL. A filter that is NULL as a whole is none.';
    END IF;
    f := ROW(search_filter.domains, search_filter.vocabularies, search_filter.concept_classes,
        coalesce(search_filter.standard_only, false) OR c.standard_only,
        coalesce(search_filter.include_invalid, false) AND c.include_invalid,
        c.synonyms, NULL, search_filter.excluded_concept_id, c.mapped_terms);
    -- Concepts outside the configuration's scope may share a text with one inside.
    IF c.domains IS NOT NULL THEN
        f.domains := omop_emb.intersection(f.domains, c.domains);
    END IF;
    IF c.vocabularies IS NOT NULL THEN
        f.vocabularies := omop_emb.intersection(f.vocabularies, c.vocabularies);
    END IF;
    IF c.concept_classes IS NOT NULL THEN
        f.concept_classes := omop_emb.intersection(f.concept_classes, c.concept_classes);
    END IF;
    IF ancestor_concept_id IS NOT NULL THEN
        PERFORM omop_emb.require_vocabulary_table('concept_ancestor');
        f.concept_ids := ARRAY(
            SELECT a.descendant_concept_id::int
            FROM {{ cdm }}.concept_ancestor a
            WHERE a.ancestor_concept_id = search_filter.ancestor_concept_id
                AND a.descendant_concept_id BETWEEN -2147483648 AND 2147483647
            UNION SELECT search_filter.ancestor_concept_id);
    END IF;
    RETURN f;
END
$$;

COMMENT ON FUNCTION omop_emb.search_filter(omop_emb.config, int, text[], text[], text[], boolean, boolean, int, int) IS
    'The filter of a search within the scope of a configuration; OE005 for arguments that make no sense';
