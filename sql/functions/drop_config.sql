CREATE OR REPLACE FUNCTION omop_emb.drop_config(name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c omop_emb.config;
    others text;
BEGIN
    PERFORM omop_emb.lock_activation();
    SELECT f.* INTO c FROM omop_emb.config f WHERE f.name = drop_config.name FOR UPDATE;
    IF c.name IS NULL THEN
        c := omop_emb.config_for(coalesce(drop_config.name, ''));
    END IF;
    SELECT string_agg(quote_literal(f.name), ' or ' ORDER BY f.name) INTO others
    FROM omop_emb.config f
    WHERE f.config_id <> c.config_id;
    IF c.is_active AND others IS NOT NULL THEN
        RAISE EXCEPTION 'configuration % is the one that search uses', quote_literal(c.name)
            USING ERRCODE = 'OE005', HINT = format('Activate another first: %s.', others);
    END IF;
    DELETE FROM omop_emb.config f WHERE f.config_id = c.config_id;
    RETURN c.is_active;
END
$$;

COMMENT ON FUNCTION omop_emb.drop_config(text) IS
    'Remove a configuration with its vectors, unless it is active and another could be; returns whether it was active';
