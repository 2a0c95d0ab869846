CREATE OR REPLACE FUNCTION omop_emb.discard(config text) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c omop_emb.config;
    vectors bigint;
BEGIN
    SELECT * INTO c FROM omop_emb.config f WHERE f.name = discard.config FOR UPDATE;
    IF c.name IS NULL THEN
        c := omop_emb.config_for(coalesce(discard.config, ''));
    END IF;
    EXECUTE format('SELECT count(*) FROM omop_emb.%I', omop_emb.embedding_table(c)) INTO vectors;
    PERFORM omop_emb.drop_storage(c);
    PERFORM omop_emb.create_storage(c);
    RETURN vectors;
END
$$;

COMMENT ON FUNCTION omop_emb.discard(text) IS
    'Throw away all vectors of a configuration, so that its document settings can change; returns how many';
