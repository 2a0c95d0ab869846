CREATE OR REPLACE FUNCTION public.omop_emb_map(
    queries text[], k int DEFAULT 1, domains text[] DEFAULT NULL, vocabularies text[] DEFAULT NULL,
    concept_classes text[] DEFAULT NULL, standard_only boolean DEFAULT false, include_invalid boolean DEFAULT false,
    ancestor_concept_id int DEFAULT NULL, mode text DEFAULT 'hybrid', config text DEFAULT NULL)
    RETURNS TABLE (query_no int, query text, rank int, concept_id int, concept_name text, domain_id text,
        vocabulary_id text, concept_class_id text, concept_code text, standard_concept text,
        similarity double precision, matched_text text, matched_kind text, semantic_rank int, lexical_rank int,
        standard_concept_id int, standard_concept_name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
COST 10000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- Before the model is called.
    PERFORM omop_emb.require_vocabulary_table('concept');
    PERFORM omop_emb.require_vocabulary_table('concept_relationship');
    RETURN QUERY
        WITH found AS MATERIALIZED (
            SELECT b.*
            FROM public.omop_emb_search_batch(
                queries => omop_emb_map.queries, k => omop_emb_map.k, domains => omop_emb_map.domains,
                vocabularies => omop_emb_map.vocabularies, concept_classes => omop_emb_map.concept_classes,
                standard_only => omop_emb_map.standard_only, include_invalid => omop_emb_map.include_invalid,
                ancestor_concept_id => omop_emb_map.ancestor_concept_id, mode => omop_emb_map.mode,
                config => omop_emb_map.config) b
        )
        SELECT q.query_no::int, q.query, f.rank, f.concept_id, f.concept_name, f.domain_id, f.vocabulary_id,
            f.concept_class_id, f.concept_code, f.standard_concept, f.similarity, f.matched_text, f.matched_kind,
            f.semantic_rank, f.lexical_rank, t.standard_concept_id, t.concept_name
        FROM unnest(omop_emb_map.queries) WITH ORDINALITY q (query, query_no)
        LEFT JOIN found f ON f.query_no = q.query_no
        LEFT JOIN omop_emb.standard_targets(ARRAY(SELECT DISTINCT d.concept_id FROM found d)) t
            ON t.concept_id = f.concept_id
        ORDER BY q.query_no, f.rank, t.standard_concept_id;
END
$$;

COMMENT ON FUNCTION public.omop_emb_map(text[], int, text[], text[], text[], boolean, boolean, int, text, text) IS
    'The concepts found for many texts and, by valid ''Maps to'' links, the standard concepts that these map to';
