CREATE OR REPLACE FUNCTION omop_emb.open_staging() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF to_regclass('pg_temp.omop_emb_staging') IS NULL THEN
        CREATE TEMPORARY TABLE omop_emb_staging (text_hash bytea NOT NULL, embedding {{ vector }}.vector, error text)
            ON COMMIT DELETE ROWS;
        GRANT INSERT ON pg_temp.omop_emb_staging TO omop_emb_admin;
    -- A view of somebody else's would run their code as our owner.
    ELSIF NOT EXISTS (
        SELECT FROM pg_class c
        WHERE c.oid = to_regclass('pg_temp.omop_emb_staging') AND c.relkind = 'r' AND c.relowner = current_user::regrole)
    THEN
        RAISE EXCEPTION 'pg_temp.omop_emb_staging is not the table that this package made'
            USING ERRCODE = 'OE005', HINT = 'Drop it: this package uses the name.';
    END IF;
    RETURN omop_emb.may_mirror();
END
$$;

COMMENT ON FUNCTION omop_emb.open_staging() IS
    'Make sure that the session has the table pg_temp.omop_emb_staging, which COPY fills with vectors or errors and'
    ' merge_staged empties; whether it may do so now, which is not while concepts and terms are being reconciled';
