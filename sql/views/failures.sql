CREATE OR REPLACE VIEW omop_emb.failures AS
SELECT c.name AS config, t.concept_id, t.text, f.attempts, f.failed_at, f.next_attempt, f.error
FROM omop_emb.failure f
JOIN omop_emb.config c ON c.config_id = f.config_id
JOIN omop_emb.term t ON t.text_hash = f.text_hash AND t.config_id IN (0, f.config_id);

COMMENT ON VIEW omop_emb.failures IS 'Texts of concepts that the endpoint rejected, and when they are tried again';
