CREATE OR REPLACE FUNCTION omop_emb.evaluation_pool(
    config text, wanted_ids int[], other_concepts int, seed bigint, domains text[], vocabularies text[],
    standard_only boolean)
    RETURNS TABLE (concept_id int, concept_name text, vocabulary_id text, kind text, text text, embedding real[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
BEGIN
    RETURN QUERY EXECUTE format($sql$
        WITH indexed AS MATERIALIZED (
            SELECT m.concept_id, m.concept_name, m.vocabulary_id, m.concept_id = ANY ($2) AS wanted
            FROM omop_emb.concept m
            WHERE omop_emb.in_scope($1, m) AND m.is_valid
                AND ($5 IS NULL OR m.domain_id = ANY ($5))
                AND ($6 IS NULL OR m.vocabulary_id = ANY ($6))
                AND ($7 IS NOT TRUE OR m.standard_concept = 'S')
                AND EXISTS (
                    SELECT
                    FROM omop_emb.term t
                    JOIN omop_emb.%1$I e ON e.text_hash = t.text_hash AND e.live
                    WHERE t.concept_id = m.concept_id AND ($1.synonyms OR t.kind <> 'synonym'))
        ), chosen AS (
            SELECT i.* FROM indexed i WHERE i.wanted
            UNION ALL (
                SELECT i.* FROM indexed i WHERE NOT i.wanted
                ORDER BY hashint4extended(i.concept_id, $4), i.concept_id
                LIMIT $3)
        )
        SELECT o.concept_id, o.concept_name, o.vocabulary_id, t.kind, t.text, e.embedding::real[]
        FROM chosen o
        JOIN omop_emb.term t ON t.concept_id = o.concept_id AND ($1.synonyms OR t.kind <> 'synonym')
        JOIN omop_emb.%1$I e ON e.text_hash = t.text_hash AND e.live
        ORDER BY o.concept_id, t.kind, t.text
        $sql$, omop_emb.embedding_table(c))
        USING c, wanted_ids, other_concepts, seed, domains, vocabularies, standard_only;
END
$$;

COMMENT ON FUNCTION omop_emb.evaluation_pool(text, int[], int, bigint, text[], text[], boolean) IS
    'The indexed texts and stored vectors of the wanted concepts and of a reproducible random sample of others';
