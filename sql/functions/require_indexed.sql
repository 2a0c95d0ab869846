CREATE OR REPLACE FUNCTION omop_emb.require_indexed(config text, concept_ids int[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config := omop_emb.config_for(config);
    strangers text;
BEGIN
    PERFORM omop_emb.lock_vocabulary();
    SELECT string_agg(coalesce(d.concept_id::text, 'NULL'), ', ' ORDER BY d.concept_id) INTO strangers
    FROM (
        SELECT i AS concept_id
        FROM unnest(concept_ids) i
        EXCEPT
        SELECT v.concept_id FROM omop_emb.vocabulary_concept(concept_ids) v WHERE omop_emb.in_scope(c, v)
        ORDER BY 1
        LIMIT 5
    ) d;
    IF strangers IS NOT NULL THEN
        RAISE EXCEPTION 'concepts that configuration % does not index: %', quote_literal(c.name), strangers
            USING ERRCODE = 'OE005', HINT = 'They are not in the vocabulary, or outside the scope of the configuration.';
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.require_indexed(text, int[]) IS
    'Raise OE005, with the first few, when concepts are not in the vocabulary or not in the scope of the configuration';
