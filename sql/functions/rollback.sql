CREATE OR REPLACE FUNCTION omop_emb.rollback() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    current_one omop_emb.activation;
    earlier omop_emb.activation;
    c omop_emb.config;
    pending bigint;
BEGIN
    PERFORM omop_emb.lock_activation();
    SELECT a.* INTO current_one
    FROM omop_emb.activation a
    WHERE a.rolled_back_at IS NULL
    ORDER BY a.activation_id DESC
    LIMIT 1;
    SELECT a.* INTO earlier
    FROM omop_emb.activation a
    WHERE a.rolled_back_at IS NULL AND a.activation_id < current_one.activation_id
        AND a.config_id <> current_one.config_id
    ORDER BY a.activation_id DESC
    LIMIT 1;
    IF earlier.activation_id IS NULL THEN
        RAISE EXCEPTION 'no other configuration was active before that still exists'
            USING ERRCODE = 'OE005', HINT = 'Choose one with omop-emb-admin activate; omop_emb.status lists them.';
    END IF;
    SELECT f.* INTO c FROM omop_emb.config f WHERE f.config_id = earlier.config_id;
    -- OE001 if its vectors no longer fit it.
    c := omop_emb.config_for(c.name);
    UPDATE omop_emb.activation a SET rolled_back_at = now()
    WHERE a.activation_id > earlier.activation_id AND a.rolled_back_at IS NULL;
    UPDATE omop_emb.config f SET is_active = true WHERE f.config_id = c.config_id;
    SELECT count(DISTINCT p.text_hash) INTO pending FROM omop_emb.pending_text(c, NULL) p;
    IF pending > 0 THEN
        RAISE WARNING '% texts came while configuration % was not active and have no vector in it', pending,
            quote_literal(c.name)
            USING HINT = format('Run omop-emb-admin index --config %s.', c.name);
    END IF;
    RETURN c.name;
END
$$;

COMMENT ON FUNCTION omop_emb.rollback() IS
    'Make the configuration active that was so before the present one; returns its name';
