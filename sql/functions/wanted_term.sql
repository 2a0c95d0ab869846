CREATE OR REPLACE FUNCTION omop_emb.wanted_term(c omop_emb.config)
    RETURNS TABLE (text_hash bytea, concept_id int, kind text, text text, domain_id text, vocabulary_id text)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT t.text_hash, t.concept_id, t.kind, t.text, m.domain_id, m.vocabulary_id
    FROM omop_emb.term t
    JOIN omop_emb.concept m ON m.concept_id = t.concept_id
    WHERE omop_emb.in_scope(c, m) AND omop_emb.indexes_kind(c, t.kind) AND t.config_id IN (0, c.config_id);
END;

COMMENT ON FUNCTION omop_emb.wanted_term(omop_emb.config) IS
    'The terms that the configuration indexes, by the mirror of the vocabulary, with what their vectors are filed under';
