CREATE OR REPLACE FUNCTION omop_emb.plan_search(config_id int, filter omop_emb.search_filter, candidates bigint)
    RETURNS omop_emb.search_plan
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    chosen omop_emb.search_plan;
    matching double precision;
    indexed double precision;
    c omop_emb.config;
BEGIN
    IF omop_emb.is_unfiltered(filter) THEN
        RETURN ROW(0, 1::double precision, 'infinity'::double precision, false);
    END IF;
    SELECT * INTO c FROM omop_emb.config f WHERE f.config_id = plan_search.config_id;
    SELECT coalesce(sum(g.concepts) FILTER (WHERE omop_emb.passes(filter, g.concept)), 0), coalesce(sum(g.concepts), 0)
    INTO matching, indexed
    FROM (
        SELECT ROW(0, NULL, g.domain_id, g.vocabulary_id, g.concept_class_id, NULL, g.standard_concept, g.is_valid)::omop_emb.concept
                AS concept, g.concepts
        FROM omop_emb.concept_group g
    ) g
    WHERE omop_emb.in_scope(c, g.concept);
    IF filter.concept_ids IS NOT NULL THEN
        matching := least(matching, cardinality(filter.concept_ids));
    END IF;
    -- An index scan looks at a multiple of candidates / share terms, an exact one at all that match.
    chosen := ROW(0, matching / nullif(indexed, 0), matching, false);
    -- Vectors of changed concepts are filed under their new domain or vocabulary when the index is brought up to date.
    IF (cardinality(filter.domains) = 1 OR cardinality(filter.vocabularies) = 1)
        AND NOT EXISTS (SELECT FROM omop_emb.queue) THEN
        SELECT i.index_no, matching / nullif(sum(g.concepts), 0), matching, false
        INTO chosen
        FROM (
            SELECT p.index_no, p.attribute, p.value FROM omop_emb.partial_index p
            WHERE p.config_id = plan_search.config_id
                AND (p.attribute = 'domain_id' AND filter.domains = ARRAY[p.value]
                    OR p.attribute = 'vocabulary_id' AND filter.vocabularies = ARRAY[p.value])
        ) i
        JOIN omop_emb.concept_group g
            ON CASE i.attribute WHEN 'domain_id' THEN g.domain_id ELSE g.vocabulary_id END = i.value
        GROUP BY i.index_no
        HAVING matching / sum(g.concepts) > chosen.share
        ORDER BY 2 DESC
        LIMIT 1;
        IF NOT FOUND THEN
            chosen := ROW(0, matching / nullif(indexed, 0), matching, false);
        END IF;
    END IF;
    IF chosen.share IS NULL OR chosen.share = 0 OR matching <= 1000 OR matching <= 6 * candidates / chosen.share THEN
        RETURN ROW(NULL::int, chosen.share, matching, matching <= 20000);
    END IF;
    RETURN ROW(chosen.index_no, least(chosen.share, 1), matching, false);
END
$$;

COMMENT ON FUNCTION omop_emb.plan_search(int, omop_emb.search_filter, bigint) IS
    'How to find so many candidates that pass a filter: by the HNSW index of that number (0: the whole one), of whose'
    ' terms a share passes, or exactly, without an index, when that looks at fewer; by estimated sizes';
