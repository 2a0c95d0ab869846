CREATE OR REPLACE FUNCTION omop_emb.refuse_settings(c omop_emb.config, p omop_emb.provenance) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    vectors bigint;
    differences text;
BEGIN
    EXECUTE format('SELECT count(*) FROM omop_emb.%I', omop_emb.embedding_table(c)) INTO vectors;
    SELECT string_agg(format('%s is %s, the vectors were made with %s', now.key, now.value, made.value), '; '
            ORDER BY now.key)
    INTO differences
    FROM jsonb_each(to_jsonb(c)) now
    JOIN jsonb_each(to_jsonb(p)) made ON made.key = now.key AND made.value IS DISTINCT FROM now.value;
    RAISE EXCEPTION USING ERRCODE = 'OE001',
        MESSAGE = format('configuration %L holds %s vectors that were made under other document settings: %s',
            c.name, vectors, differences),
        HINT = format('Add a second configuration with the new settings, index it beside this one and activate it:'
            ' INSERT INTO omop_emb.config, then SELECT * FROM omop_emb_index(config => ''...''), then'
            ' SELECT omop_emb.activate(''...''). Or re-index in place:'
            ' SELECT omop_emb.discard(%L), change the settings, then SELECT * FROM omop_emb_index(config => %L).',
            c.name, c.name);
END
$$;

COMMENT ON FUNCTION omop_emb.refuse_settings(omop_emb.config, omop_emb.provenance) IS
    'Raise OE001 with the settings that differ from those the stored vectors were made under';
