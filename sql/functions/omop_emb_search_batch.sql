CREATE OR REPLACE FUNCTION public.omop_emb_search_batch(
    queries text[], k int DEFAULT 10, domains text[] DEFAULT NULL, vocabularies text[] DEFAULT NULL,
    concept_classes text[] DEFAULT NULL, standard_only boolean DEFAULT false, include_invalid boolean DEFAULT false,
    ancestor_concept_id int DEFAULT NULL, mode text DEFAULT 'hybrid', config text DEFAULT NULL)
    RETURNS TABLE (query_no int, query text, rank int, concept_id int, concept_name text, domain_id text,
        vocabulary_id text, concept_class_id text, concept_code text, standard_concept text,
        similarity double precision, matched_text text, matched_kind text, semantic_rank int, lexical_rank int)
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000 ROWS 1000
SET search_path = pg_catalog, pg_temp
SET parallel_setup_cost = 0
SET parallel_tuple_cost = 0
SET enable_parallel_append = on
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config;
    f omop_emb.search_filter;
    embeddings {{ vector }}.vector[];
    errors text[];
    is_lexical boolean;
    refused int;
    texts text[];
    text_embeddings {{ vector }}.vector[];
BEGIN
    IF array_ndims(queries) > 1 OR array_lower(queries, 1) <> 1 THEN
        RAISE EXCEPTION 'the queries are an array of % dimensions that starts at %', array_ndims(queries),
            array_lower(queries, 1)
            USING ERRCODE = 'OE005', HINT = 'Pass a flat array of texts, such as ARRAY[''chest pain'', ''fever''].';
    END IF;
    PERFORM omop_emb.require_mode(mode);
    c := omop_emb.config_for(config);
    f := omop_emb.search_filter(c, k, domains, vocabularies, concept_classes, standard_only, include_invalid,
        ancestor_concept_id, NULL);
    SELECT array_agg(e.embedding ORDER BY e.query_no), array_agg(e.error ORDER BY e.query_no),
        bool_or(e.embedding IS NULL AND e.error IS NULL)
    INTO embeddings, errors, is_lexical
    FROM omop_emb.embed_queries(c, queries) e;
    IF is_lexical THEN
        mode := 'lexical';
    END IF;
    FOR refused IN SELECT i FROM generate_subscripts(errors, 1) i WHERE errors[i] IS NOT NULL LOOP
        RAISE WARNING 'query % of % cannot be embedded: %', refused, cardinality(queries), errors[refused]
            USING HINT = 'The others are answered.';
    END LOOP;
    -- Equal texts are searched for once.
    SELECT array_agg(d.query), array_agg(d.embedding)
    INTO texts, text_embeddings
    FROM (
        SELECT DISTINCT ON (q.query) q.query, q.embedding
        FROM unnest(queries, embeddings, errors) q (query, embedding, error)
        WHERE q.error IS NULL
    ) d;
    IF texts IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format($sql$
        WITH found AS MATERIALIZED (%s)
        SELECT q.query_no::int, q.query, f.rank, f.concept_id, f.concept_name, f.domain_id, f.vocabulary_id,
            f.concept_class_id, f.concept_code, f.standard_concept, f.similarity, f.matched_text, f.matched_kind,
            f.semantic_rank, f.lexical_rank
        FROM unnest($1) WITH ORDINALITY q (query, query_no)
        JOIN found f ON f.searched_for = q.query
        ORDER BY q.query_no, f.rank
        $sql$, omop_emb.search_in_parallel(c, mode, cardinality(texts)))
        USING queries, texts, text_embeddings, k, f;
    IF NOT FOUND THEN
        PERFORM omop_emb.warn_if_empty(c);
    END IF;
END
$$;

COMMENT ON FUNCTION public.omop_emb_search_batch(
    text[], int, text[], text[], text[], boolean, boolean, int, text, text) IS
    'omop_emb_search for many texts at once, which count from 1: one model request per batch_size texts; a text that'
    ' cannot be embedded gives a warning and no row';
