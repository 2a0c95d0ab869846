CREATE INDEX idx_concept_code ON concept (concept_code);
