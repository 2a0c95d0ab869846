CREATE OR REPLACE VIEW omop_emb.failures AS
SELECT f.config, f.concept_id, f.text, f.attempts, f.failed_at, f.next_attempt, f.error
FROM omop_emb.failed_terms() f;

COMMENT ON VIEW omop_emb.failures IS 'Texts of concepts that the endpoint rejected, and when they are tried again';
