CREATE OR REPLACE FUNCTION omop_emb.worker_settings(config text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    RETURN to_jsonb(c) || jsonb_build_object('provenance_id',
        (SELECT p.provenance_id FROM omop_emb.provenance p WHERE p.config_id = c.config_id));
END
$$;

COMMENT ON FUNCTION omop_emb.worker_settings(text) IS
    'The settings of a configuration and the provenance that its vectors have now, for who embeds outside the database';
