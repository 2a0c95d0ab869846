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
        WITH document AS (
            SELECT DISTINCT ON (w.concept_id) w.concept_id, w.kind, w.text, w.text_hash
            FROM omop_emb.wanted_term($1) w
            WHERE w.kind IN ('name', 'supplied') AND ($2 IS NULL OR w.concept_id = ANY ($2))
            ORDER BY w.concept_id, w.kind DESC
        ), embedded AS (
            SELECT d.concept_id, d.kind, d.text
            FROM document d
            JOIN omop_emb.%I e ON e.text_hash = d.text_hash AND e.live
        )
        SELECT v.concept_id, v.concept_name
        FROM omop_emb.vocabulary_concept($2) v
        LEFT JOIN embedded e ON e.concept_id = v.concept_id AND (e.kind = 'supplied' OR e.text = v.concept_name)
        WHERE e.concept_id IS NULL AND omop_emb.in_scope($1, v) AND v.concept_name ~ E'\\S'
            AND ($3 IS NULL OR v.domain_id = ANY ($3))
            AND ($4 IS NULL OR v.vocabulary_id = ANY ($4))
            AND ($5 IS NOT TRUE OR v.standard_concept = 'S')
            AND ($6 IS NOT TRUE OR v.is_valid)
        ORDER BY v.concept_id
        LIMIT $7
        $sql$, omop_emb.embedding_table(c))
        USING c, concept_ids, domains, vocabularies, standard_only, valid_only, max_concepts;
END
$$;

COMMENT ON FUNCTION omop_emb.concepts_without_embedding(text, int[], text[], text[], boolean, boolean, int) IS
    'Concepts in the scope of the configuration whose document text has no vector';
