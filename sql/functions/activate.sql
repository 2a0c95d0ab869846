CREATE OR REPLACE FUNCTION omop_emb.activate(name text, incomplete boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c omop_emb.config := omop_emb.config_for(coalesce(activate.name, ''));
    formerly text;
BEGIN
    -- Before the lock, since it takes a while.
    IF NOT coalesce(incomplete, false) THEN
        PERFORM omop_emb.require_built(c.name);
    END IF;
    PERFORM omop_emb.lock_activation();
    c := omop_emb.config_to_fill(c.name);
    SELECT f.name INTO formerly FROM omop_emb.config f WHERE f.is_active;
    UPDATE omop_emb.config f SET is_active = true WHERE f.config_id = c.config_id AND NOT f.is_active;
    RETURN formerly;
END
$$;

COMMENT ON FUNCTION omop_emb.activate(text, boolean) IS
    'Make a completely built configuration (or, if so asked, an incomplete one) the one that search uses; returns the'
    ' name of the one before';
