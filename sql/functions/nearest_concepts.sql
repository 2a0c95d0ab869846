CREATE OR REPLACE FUNCTION omop_emb.nearest_concepts(
    embedding real[], k int DEFAULT 10, domains text[] DEFAULT NULL, vocabularies text[] DEFAULT NULL,
    concept_classes text[] DEFAULT NULL, standard_only boolean DEFAULT false, include_invalid boolean DEFAULT false,
    concept_ids int[] DEFAULT NULL, exact boolean DEFAULT false, distance text DEFAULT NULL, config text DEFAULT NULL)
    RETURNS SETOF omop_emb.search_result
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
    f omop_emb.search_filter := omop_emb.search_filter(c, k, domains, vocabularies, concept_classes, standard_only,
        include_invalid, NULL, NULL);
    problem text := CASE
        WHEN embedding IS NULL OR array_ndims(embedding) <> 1 OR array_position(embedding, NULL) IS NOT NULL
            THEN 'the query vector must be a flat array of numbers'
        WHEN cardinality(embedding) <> c.dimensions
            THEN format('the query vector has %s dimensions, configuration %L has %s', cardinality(embedding), c.name,
                c.dimensions)
        WHEN embedding && '{NaN,Infinity,-Infinity}' THEN 'the query vector holds NaN or infinity'
        WHEN coalesce(distance, c.distance) IN ('cosine', 'inner_product') AND 0 = ALL (embedding)
            THEN 'the query vector holds only zeros, which has no direction to compare'
        WHEN distance NOT IN ('cosine', 'l2', 'l1', 'inner_product')
            THEN format('there is no distance %L, only cosine, l2, l1 and inner_product', distance)
        WHEN distance <> c.distance AND NOT coalesce(exact, false)
            THEN format('the HNSW index of configuration %L is for the distance %s, not for %s', c.name, c.distance,
                distance) END;
    query {{ vector }}.vector;
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'OE005', MESSAGE = problem,
            HINT = 'Embed the text with the configuration''s model in the QUERY role; an exact search takes any distance.';
    END IF;
    query := embedding::{{ vector }}.vector;
    f.concept_ids := concept_ids;
    -- Their products would overflow single precision, or vanish in it.
    IF coalesce(distance, c.distance) IN ('cosine', 'inner_product') THEN
        query := {{ vector }}.l2_normalize(query);
    END IF;
    IF exact THEN
        c.distance := coalesce(distance, c.distance);
        RETURN QUERY SELECT n.* FROM omop_emb.search_exactly(c, query, k::bigint, f) n;
    ELSE
        RETURN QUERY EXECUTE format('SELECT n.* FROM omop_emb.%I($1, $2, $3) n', 'nearest_' || c.config_id)
            USING query, k::bigint, f;
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.nearest_concepts(
    real[], int, text[], text[], text[], boolean, boolean, int[], boolean, text, text) IS
    'The k concepts nearest to a vector that the caller embedded in the QUERY role; by the HNSW index, or exactly';
