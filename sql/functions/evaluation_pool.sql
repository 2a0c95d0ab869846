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
            SELECT w.concept_id, w.kind, w.text, w.text_hash
            FROM omop_emb.wanted_term($1) w
            JOIN omop_emb.%1$I e ON e.text_hash = w.text_hash AND e.live
        ), passing AS (
            SELECT m.concept_id, m.concept_name, m.vocabulary_id, m.concept_id = ANY ($2) AS wanted
            FROM omop_emb.concept m
            WHERE m.is_valid AND m.concept_id IN (SELECT i.concept_id FROM indexed i)
                AND ($5 IS NULL OR m.domain_id = ANY ($5))
                AND ($6 IS NULL OR m.vocabulary_id = ANY ($6))
                AND ($7 IS NOT TRUE OR m.standard_concept = 'S')
        ), chosen AS (
            SELECT p.* FROM passing p WHERE p.wanted
            UNION ALL (
                SELECT p.* FROM passing p WHERE NOT p.wanted
                ORDER BY hashint4extended(p.concept_id, $4), p.concept_id
                LIMIT $3)
        )
        SELECT o.concept_id, o.concept_name, o.vocabulary_id, i.kind, i.text, e.embedding::real[]
        FROM chosen o
        JOIN indexed i ON i.concept_id = o.concept_id
        JOIN omop_emb.%1$I e ON e.text_hash = i.text_hash
        ORDER BY o.concept_id, array_position(ARRAY['name', 'supplied', 'synonym', 'mapped'], i.kind), i.text
        $sql$, omop_emb.embedding_table(c))
        USING c, wanted_ids, other_concepts, seed, domains, vocabularies, standard_only;
END
$$;

COMMENT ON FUNCTION omop_emb.evaluation_pool(text, int[], int, bigint, text[], text[], boolean) IS
    'The indexed texts and stored vectors of the wanted concepts and of a reproducible random sample of others';
