CREATE OR REPLACE FUNCTION omop_emb.create_hybrid(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := 'hybrid_' || c.config_id;
BEGIN
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION omop_emb.%1$I(
            query text, embedding {{ vector }}.vector, k bigint, filter omop_emb.search_filter)
            RETURNS SETOF omop_emb.search_result
        LANGUAGE plpgsql STABLE PARALLEL SAFE
        COST 10000 ROWS 10
        SET search_path = pg_catalog, pg_temp
        SET plan_cache_mode = force_generic_plan
        SET enable_seqscan = off
        SET enable_hashjoin = off
        SET enable_mergejoin = off
        SET jit = off
        AS %2$L
        $sql$, name, format($body$
#variable_conflict use_column
DECLARE
    q omop_emb.lexical_query := omop_emb.lexical_query(query);
    pool bigint := greatest(k, 40);
    -- Chosen on gold pairs, see docs/search.md.
    lexical_weight CONSTANT double precision := 1.5;
BEGIN
    RETURN QUERY
        WITH semantic AS MATERIALIZED (
            SELECT n.* FROM omop_emb.%1$I(embedding, pool, filter) n
        ), lexical AS MATERIALIZED (
            SELECT l.* FROM omop_emb.lexical_candidates(%2$s, q, pool, filter) l
        ), spread AS MATERIALIZED (
            SELECT min(s.similarity) AS least, nullif(max(s.similarity) - min(s.similarity), 0) AS width FROM semantic s
        ), candidate AS (
            SELECT s.concept_id, coalesce(x.similarity, s.similarity) AS similarity, s.rank AS semantic_rank,
                l.rank AS lexical_rank,
                coalesce(l.exactness, 0) AS exactness,
                coalesce(l.score, t.score) AS score,
                CASE WHEN l.exactness > 0 THEN l.kind ELSE s.matched_kind END AS kind,
                CASE WHEN l.exactness > 0 THEN l.text ELSE s.matched_text END AS text
            FROM semantic s
            LEFT JOIN lexical l ON l.concept_id = s.concept_id
            LEFT JOIN LATERAL (
                SELECT e.score
                FROM omop_emb.term t CROSS JOIN LATERAL omop_emb.lexical_score(q, t.text, t.lexemes) e
                WHERE l.concept_id IS NULL AND t.concept_id = s.concept_id AND t.text = s.matched_text
                LIMIT 1
            ) t ON true
            -- The similarity shown is that of the text shown.
            LEFT JOIN LATERAL (
                SELECT %3$s AS similarity
                FROM omop_emb.%4$I e WHERE l.exactness > 0 AND e.text_hash = l.text_hash AND e.live
            ) x ON true
            UNION ALL
            SELECT l.concept_id, %3$s, NULL, l.rank, l.exactness, l.score, l.kind, l.text
            FROM lexical l
            JOIN omop_emb.%4$I e ON e.text_hash = l.text_hash AND e.live
            WHERE l.concept_id NOT IN (SELECT s.concept_id FROM semantic s)
        ), ranked AS (
            SELECT (row_number() OVER best_first)::int AS rank, r.*, m.concept_name, m.domain_id, m.vocabulary_id,
                m.concept_class_id, m.concept_code, m.standard_concept
            FROM candidate r
            JOIN omop_emb.concept m ON m.concept_id = r.concept_id
            CROSS JOIN spread d
            WINDOW best_first AS (
                ORDER BY r.exactness DESC,
                    coalesce(greatest((r.similarity - d.least) / d.width, 0), 0) + lexical_weight * r.score DESC,
                    r.kind <> 'name', omop_emb.preference(m.standard_concept, m.is_valid), r.concept_id)
        )
        SELECT r.rank, r.concept_id, r.concept_name, r.domain_id, r.vocabulary_id, r.concept_class_id, r.concept_code,
            r.standard_concept, r.similarity::double precision, r.text,
            CASE r.kind WHEN 'supplied' THEN 'synonym' ELSE r.kind END, r.semantic_rank, r.lexical_rank
        FROM ranked r
        WHERE r.rank <= k
        ORDER BY r.rank;
END
$body$, 'nearest_' || c.config_id, c.config_id,
            omop_emb.similarity_expression(c.distance, format('(e.embedding OPERATOR({{ vector }}.%s) $2%s)',
                omop_emb.distance_operator(c.distance), CASE c.storage WHEN 'halfvec' THEN '::{{ vector }}.halfvec' ELSE '' END)),
            omop_emb.embedding_table(c)));
    EXECUTE format('REVOKE ALL ON FUNCTION omop_emb.%I FROM PUBLIC', name);
    EXECUTE format('COMMENT ON FUNCTION omop_emb.%I IS %L', name,
        format('The k best concepts for a query in configuration %s, by its vector and by its letters; written by'
            ' omop_emb.create_hybrid', c.name));
END
$$;

COMMENT ON FUNCTION omop_emb.create_hybrid(omop_emb.config) IS
    'Make the function that searches one configuration by vector and by letters: fused by score, the place of the'
    ' similarity between the best and the last candidate, 0 to 1, plus 1.5 times the lexical score; exact texts first';
