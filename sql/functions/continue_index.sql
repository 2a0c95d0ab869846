CREATE OR REPLACE FUNCTION omop_emb.continue_index(
    config text, max_concepts int, OUT embedded bigint, OUT reused bigint, OUT failed bigint, OUT remaining bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT e.embedded, e.reused, e.failed, e.remaining
    INTO embedded, reused, failed, remaining
    FROM omop_emb.embed_pending(omop_emb.config_to_fill(config), NULL, max_concepts) e;
END
$$;

COMMENT ON FUNCTION omop_emb.continue_index(text, int) IS 'Second step, repeated until nothing remains: embed some concepts';
