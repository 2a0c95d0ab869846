CREATE OR REPLACE FUNCTION omop_emb.search_vector(
    c omop_emb.config, embedding {{ vector }}.vector, k int, filter omop_emb.search_filter)
    RETURNS SETOF omop_emb.search_result
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    few CONSTANT int := 10000;
    most_by_index CONSTANT int := 1000;
    exact boolean := search_vector.k > most_by_index;
BEGIN
    IF {{ vector }}.vector_dims(search_vector.embedding) <> c.dimensions THEN
        RAISE EXCEPTION 'the query vector has % dimensions, configuration % has %',
            {{ vector }}.vector_dims(search_vector.embedding), quote_literal(c.name), c.dimensions
            USING ERRCODE = 'OE005', HINT = 'Use a vector of the model of this configuration.';
    END IF;
    IF NOT exact AND ((filter).domains IS NOT NULL OR (filter).vocabularies IS NOT NULL
            OR (filter).concept_classes IS NOT NULL OR (filter).standard_only OR (filter).concept_ids IS NOT NULL) THEN
        SELECT count(*) <= few INTO exact
        FROM (
            SELECT
            FROM omop_emb.concept m
            WHERE ((filter).domains IS NULL OR m.domain_id = ANY ((filter).domains))
                AND ((filter).vocabularies IS NULL OR m.vocabulary_id = ANY ((filter).vocabularies))
                AND ((filter).concept_classes IS NULL OR m.concept_class_id = ANY ((filter).concept_classes))
                AND (NOT (filter).standard_only OR m.standard_concept = 'S')
                AND ((filter).include_invalid OR m.is_valid)
                AND ((filter).concept_ids IS NULL OR m.concept_id IN (SELECT unnest((filter).concept_ids)))
            LIMIT few + 1
        ) matching;
    END IF;

    IF NOT exact THEN
        RETURN QUERY EXECUTE format('SELECT n.* FROM omop_emb.%I($1, $2, $3) n', 'nearest_' || c.config_id)
            USING embedding, k::bigint, filter;
        exact := NOT FOUND;
    END IF;
    IF exact THEN
        RETURN QUERY EXECUTE omop_emb.search_statement(c, true) USING embedding, k, filter;
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.search_vector(omop_emb.config, {{ vector }}.vector, int, omop_emb.search_filter) IS
    'The k nearest concepts of a query vector: by the HNSW index, or exactly where few concepts pass the filter';
