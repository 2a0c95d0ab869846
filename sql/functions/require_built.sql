CREATE OR REPLACE FUNCTION omop_emb.require_built(c omop_emb.config) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pending bigint;
    vectors boolean := omop_emb.has_vectors(c.name);
BEGIN
    SELECT count(DISTINCT p.text_hash) INTO pending FROM omop_emb.pending_text(c, NULL) p;
    IF pending > 0 OR NOT vectors THEN
        RAISE EXCEPTION USING ERRCODE = 'OE005',
            MESSAGE = format('configuration %L is not built: %s', c.name,
                CASE WHEN vectors THEN format('%s texts have no vector yet', pending) ELSE 'it holds no vectors' END),
            HINT = format('Run omop-emb-admin index --config %s, or SELECT * FROM omop_emb_index(config => %L).',
                c.name, c.name);
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.require_built(omop_emb.config) IS
    'Raise OE005 unless every text of the configuration has a vector, failed ones that wait for their next attempt aside';
