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
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config;
    f omop_emb.search_filter;
    embeddings {{ vector }}.vector[];
    errors text[];
    is_lexical boolean;
    refused int;
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
    RETURN QUERY EXECUTE format($sql$
        WITH asked AS MATERIALIZED (
            SELECT q.query_no::int, q.query, q.embedding
            FROM unnest($1, $2, $3) WITH ORDINALITY q (query, embedding, error, query_no)
            WHERE q.error IS NULL
        ), distinct_text AS MATERIALIZED (
            SELECT DISTINCT ON (a.query) a.query, a.embedding FROM asked a ORDER BY a.query, a.query_no
        ), found AS MATERIALIZED (
            SELECT d.query AS searched_for, s.* FROM distinct_text d CROSS JOIN LATERAL %s s
        )
        SELECT a.query_no, a.query, f.rank, f.concept_id, f.concept_name, f.domain_id, f.vocabulary_id,
            f.concept_class_id, f.concept_code, f.standard_concept, f.similarity, f.matched_text, f.matched_kind,
            f.semantic_rank, f.lexical_rank
        FROM asked a
        JOIN found f ON f.searched_for = a.query
        ORDER BY a.query_no, f.rank
        $sql$, omop_emb.search_call(c, mode, 'd.query', 'd.embedding', '$4', '$5'))
        USING queries, embeddings, errors, k, f;
    IF NOT FOUND AND cardinality(queries) > 0 THEN
        PERFORM omop_emb.warn_if_empty(c);
    END IF;
END
$$;

COMMENT ON FUNCTION public.omop_emb_search_batch(
    text[], int, text[], text[], text[], boolean, boolean, int, text, text) IS
    'omop_emb_search for many texts at once, which count from 1: one model request per batch_size texts; a text that'
    ' cannot be embedded gives a warning and no row';
