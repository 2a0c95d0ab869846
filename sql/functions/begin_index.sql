CREATE OR REPLACE FUNCTION omop_emb.begin_index(config text, OUT removed bigint, OUT reused bigint, OUT pending bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
BEGIN
    SELECT r.removed, r.reused INTO removed, reused FROM omop_emb.reconcile(NULL, may_drop_index => true) r WHERE r.config_id = c.config_id;
    SELECT count(DISTINCT p.text_hash) INTO pending FROM omop_emb.pending_text(c, NULL) p;
END
$$;

COMMENT ON FUNCTION omop_emb.begin_index(text) IS
    'First of three steps to index from a client in short transactions: find what there is to embed';
