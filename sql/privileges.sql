DO $do$
DECLARE
    object record;
    site_table text;
BEGIN
    -- Nothing here ever runs as a superuser: the functions run as a role that owns the package's tables and functions
    -- and nothing else. What migrate itself reads and writes as a superuser stays out of that role's reach.
    FOR object IN
        SELECT format('%I.%I', n.nspname, c.relname) AS name, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind,
            c.relname IN ('installation', 'alembic_version') AS is_of_migrate,
            pg_get_userbyid(c.relowner) <> 'omop_emb_owner' AS is_foreign
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'omop_emb' AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, omop_emb_reader, omop_emb_admin', object.name);
        -- Not when nothing changes: it would lock out, and perhaps be locked out by, whoever searches or indexes.
        IF object.is_foreign AND NOT object.is_of_migrate THEN
            EXECUTE format('ALTER %s %s OWNER TO omop_emb_owner', object.kind, object.name);
        END IF;
    END LOOP;
    FOR object IN
        SELECT format('%I.%I', n.nspname, t.typname) AS name
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_class c ON c.oid = t.typrelid
        WHERE n.nspname = 'omop_emb' AND c.relkind = 'c'
    LOOP
        EXECUTE format('ALTER TYPE %s OWNER TO omop_emb_owner', object.name);
    END LOOP;
    FOR object IN
        SELECT p.oid::regprocedure AS name
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'omop_emb' OR (n.nspname = 'public' AND p.proname IN ({{ public_functions }}))
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO omop_emb_owner', object.name);
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC, omop_emb_reader, omop_emb_admin', object.name);
    END LOOP;

    -- What the functions read of the site.
    FOREACH site_table IN ARRAY ARRAY['concept', 'concept_synonym', 'concept_relationship', 'concept_ancestor'] LOOP
        IF omop_emb.can_read(site_table) IS NOT NULL THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO omop_emb_owner', {{ cdm_name }}, site_table);
        END IF;
    END LOOP;
END
$do$;

DO $do$
BEGIN
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO omop_emb_owner', current_database());
END
$do$;
GRANT USAGE ON SCHEMA {{ cdm }}, {{ vector }}, {{ trigram }} TO omop_emb_owner;
REVOKE ALL ON SCHEMA omop_emb FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA omop_emb TO omop_emb_owner;
GRANT USAGE ON SCHEMA omop_emb TO omop_emb_reader, omop_emb_admin;
GRANT SELECT ON omop_emb.status, omop_emb.failures TO omop_emb_reader, omop_emb_admin;
GRANT EXECUTE ON FUNCTION
    public.omop_emb_search(text, int, text[], text[], text[], boolean, boolean, int, text, text),
    public.omop_emb_search_batch(text[], int, text[], text[], text[], boolean, boolean, int, text, text),
    public.omop_emb_map(text[], int, text[], text[], text[], boolean, boolean, int, text, text),
    public.omop_emb_similar(int, int, text[], text[], text[], boolean, boolean, int, text),
    public.omop_emb_embed_query(text),
    public.omop_emb_version(),
    omop_emb.config_status(text),
    omop_emb.failed_terms(),
    omop_emb.standard_targets(int[]),
    omop_emb.nearest_concepts(real[], int, text[], text[], text[], boolean, boolean, int[], boolean, text, text),
    omop_emb.concept_embeddings(text, int[]),
    omop_emb.concepts_without_embedding(text, int[], text[], text[], boolean, boolean, int),
    omop_emb.require_settings(text, jsonb),
    omop_emb.has_model(text, text),
    omop_emb.has_vectors(text)
    TO omop_emb_reader, omop_emb_admin;

GRANT SELECT, INSERT, UPDATE, DELETE ON omop_emb.config TO omop_emb_admin;
GRANT SELECT ON omop_emb.queue, omop_emb.job, omop_emb.installation, omop_emb.alembic_version TO omop_emb_admin;
GRANT EXECUTE ON FUNCTION
    public.omop_emb_index(int[], int, text),
    public.omop_emb_embed_document(text),
    omop_emb.discard(text),
    omop_emb.begin_index(text),
    omop_emb.catch_up(boolean),
    omop_emb.worker_settings(text),
    omop_emb.session_worker(),
    omop_emb.lease_for_session(text),
    omop_emb.retry_failed(text),
    omop_emb.texts_without_vector(text),
    omop_emb.jobs_left(text),
    omop_emb.lease_jobs(text, text, int, double precision),
    omop_emb.renew_lease(text, double precision),
    omop_emb.release_jobs(text, bigint[]),
    omop_emb.open_staging(),
    omop_emb.merge_staged(text, text, bigint[], bigint),
    omop_emb.embed_jobs(text, text, bigint[]),
    omop_emb.count_for_searches(text),
    omop_emb.finish_index(text),
    omop_emb.hnsw_to_build(text),
    omop_emb.may_build_in_parallel(),
    omop_emb.adopt_built(text),
    omop_emb.activate(text, boolean),
    omop_emb.rollback(),
    omop_emb.drop_config(text),
    omop_emb.require_built(text),
    omop_emb.require_indexed(text, int[]),
    omop_emb.store_documents(text, int[], text[], text[]),
    omop_emb.embed_texts(text, text, text[]),
    omop_emb.evaluation_pool(text, int[], int, bigint, text[], text[], boolean),
    omop_emb.provenance_of(text),
    omop_emb.stored_sample(text, int),
    omop_emb.export_vectors(text, bytea, int),
    omop_emb.prepare_import(text),
    omop_emb.import_vectors(text, jsonb, bytea[], timestamptz[], text[])
    TO omop_emb_admin;
GRANT EXECUTE ON PROCEDURE public.omop_emb_index_pending(text, bigint, bigint, bigint) TO omop_emb_admin;
