CREATE OR REPLACE FUNCTION omop_emb.retry_failed(config text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    texts bigint;
BEGIN
    UPDATE omop_emb.failure f SET next_attempt = now()
    WHERE f.config_id = (omop_emb.config_for(config)).config_id AND f.next_attempt > now();
    GET DIAGNOSTICS texts = ROW_COUNT;
    RETURN texts;
END
$$;

COMMENT ON FUNCTION omop_emb.retry_failed(text) IS
    'Let the next index run try all texts again that the endpoint rejected, however long they still had to wait; returns'
    ' how many';
