CREATE OR REPLACE FUNCTION omop_emb.partial_indexes_wanted(c omop_emb.config)
    RETURNS TABLE (attribute text, value text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- With more, the whole index finds enough of them.
    largest_share CONSTANT double precision := 0.5;
BEGIN
    RETURN QUERY
        WITH indexed AS (
            SELECT g.* FROM omop_emb.concept_group g
            WHERE omop_emb.in_scope(c, ROW(0, NULL, g.domain_id, g.vocabulary_id, g.concept_class_id, NULL,
                g.standard_concept, g.is_valid)::omop_emb.concept)
        ), valued AS (
            SELECT a.attribute, a.value, sum(i.concepts) AS concepts
            FROM indexed i, LATERAL (VALUES ('domain_id', i.domain_id), ('vocabulary_id', i.vocabulary_id)) a (attribute, value)
            WHERE a.attribute = ANY (c.partial_indexes) AND a.value IS NOT NULL
            GROUP BY a.attribute, a.value
        )
        SELECT v.attribute, v.value
        FROM valued v
        LEFT JOIN omop_emb.partial_index p
            ON p.config_id = c.config_id AND p.attribute = v.attribute AND p.value = v.value
        -- One that is there stays until it is clearly of no use, so that small changes do not build and drop it in turn.
        WHERE v.concepts >= omop_emb.fewest_of_partial_index() / CASE WHEN p.config_id IS NULL THEN 1 ELSE 2 END
            AND v.concepts <= largest_share * CASE WHEN p.config_id IS NULL THEN 1 ELSE 1.5 END
                * (SELECT sum(i.concepts) FROM indexed i)
        ORDER BY v.concepts DESC, v.attribute, v.value;
END
$$;

COMMENT ON FUNCTION omop_emb.partial_indexes_wanted(omop_emb.config) IS
    'The domains and vocabularies that have many, but not most, of the concepts that the configuration indexes';
