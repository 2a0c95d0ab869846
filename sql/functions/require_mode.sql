CREATE OR REPLACE FUNCTION omop_emb.require_mode(mode text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mode IS NULL OR mode NOT IN ('semantic', 'hybrid') THEN
        RAISE EXCEPTION 'there is no search mode %', coalesce(quote_literal(mode), 'NULL')
            USING ERRCODE = 'OE005', HINT = 'The mode is ''hybrid'' or ''semantic''.';
    END IF;
END
$$;

COMMENT ON FUNCTION omop_emb.require_mode(text) IS 'Raise OE005 unless searches know the mode';
