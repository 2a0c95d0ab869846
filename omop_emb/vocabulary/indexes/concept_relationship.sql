CREATE INDEX idx_concept_relationship_id_1 ON concept_relationship (concept_id_1);
CREATE INDEX idx_concept_relationship_id_2 ON concept_relationship (concept_id_2);
