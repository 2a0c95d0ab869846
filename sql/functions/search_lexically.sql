CREATE OR REPLACE FUNCTION omop_emb.search_lexically(
    config_id int, query text, k bigint, filter omop_emb.search_filter) RETURNS SETOF omop_emb.search_result
LANGUAGE plpgsql STABLE PARALLEL SAFE
COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT l.rank, l.concept_id, m.concept_name, m.domain_id, m.vocabulary_id, m.concept_class_id, m.concept_code,
            m.standard_concept, l.score, l.text, 'lexical', NULL::int, l.rank
        FROM omop_emb.lexical_candidates(config_id, omop_emb.lexical_query(query), k, filter) l
        JOIN omop_emb.concept m ON m.concept_id = l.concept_id
        ORDER BY l.rank;
END
$$;

COMMENT ON FUNCTION omop_emb.search_lexically(int, text, bigint, omop_emb.search_filter) IS
    'The k best concepts for a query by its letters alone, which is what similarity and matched_kind say then';
