CREATE OR REPLACE VIEW omop_emb.status AS
SELECT s.name, s.is_active, s.concepts_in_scope, s.indexed, s.pending, s.stale, s.failed, s.oldest_pending,
    s.index_valid, s.triggers_installed, s.last_error,
    s.matching_vectors, s.stale_vectors, s.orphaned_vectors
FROM omop_emb.config_status() s;

COMMENT ON VIEW omop_emb.status IS
    'One row per configuration, in concepts: in scope, fully indexed, with a text still to embed, with something in the'
    ' index that the vocabulary no longer says, with a failed text; and in vectors:'
    ' made under the present settings and in use, made under others, no longer belonging to any text';
