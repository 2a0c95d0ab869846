CREATE OR REPLACE FUNCTION omop_emb.lexical_score(q omop_emb.lexical_query, text text, lexemes tsvector)
    RETURNS TABLE (score double precision)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT greatest(
        -- What pg_trgm takes for alike; below it, texts share letters by chance.
        (SELECT t.alike FROM (SELECT {{ trigram }}.similarity(text, q.query)) t (alike) WHERE t.alike >= 0.3),
        0,
        2 * sum(w.weight) / nullif(q.total + sum(w.weight) + (length(lexemes) - count(*)) * q.mean_weight, 0))
    FROM unnest(q.words, q.weights) w (word, weight)
    WHERE w.word = ANY (tsvector_to_array(lexemes));
END;

COMMENT ON FUNCTION omop_emb.lexical_score(omop_emb.lexical_query, text, tsvector) IS
    'How alike a query and a text are in their letters, 0 to 1: the larger of trigram similarity, from 0.3 on, and of the Dice'
    ' coefficient of their words, weighted by inverse document frequency, words of the text alone by the mean weight;'
    ' one row, so that the planner can put it into the statement';
