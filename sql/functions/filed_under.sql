CREATE OR REPLACE FUNCTION omop_emb.filed_under(c omop_emb.config, text_hashes bytea[])
    RETURNS TABLE (text_hash bytea, domains text[], vocabularies text[], terms bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    by_domain boolean := 'domain_id' = ANY (c.partial_indexes);
    by_vocabulary boolean := 'vocabulary_id' = ANY (c.partial_indexes);
BEGIN
    RETURN QUERY
        SELECT w.text_hash,
            coalesce(array_agg(DISTINCT m.domain_id) FILTER (WHERE m.domain_id IS NOT NULL AND by_domain), '{}'),
            coalesce(array_agg(DISTINCT m.vocabulary_id) FILTER (WHERE m.vocabulary_id IS NOT NULL AND by_vocabulary), '{}'),
            count(*)
        FROM omop_emb.wanted_term(c) w
        JOIN omop_emb.concept m ON m.concept_id = w.concept_id
        WHERE filed_under.text_hashes IS NULL OR w.text_hash = ANY (filed_under.text_hashes)
        GROUP BY w.text_hash;
END
$$;

COMMENT ON FUNCTION omop_emb.filed_under(omop_emb.config, bytea[]) IS
    'The domains and vocabularies of the concepts that use each text, as far as there may be partial indexes for them, and'
    ' how many terms use it: of all texts of the configuration or those given';
