CREATE OR REPLACE FUNCTION omop_emb.warn_if_empty(c omop_emb.config) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT omop_emb.has_vectors(c.name) THEN
        RAISE WARNING 'nothing is indexed in configuration %', quote_literal(c.name)
            USING HINT = format('Run omop-emb-admin index, or SELECT * FROM omop_emb_index(config => %L).', c.name);
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.warn_if_empty(omop_emb.config) IS 'Say so when a configuration has no vectors to search';
