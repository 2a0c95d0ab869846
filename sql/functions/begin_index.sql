CREATE OR REPLACE FUNCTION omop_emb.begin_index(config text, OUT removed bigint, OUT reused bigint, OUT pending bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
BEGIN
    SELECT r.removed, r.reused INTO removed, reused
    FROM omop_emb.reconcile(NULL, may_drop_index => true) r
    WHERE r.config_id = c.config_id;
    SELECT l.texts INTO pending FROM omop_emb.jobs_left(c.name) l;
END
$$;

COMMENT ON FUNCTION omop_emb.begin_index(text) IS
    'First step of an index run: bring the mirror in line with the vocabulary, and queue the texts that have no vector';
