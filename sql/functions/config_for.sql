CREATE OR REPLACE FUNCTION omop_emb.config_for(config text) RETURNS omop_emb.config
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config;
    s omop_emb.storage;
    known text;
BEGIN
    IF config_for.config IS NULL THEN
        SELECT * INTO c FROM omop_emb.config f WHERE f.is_active;
    ELSE
        SELECT * INTO c FROM omop_emb.config f WHERE f.name = config_for.config;
    END IF;
    IF c.name IS NULL THEN
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
    SELECT * INTO s FROM omop_emb.storage r WHERE r.config_id = c.config_id;
    IF (c.model, c.dimensions, c.document_prefix, c.document_params, c.distance, c.storage) IS DISTINCT FROM
        (s.model, s.dimensions, s.document_prefix, s.document_params, s.distance, s.storage) THEN
        PERFORM omop_emb.refuse_settings(c, s);
    END IF;
    RETURN c;
END
$$;

COMMENT ON FUNCTION omop_emb.config_for(text) IS
    'The configuration of that name, else the active one; OE002 when there is none, OE001 when its vectors were made otherwise';
