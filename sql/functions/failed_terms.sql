CREATE OR REPLACE FUNCTION omop_emb.failed_terms()
    RETURNS TABLE (config text, concept_id int, text text, attempts int, failed_at timestamptz,
        next_attempt timestamptz, error text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT DISTINCT c.name, w.concept_id, w.text, f.attempts, f.failed_at, f.next_attempt, f.error
        FROM omop_emb.failure f
        JOIN omop_emb.config c ON c.config_id = f.config_id
        CROSS JOIN LATERAL omop_emb.wanted_term(c) w
        WHERE w.text_hash = f.text_hash;
END
$$;

COMMENT ON FUNCTION omop_emb.failed_terms() IS
    'The rows of the view omop_emb.failures: of each configuration, the terms it indexes whose text was rejected';
