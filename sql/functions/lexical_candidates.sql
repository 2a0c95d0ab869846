CREATE OR REPLACE FUNCTION omop_emb.lexical_candidates(
    config_id int, q omop_emb.lexical_query, k bigint, filter omop_emb.search_filter)
    RETURNS TABLE (rank int, concept_id int, kind text, text text, text_hash bytea, exactness int, score double precision)
LANGUAGE plpgsql STABLE
ROWS 40
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    most_matches CONSTANT int := 3000;
    most_scored bigint := greatest(80, 2 * k);
BEGIN
    RETURN QUERY
        WITH same AS (
            SELECT t.concept_id, t.kind, t.text, t.text_hash,
                CASE WHEN t.kind = 'name' THEN 3 ELSE 1 END + (t.text = q.query)::int AS exactness, 1::double precision AS score
            FROM omop_emb.term t
            WHERE omop_emb.compact(t.text) = q.compact AND (q.compact <> '' OR t.text = q.query)
                AND t.config_id IN (0, lexical_candidates.config_id)
                AND omop_emb.passes_term(filter, t.kind)
            UNION ALL
            SELECT m.concept_id, 'code', m.concept_code, sha256(convert_to(m.concept_name, 'UTF8')),
                3 + (m.concept_code = q.query)::int, 1
            FROM omop_emb.concept m
            WHERE omop_emb.compact(m.concept_code) = q.compact AND (q.compact <> '' OR m.concept_code = q.query)
        ), matching AS (
            SELECT t.concept_id, t.kind, t.text, t.text_hash, t.lexemes
            FROM omop_emb.term t
            JOIN omop_emb.concept m ON m.concept_id = t.concept_id
            WHERE t.lexemes @@ q.matching AND t.config_id IN (0, lexical_candidates.config_id)
                AND omop_emb.passes_term(filter, t.kind) AND omop_emb.passes(filter, m)
                AND (filter.concept_ids IS NULL OR m.concept_id IN (SELECT unnest(filter.concept_ids)))
            LIMIT most_matches
        ), alike AS (
            (
                SELECT a.* FROM matching a
                ORDER BY ts_rank(a.lexemes, q.any_word, 2) DESC, a.concept_id
                LIMIT most_scored
            )
            UNION ALL
            -- The same words in any order and form, however many terms have them among others.
            SELECT t.concept_id, t.kind, t.text, t.text_hash, t.lexemes
            FROM omop_emb.term t
            WHERE tsvector_to_array(t.lexemes) = q.lexemes AND q.lexemes <> '{}'
                AND t.config_id IN (0, lexical_candidates.config_id) AND omop_emb.passes_term(filter, t.kind)
        ), folded AS (
            SELECT DISTINCT ON (f.concept_id) f.*, omop_emb.preference(m.standard_concept, m.is_valid) AS preference
            FROM (
                SELECT s.* FROM same s
                UNION ALL
                SELECT a.concept_id, a.kind, a.text, a.text_hash, 0, l.score
                FROM alike a CROSS JOIN LATERAL omop_emb.lexical_score(q, a.text, a.lexemes) l
            ) f
            JOIN omop_emb.concept m ON m.concept_id = f.concept_id
            WHERE omop_emb.passes(filter, m)
                AND (filter.concept_ids IS NULL OR m.concept_id IN (SELECT unnest(filter.concept_ids)))
            ORDER BY f.concept_id, f.exactness DESC, f.score DESC, f.kind <> 'name', f.kind = 'mapped', f.kind, f.text
        )
        SELECT (row_number() OVER best_first)::int, f.concept_id, f.kind, f.text, f.text_hash, f.exactness, f.score
        FROM folded f
        WINDOW best_first AS (
            ORDER BY f.exactness DESC, f.score DESC, f.kind <> 'name', f.preference, f.concept_id)
        ORDER BY 1
        LIMIT k;
END
$$;

COMMENT ON FUNCTION omop_emb.lexical_candidates(int, omop_emb.lexical_query, bigint, omop_emb.search_filter) IS
    'Concepts that pass the filter and are most like a query in their letters, best first; exactness is 4 for a name or'
    ' code that is the query, 3 for one that differs in case, spaces or hyphens, 2 and 1 for other texts, else 0';
