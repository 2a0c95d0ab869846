CREATE OR REPLACE FUNCTION omop_emb.refresh_statistics() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    all_terms double precision;
BEGIN
    -- What came in one go waits in lists that searches would read from end to end, so that the planner avoids the index.
    PERFORM gin_clean_pending_list(to_regclass('omop_emb.term_lexemes'));
    ANALYZE omop_emb.concept, omop_emb.term;
    -- Not TRUNCATE, which searches would wait for.
    DELETE FROM omop_emb.concept_group;
    INSERT INTO omop_emb.concept_group
    SELECT m.domain_id, m.vocabulary_id, m.concept_class_id, m.standard_concept, m.is_valid, count(*)
    FROM omop_emb.concept m
    GROUP BY 1, 2, 3, 4, 5;
    SELECT count(*) INTO all_terms FROM omop_emb.term;
    DELETE FROM omop_emb.word;
    INSERT INTO omop_emb.word (word, terms, weight)
    SELECT s.word, s.ndoc, ln(1 + all_terms / (1 + s.ndoc)) FROM ts_stat('SELECT lexemes FROM omop_emb.term') s;
    INSERT INTO omop_emb.word_statistics (mean_weight, unknown_weight)
    SELECT coalesce(sum(w.terms * w.weight) / sum(w.terms), 1), ln(1 + all_terms) FROM omop_emb.word w
    ON CONFLICT (only_row) DO UPDATE SET mean_weight = excluded.mean_weight, unknown_weight = excluded.unknown_weight;
    PERFORM gin_clean_pending_list(to_regclass('omop_emb.word_trigrams'));
    ANALYZE omop_emb.concept_group, omop_emb.word;
END
$$;

COMMENT ON FUNCTION omop_emb.refresh_statistics() IS
    'Count what searches plan and weigh words by: concepts per filter value, and terms per word, whose weight is the'
    ' inverse document frequency ln(1 + terms / (1 + terms with the word))';
