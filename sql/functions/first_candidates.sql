CREATE OR REPLACE FUNCTION omop_emb.first_candidates(k bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- What ANALYZE counted last; twice the synonyms of an average concept, since they come in clusters.
    RETURN CASE WHEN m.reltuples > 0 THEN ceil(k * greatest(1, 2 * t.reltuples / m.reltuples - 1)) ELSE 2 * k END
        FROM pg_class t, pg_class m
        WHERE t.oid = 'omop_emb.term'::regclass AND m.oid = 'omop_emb.concept'::regclass;
END
$$;

COMMENT ON FUNCTION omop_emb.first_candidates(bigint) IS
    'How many of the nearest terms are probably enough for k concepts, by the number of terms that concepts have';
