CREATE OR REPLACE FUNCTION omop_emb.rollback() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    active_id int;
    earlier omop_emb.activation;
    c omop_emb.config;
    pending bigint;
BEGIN
    PERFORM omop_emb.lock_activation();
    -- None when it was deleted or switched off: then the last one that is still there.
    SELECT f.config_id INTO active_id FROM omop_emb.config f WHERE f.is_active;
    SELECT a.* INTO earlier
    FROM omop_emb.activation a
    WHERE a.rolled_back_at IS NULL AND a.config_id IS DISTINCT FROM active_id
    ORDER BY a.activation_id DESC
    LIMIT 1;
    IF earlier.activation_id IS NULL THEN
        RAISE EXCEPTION 'no other configuration was active before that still exists'
            USING ERRCODE = 'OE005', HINT = 'Choose one with omop-emb-admin activate; omop_emb.status lists them.';
    END IF;
    SELECT f.* INTO c FROM omop_emb.config f WHERE f.config_id = earlier.config_id;
    -- OE001 if its vectors no longer fit it.
    c := omop_emb.config_to_fill(c.name);
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
