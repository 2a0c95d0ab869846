CREATE INDEX idx_concept_synonym_id ON concept_synonym (concept_id);
