CREATE OR REPLACE FUNCTION omop_emb.jobs_left(config text, OUT texts bigint, OUT free_jobs bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT coalesce(sum(cardinality(j.text_hashes)), 0),
        count(*) FILTER (WHERE j.leased_until IS NULL OR j.leased_until < clock_timestamp())
    INTO texts, free_jobs
    FROM omop_emb.job j
    WHERE j.config_id = (omop_emb.config_for(config)).config_id;
END
$$;

COMMENT ON FUNCTION omop_emb.jobs_left(text) IS
    'How many texts of the configuration are queued, and how many jobs nobody has a lease on';
