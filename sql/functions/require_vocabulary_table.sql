CREATE OR REPLACE FUNCTION omop_emb.require_vocabulary_table(name text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CASE omop_emb.can_read(name)
        WHEN true THEN
            RETURN;
        WHEN false THEN
            RAISE EXCEPTION '% may not read the vocabulary table %.%', current_user, {{ cdm_name }}, name
                USING ERRCODE = 'OE005', HINT = 'It must be a plain table of built-in types without row security. If it was created again, run'
                    ' omop-emb-admin migrate.';
        ELSE
            RAISE EXCEPTION 'the vocabulary table %.% does not exist', {{ cdm_name }}, name
                USING ERRCODE = 'OE005',
                    HINT = 'Restore it, or run omop-emb-admin migrate --cdm-schema with the schema that holds it now.';
    END CASE;
END
$$;

COMMENT ON FUNCTION omop_emb.require_vocabulary_table(text) IS
    'Raise OE005 unless the table of the vocabulary is there and readable';
