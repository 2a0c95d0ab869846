CREATE OR REPLACE FUNCTION omop_emb.document_term(c omop_emb.config, concept_id int) RETURNS SETOF omop_emb.term
LANGUAGE plpgsql STABLE
ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT t.*
        FROM omop_emb.term t
        JOIN omop_emb.concept m ON m.concept_id = t.concept_id
        WHERE t.concept_id = document_term.concept_id AND t.kind IN ('name', 'supplied') AND omop_emb.in_scope(c, m)
            AND t.config_id IN (0, c.config_id)
        ORDER BY t.kind DESC
        LIMIT 1;
END
$$;

COMMENT ON FUNCTION omop_emb.document_term(omop_emb.config, int) IS
    'The term that stands for a concept where it has only one text: what a client supplied, else its name';
