CREATE OR REPLACE FUNCTION omop_emb.concepts_without_embedding(
    config text, concept_ids int[], domains text[], vocabularies text[], standard_only boolean, valid_only boolean,
    max_concepts int) RETURNS TABLE (concept_id int, concept_name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    PERFORM omop_emb.require_vocabulary_table('concept');
    -- Compared with the vocabulary itself, since the mirror may not have caught up with it.
    RETURN QUERY EXECUTE format($sql$
        SELECT v.concept_id, v.concept_name
        FROM omop_emb.vocabulary_concept($2) v
        WHERE omop_emb.in_scope($1, v) AND v.concept_name ~ '\S'
            AND ($3 IS NULL OR v.domain_id = ANY ($3))
            AND ($4 IS NULL OR v.vocabulary_id = ANY ($4))
            AND ($5 IS NOT TRUE OR v.standard_concept = 'S')
            AND ($6 IS NOT TRUE OR v.is_valid)
            AND NOT EXISTS (
                SELECT
                FROM omop_emb.document_term($1, v.concept_id) t
                JOIN omop_emb.%I e ON e.text_hash = t.text_hash AND e.live
                WHERE t.kind = 'supplied' OR t.text = v.concept_name)
        ORDER BY v.concept_id
        LIMIT $7
        $sql$, omop_emb.embedding_table(c))
        USING c, concept_ids, domains, vocabularies, standard_only, valid_only, max_concepts;
END
$$;

COMMENT ON FUNCTION omop_emb.concepts_without_embedding(text, int[], text[], text[], boolean, boolean, int) IS
    'Concepts in the scope of the configuration whose document text has no vector';
