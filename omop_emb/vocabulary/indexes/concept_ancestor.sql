CREATE INDEX idx_concept_ancestor_id_1 ON concept_ancestor (ancestor_concept_id);
CREATE INDEX idx_concept_ancestor_id_2 ON concept_ancestor (descendant_concept_id);
