CREATE OR REPLACE FUNCTION omop_emb.record_activation(config_id int) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- A statement that set several rows active: the first of them takes it from the others.
    IF NOT EXISTS (SELECT FROM omop_emb.config f WHERE f.config_id = record_activation.config_id AND f.is_active) THEN
        RETURN;
    END IF;
    UPDATE omop_emb.config f SET is_active = false WHERE f.is_active AND f.config_id <> record_activation.config_id;
    INSERT INTO omop_emb.activation (config_id)
    SELECT record_activation.config_id
    WHERE record_activation.config_id IS DISTINCT FROM (
        SELECT a.config_id FROM omop_emb.activation a WHERE a.rolled_back_at IS NULL ORDER BY a.activation_id DESC LIMIT 1);
END
$$;

COMMENT ON FUNCTION omop_emb.record_activation(int) IS
    'If the configuration is active now, make it the only active one and remember that for rollback';
