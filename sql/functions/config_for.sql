CREATE OR REPLACE FUNCTION omop_emb.config_for(config text) RETURNS omop_emb.config
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen record;
    known text;
BEGIN
    SELECT f AS config, p AS provenance, omop_emb.fits(f, p) AS fits
    INTO chosen
    FROM omop_emb.config f
    LEFT JOIN omop_emb.provenance p ON p.config_id = f.config_id
    WHERE CASE WHEN config_for.config IS NULL THEN f.is_active ELSE f.name = config_for.config END;
    IF NOT FOUND THEN
        SELECT string_agg(quote_literal(f.name), ', ' ORDER BY f.name) INTO known FROM omop_emb.config f;
        RAISE EXCEPTION USING ERRCODE = 'OE002',
            MESSAGE = CASE
                WHEN known IS NULL THEN 'there is no embedding configuration'
                WHEN config_for.config IS NULL THEN 'no embedding configuration is active'
                ELSE format('there is no embedding configuration %L', config_for.config) END,
            HINT = CASE
                WHEN known IS NULL THEN 'Add one with omop-emb-admin configure, or INSERT INTO omop_emb.config.'
                WHEN config_for.config IS NULL
                    THEN format('Set is_active in omop_emb.config for one of: %s.', known)
                ELSE format('There are: %s.', known) END;
    END IF;
    IF NOT chosen.fits THEN
        PERFORM omop_emb.refuse_settings(chosen.config, chosen.provenance);
    END IF;
    RETURN chosen.config;
END
$$;

COMMENT ON FUNCTION omop_emb.config_for(text) IS
    'The configuration of that name, else the active one; OE002 when there is none, OE001 when its vectors were made otherwise';
