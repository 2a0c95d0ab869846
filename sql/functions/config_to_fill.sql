CREATE OR REPLACE FUNCTION omop_emb.config_to_fill(config text) RETURNS omop_emb.config
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    PERFORM FROM omop_emb.config f WHERE f.config_id = c.config_id FOR KEY SHARE;
    -- What it was when another session deleted it or discarded its vectors may be no more.
    RETURN omop_emb.config_for(c.name);
END
$$;

COMMENT ON FUNCTION omop_emb.config_to_fill(text) IS
    'The same as config_for, for a transaction that writes vectors: nobody can delete the configuration until it ends';
