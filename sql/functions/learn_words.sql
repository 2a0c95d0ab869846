CREATE OR REPLACE FUNCTION omop_emb.learn_words(text_hashes bytea[]) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO omop_emb.word (word, terms, weight)
    SELECT DISTINCT w, 1, coalesce((SELECT s.unknown_weight FROM omop_emb.word_statistics s), 1)
    FROM omop_emb.term t, unnest(tsvector_to_array(t.lexemes)) w
    WHERE t.text_hash = ANY (text_hashes)
    ON CONFLICT (word) DO NOTHING;
END;

COMMENT ON FUNCTION omop_emb.learn_words(bytea[]) IS
    'Add the words of a few new terms, until refresh_statistics counts them';
