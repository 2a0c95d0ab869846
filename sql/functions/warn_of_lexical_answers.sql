CREATE OR REPLACE FUNCTION omop_emb.warn_of_lexical_answers(problem text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE WARNING 'these answers compare letters, not meaning: %', problem
        USING HINT = 'They are marked with matched_kind ''lexical''. Search again when the endpoint is back.';
END
$$;

COMMENT ON FUNCTION omop_emb.warn_of_lexical_answers(text) IS
    'Say that the endpoint could not be asked and that the configuration answers without it meanwhile';
