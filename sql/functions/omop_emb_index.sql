CREATE OR REPLACE FUNCTION public.omop_emb_index(
    concept_ids int[] DEFAULT NULL, max_concepts int DEFAULT NULL, config text DEFAULT NULL)
    RETURNS TABLE (embedded bigint, reused bigint, removed bigint, failed bigint, remaining bigint)
LANGUAGE plpgsql SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    c omop_emb.config := omop_emb.config_to_fill(config);
    kept record;
    done record;
BEGIN
    IF max_concepts < 1 THEN
        RAISE EXCEPTION 'max_concepts is %, it must be at least 1', max_concepts
            USING ERRCODE = 'OE005', HINT = 'max_concepts bounds the concepts that one call embeds; NULL is no bound.';
    END IF;
    SELECT r.removed, r.reused INTO kept FROM omop_emb.reconcile(concept_ids) r WHERE r.config_id = c.config_id;
    SELECT * INTO done FROM omop_emb.embed_pending(c, concept_ids, max_concepts);
    PERFORM omop_emb.count_for_searches(c.name);
    PERFORM omop_emb.finish_index(c.name);
    RETURN QUERY SELECT done.embedded, kept.reused + done.reused, kept.removed, done.failed, done.remaining;
END
$$;

COMMENT ON FUNCTION public.omop_emb_index(int[], int, text) IS
    'Bring the index up to date with the vocabulary, all of it or the given concepts; texts are embedded in the DOCUMENT role.'
    ' embedded: texts the model was asked for; reused: terms that needed no model call; removed: vectors no term uses any'
    ' more; failed: texts the endpoint rejected; remaining: of those asked for, the texts still without a vector';
