CREATE OR REPLACE FUNCTION omop_emb.require_built(config text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
    state record;
    problem text;
BEGIN
    SELECT * INTO state FROM omop_emb.config_status(c.name);
    problem := CASE
        WHEN state.matching_vectors = 0 THEN 'it holds no vectors'
        WHEN state.pending > state.failed
            THEN format('%s of %s concepts have a text without a vector', state.pending, state.concepts_in_scope)
        WHEN NOT state.index_valid THEN 'it has no HNSW index' END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'OE005', MESSAGE = format('configuration %L is not built: %s', c.name, problem),
            HINT = format('Run omop-emb-admin index --config %s, or SELECT * FROM omop_emb_index(config => %L).',
                c.name, c.name);
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.require_built(text) IS
    'Raise OE005 unless the configuration has its index and a vector for every text of the vocabulary as it is now, apart'
    ' from texts that the endpoint rejected';
