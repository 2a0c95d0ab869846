CREATE OR REPLACE FUNCTION omop_emb.concept_embeddings(config text, concept_ids int[])
    RETURNS TABLE (concept_id int, embedding real[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT t.concept_id, e.embedding::real[]
        FROM unnest($2) i
        CROSS JOIN LATERAL omop_emb.document_term($1, i) t
        JOIN omop_emb.%I e ON e.text_hash = t.text_hash AND e.live
        $sql$, omop_emb.embedding_table(c)) USING c, concept_ids;
END
$$;

COMMENT ON FUNCTION omop_emb.concept_embeddings(text, int[]) IS
    'The stored vectors of the document texts of concepts; none for a concept that has none';
