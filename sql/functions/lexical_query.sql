CREATE OR REPLACE FUNCTION omop_emb.lexical_query(query text) RETURNS omop_emb.lexical_query
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET pg_trgm.similarity_threshold = 0.4
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    q omop_emb.lexical_query;
    -- A word in so many terms says too little to fetch them all.
    frequent CONSTANT bigint := 300;
BEGIN
    q.query := btrim(query, E' \t\r\n');
    q.compact := omop_emb.compact(query);
    q.lexemes := tsvector_to_array(to_tsvector('pg_catalog.english', left(query, 500)));
    WITH lexeme AS MATERIALIZED (
        SELECT l AS lexeme FROM unnest(q.lexemes) l LIMIT 32
    ), known AS MATERIALIZED (
        SELECT l.lexeme, w.word, w.terms, w.weight FROM lexeme l JOIN omop_emb.word w ON w.word = l.lexeme
    ), meant AS MATERIALIZED (
        SELECT k.lexeme, k.word, k.terms, k.weight FROM known k
        UNION ALL
        SELECT l.lexeme, w.word, w.terms, w.weight * w.likeness
        FROM lexeme l
        CROSS JOIN LATERAL (
            SELECT w.word, w.terms, w.weight, {{ trigram }}.similarity(w.word, l.lexeme) AS likeness
            FROM omop_emb.word w
            WHERE lower(w.word) OPERATOR({{ trigram }}.%) l.lexeme
            ORDER BY likeness DESC, w.terms DESC, w.word
            LIMIT 3
        ) w
        WHERE l.lexeme NOT IN (SELECT k.lexeme FROM known k)
    ), alternative AS (
        SELECT m.lexeme, max(m.weight) AS weight, least(sum(m.terms), frequent + 1) AS terms,
            string_agg('''' || replace(replace(m.word, E'\\', E'\\\\'), '''', '''''') || '''', ' | ') AS words
        FROM meant m
        GROUP BY m.lexeme
    ), rare AS (
        SELECT a.words, a.weight, row_number() OVER rarest_first AS place, sum(a.terms) OVER rarest_first AS terms
        FROM alternative a
        WINDOW rarest_first AS (ORDER BY a.terms, a.weight DESC, a.lexeme)
    )
    SELECT (SELECT array_agg(m.word) FROM meant m), (SELECT array_agg(m.weight) FROM meant m),
        coalesce((SELECT sum(a.weight) FROM alternative a), 0)
            + s.unknown_weight * (SELECT count(*) FROM lexeme l WHERE l.lexeme NOT IN (SELECT m.lexeme FROM meant m)),
        s.mean_weight,
        -- All words; any rare one; the rarest with any other, when none is rare.
        nullif(concat_ws(' | ',
            (SELECT string_agg('(' || r.words || ')', ' & ') FROM rare r),
            (SELECT string_agg(r.words, ' | ') FROM rare r WHERE r.terms <= frequent),
            (SELECT '(' || r.words || ') & (' || o.words || ')'
                FROM rare r, (SELECT string_agg(r.words, ' | ') AS words FROM rare r WHERE r.place > 1) o
                WHERE r.place = 1 AND r.terms > frequent AND o.words IS NOT NULL)), '')::tsquery,
        nullif((SELECT string_agg(r.words, ' | ') FROM rare r), '')::tsquery
    INTO q.words, q.weights, q.total, q.mean_weight, q.matching, q.any_word
    FROM omop_emb.word_statistics s;
    RETURN q;
END
$$;

COMMENT ON FUNCTION omop_emb.lexical_query(text) IS
    'What the words of a query are worth and which terms to look at; a word that no term has stands for those most like it';
