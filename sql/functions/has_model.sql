CREATE OR REPLACE FUNCTION omop_emb.has_model(config text, model text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
RETURN EXISTS (
    SELECT FROM omop_emb.config f
    WHERE f.model = has_model.model
        AND CASE WHEN has_model.config IS NULL THEN f.is_active ELSE f.name = has_model.config END
);

COMMENT ON FUNCTION omop_emb.has_model(text, text) IS
    'Whether the configuration of that name, or else the active one, is there and has that model';
