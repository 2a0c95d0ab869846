CREATE OR REPLACE FUNCTION omop_emb.create_storage(c omop_emb.config) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    made_under int;
BEGIN
    INSERT INTO omop_emb.provenance
        (config_id, model, dimensions, document_prefix, document_params, distance, storage)
    VALUES (c.config_id, c.model, c.dimensions, c.document_prefix, c.document_params, c.distance, c.storage)
    RETURNING provenance_id INTO made_under;
    -- The constraint keeps vectors of other settings out, whoever writes them.
    EXECUTE format($sql$
        CREATE TABLE omop_emb.%1$I (
            text_hash bytea PRIMARY KEY,
            live boolean NOT NULL DEFAULT true,
            embedded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            embedding {{ vector }}.%2$I(%3$s) NOT NULL,
            provenance_id int NOT NULL DEFAULT %4$s CHECK (provenance_id = %4$s),
            domains text[] NOT NULL DEFAULT '{}',
            vocabularies text[] NOT NULL DEFAULT '{}'
        )$sql$, omop_emb.embedding_table(c), c.storage, c.dimensions, made_under);
    EXECUTE format('COMMENT ON TABLE omop_emb.%I IS %L', omop_emb.embedding_table(c),
        format('Document vectors of configuration %s; those that are not live belong to texts no longer in use', c.name));
    PERFORM omop_emb.create_search_functions(c);
    PERFORM omop_emb.enqueue('{(,)}');
END
$$;

COMMENT ON FUNCTION omop_emb.create_storage(omop_emb.config) IS
    'Make the table and the search functions of a new configuration; its HNSW index is built when it is first filled';
