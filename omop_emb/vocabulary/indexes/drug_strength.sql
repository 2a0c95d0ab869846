CREATE INDEX idx_drug_strength_id_1 ON drug_strength (drug_concept_id);
