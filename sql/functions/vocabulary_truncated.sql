-- What was indexed goes on answering until omop_emb_index() has seen what took the place of the truncated rows.
CREATE OR REPLACE FUNCTION omop_emb.vocabulary_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM omop_emb.enqueue('{(,)}');
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION omop_emb.vocabulary_truncated() IS 'Queue all concepts: a vocabulary table was emptied';
