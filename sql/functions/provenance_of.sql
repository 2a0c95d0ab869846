CREATE OR REPLACE FUNCTION omop_emb.provenance_of(config text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    RETURN to_jsonb(p) - '{config_id,provenance_id,created_at}'::text[]
        FROM omop_emb.provenance p
        WHERE p.config_id = c.config_id;
END
$$;

COMMENT ON FUNCTION omop_emb.provenance_of(text) IS 'The settings that the stored vectors of a configuration were made under';
