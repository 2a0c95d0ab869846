CREATE OR REPLACE FUNCTION omop_emb.require_settings(config text, settings jsonb, OUT name text, OUT dimensions int,
    OUT distance text, OUT storage text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
    differences text;
BEGIN
    -- Whoever may call this must not learn more of the configuration than a client has to know.
    IF jsonb_typeof(settings) IS DISTINCT FROM 'object' OR settings = '{}' OR EXISTS (
        SELECT FROM jsonb_object_keys(settings) k
        WHERE k NOT IN ('model', 'document_prefix', 'query_prefix', 'document_params', 'query_params')) THEN
        RAISE EXCEPTION 'the settings of a client are model, document_prefix, query_prefix, document_params, query_params'
            USING ERRCODE = 'OE005', HINT = 'Pass a JSON object with one or more of them.';
    END IF;
    SELECT string_agg(format('%s is %s, the configuration has %s', theirs.key, theirs.value, ours.value), '; '
            ORDER BY theirs.key)
    INTO differences
    FROM jsonb_each(settings) theirs
    LEFT JOIN jsonb_each(to_jsonb(c)) ours ON ours.key = theirs.key
    WHERE ours.value IS DISTINCT FROM theirs.value;
    IF differences IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'OE001',
            MESSAGE = format('the client does not fit configuration %L: its %s', c.name, differences),
            HINT = 'Vectors of different settings cannot be compared. Give the client the settings of the configuration,'
                ' or name a configuration that has the client''s.';
    END IF;
    name := c.name;
    dimensions := c.dimensions;
    distance := c.distance;
    storage := c.storage;
END
$$;

COMMENT ON FUNCTION omop_emb.require_settings(text, jsonb) IS
    'Raise OE001, with the values of both sides, unless a client''s settings are those of the configuration; returns'
    ' what its vectors must be like';
