CREATE OR REPLACE FUNCTION omop_emb.config_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text;
    advice text := 'docs/settings.md says what the settings mean.';
    p omop_emb.provenance;
    vectors bigint;
    warning text;
BEGIN
    problem := CASE
        WHEN NEW.name IS NULL OR NEW.name !~ '\S' THEN 'a configuration needs a name'
        WHEN omop_emb.api_base_problem(NEW.api_base) IS NOT NULL
            THEN 'api_base ' || omop_emb.api_base_problem(NEW.api_base)
        WHEN NEW.further_api_bases IS NULL THEN 'further_api_bases is NULL, not a list of base URLs, which may be empty'
        WHEN EXISTS (SELECT FROM unnest(NEW.further_api_bases) b WHERE omop_emb.api_base_problem(b) IS NOT NULL)
            THEN (SELECT 'further_api_bases: one ' || omop_emb.api_base_problem(b) FROM unnest(NEW.further_api_bases) b
                WHERE omop_emb.api_base_problem(b) IS NOT NULL LIMIT 1)
        WHEN NEW.immediate_rows NOT BETWEEN 0 AND 1000
            THEN format('immediate_rows is %s, not 0 (off) to 1000', NEW.immediate_rows)
        WHEN NEW.model IS NULL OR NEW.model !~ '\S' THEN 'model is empty'
        WHEN jsonb_typeof(NEW.document_params) <> 'object' OR jsonb_typeof(NEW.query_params) <> 'object'
            THEN 'document_params and query_params must be JSON objects'
        WHEN NEW.document_params ?| '{model,input}' OR NEW.query_params ?| '{model,input}'
            THEN 'document_params and query_params must not set "model" or "input"'
        WHEN NEW.api_key_name !~ '^([A-Z][A-Z0-9_]*_API_KEY|OMOP_EMB_[A-Z0-9_]+)$'
            THEN 'api_key_name must be the name of an environment variable: ..._API_KEY or OMOP_EMB_..., in capitals'
        WHEN NEW.batch_size NOT BETWEEN 1 AND 2048 THEN format('batch_size is %s, not 1 to 2048', NEW.batch_size)
        WHEN NEW.timeout_ms NOT BETWEEN 1 AND 3600000
            THEN format('timeout_ms is %s, not 1 to 3600000', NEW.timeout_ms)
        WHEN NEW.max_retries NOT BETWEEN 0 AND 100 THEN format('max_retries is %s, not 0 to 100', NEW.max_retries)
        WHEN NEW.distance IS NULL OR NEW.distance NOT IN ('cosine', 'l2', 'l1', 'inner_product')
            THEN format('distance is %s, not cosine, l2, l1 or inner_product', coalesce(quote_literal(NEW.distance), 'NULL'))
        WHEN NEW.storage IS NULL OR NEW.storage NOT IN ('vector', 'halfvec')
            THEN format('storage is %s, not vector or halfvec', coalesce(quote_literal(NEW.storage), 'NULL'))
        WHEN NEW.hnsw_m NOT BETWEEN 2 AND 100 THEN format('hnsw_m is %s, not 2 to 100', NEW.hnsw_m)
        WHEN NEW.hnsw_ef_construction NOT BETWEEN greatest(4, 2 * NEW.hnsw_m) AND 1000
            THEN format('hnsw_ef_construction is %s, not %s (twice hnsw_m) to 1000', NEW.hnsw_ef_construction,
                greatest(4, 2 * NEW.hnsw_m))
        WHEN NEW.hnsw_ef_search NOT BETWEEN 1 AND 1000
            THEN format('hnsw_ef_search is %s, not 1 to 1000', NEW.hnsw_ef_search)
        WHEN NEW.dimensions < 1 THEN format('dimensions is %s', NEW.dimensions)
        WHEN NEW.partial_indexes IS NULL OR NEW.partial_indexes NOT IN (
            '{}', '{domain_id}', '{vocabulary_id}', '{domain_id,vocabulary_id}', '{vocabulary_id,domain_id}')
            THEN format('partial_indexes is %s, not a list of domain_id and vocabulary_id, each at most once',
                coalesce(quote_literal(NEW.partial_indexes), 'NULL'))
        WHEN array_position(NEW.domains || NEW.vocabularies || NEW.concept_classes, NULL) IS NOT NULL
            THEN 'domains, vocabularies and concept_classes must not hold NULL'
    END;

    IF problem IS NULL AND TG_OP = 'UPDATE' THEN
        IF NEW.config_id <> OLD.config_id THEN
            problem := 'config_id cannot be changed';
        ELSE
            SELECT * INTO p FROM omop_emb.provenance r WHERE r.config_id = OLD.config_id;
            IF NOT omop_emb.fits(NEW, p) THEN
                EXECUTE format('SELECT count(*) FROM omop_emb.%I', omop_emb.embedding_table(OLD)) INTO vectors;
                IF vectors > 0 THEN
                    PERFORM omop_emb.refuse_settings(NEW, p);
                END IF;
            END IF;
        END IF;
    END IF;

    -- Another model may well have other dimensions; NULL asks for a probe.
    IF TG_OP = 'UPDATE' AND NEW.model <> OLD.model AND NEW.dimensions = OLD.dimensions THEN
        NEW.dimensions := NULL;
    END IF;
    IF problem IS NULL AND NEW.dimensions IS NULL THEN
        SELECT cardinality(string_to_array(d.embedding, ',')), d.error
        INTO NEW.dimensions, problem
        FROM omop_emb.embed_documents(NEW, ARRAY['diabetes']) d;
    END IF;
    IF problem IS NULL AND NEW.dimensions > 4000 THEN
        problem := format('%s dimensions are more than an HNSW index can hold (2,000 as vector, 4,000 as halfvec)',
            NEW.dimensions);
        advice := 'Use a model, or a parameter of the model, that gives 4,000 dimensions or fewer.';
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'OE005', MESSAGE = problem, HINT = advice;
    END IF;
    IF NEW.dimensions > 2000 THEN
        NEW.storage := 'halfvec';
    END IF;
    IF TG_OP = 'INSERT' OR (NEW.model, NEW.document_prefix, NEW.query_prefix, NEW.document_params, NEW.query_params)
        IS DISTINCT FROM (OLD.model, OLD.document_prefix, OLD.query_prefix, OLD.document_params, OLD.query_params) THEN
        FOR warning IN SELECT w FROM omop_emb.prefix_warnings(NEW) w LOOP
            RAISE WARNING USING MESSAGE = warning;
        END LOOP;
    END IF;

    IF TG_OP = 'INSERT' THEN
        PERFORM omop_emb.lock_activation();
        NEW.is_active := NEW.is_active OR NOT EXISTS (SELECT FROM omop_emb.config f);
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION omop_emb.config_check() IS 'Check the settings, find out missing dimensions, keep one configuration active';

CREATE OR REPLACE FUNCTION omop_emb.config_apply() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM omop_emb.drop_storage(OLD);
        DELETE FROM omop_emb.term t WHERE t.kind = 'supplied' AND t.config_id = OLD.config_id;
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' OR NOT OLD.is_active THEN
        PERFORM omop_emb.record_activation(NEW.config_id);
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM omop_emb.create_storage(NEW);
    ELSIF NOT EXISTS (
        SELECT FROM omop_emb.provenance p WHERE p.config_id = NEW.config_id AND omop_emb.fits(NEW, p)) THEN
        PERFORM omop_emb.drop_storage(OLD);
        PERFORM omop_emb.create_storage(NEW);
    ELSIF (NEW.hnsw_m, NEW.hnsw_ef_construction) IS DISTINCT FROM (OLD.hnsw_m, OLD.hnsw_ef_construction) THEN
        IF to_regclass(format('omop_emb.%I', omop_emb.embedding_table(NEW) || '_hnsw')) IS NOT NULL THEN
            PERFORM omop_emb.build_hnsw(NEW, anew => true);
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.hnsw_ef_search, NEW.synonyms, NEW.mapped_terms)
        IS DISTINCT FROM (OLD.hnsw_ef_search, OLD.synonyms, OLD.mapped_terms) THEN
        PERFORM omop_emb.create_search_functions(NEW);
    END IF;
    -- What is indexed is decided by scope: with a new one, every concept has to be looked at again.
    IF TG_OP = 'INSERT'
        OR (NEW.synonyms, NEW.mapped_terms, NEW.standard_only, NEW.domains, NEW.vocabularies, NEW.concept_classes,
                NEW.include_invalid)
            IS DISTINCT FROM
            (OLD.synonyms, OLD.mapped_terms, OLD.standard_only, OLD.domains, OLD.vocabularies, OLD.concept_classes,
                OLD.include_invalid)
    THEN
        PERFORM omop_emb.enqueue('{(,)}');
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION omop_emb.config_apply() IS 'Make, change or drop the table, index and search function of a configuration';

CREATE OR REPLACE FUNCTION omop_emb.config_keep() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of omop_emb.config would leave its vectors behind'
        USING ERRCODE = 'OE005', HINT = 'Use DELETE FROM omop_emb.config.';
END
$$;

COMMENT ON FUNCTION omop_emb.config_keep() IS 'Refuse TRUNCATE';

-- Taken before any row is locked, so that two activations wait for each other instead of for a deadlock.
CREATE OR REPLACE FUNCTION omop_emb.config_activate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM omop_emb.lock_activation();
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION omop_emb.config_activate() IS 'Let changes of is_active happen one after the other';

CREATE OR REPLACE TRIGGER config_activate BEFORE UPDATE OF is_active ON omop_emb.config
    FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.config_activate();
CREATE OR REPLACE TRIGGER config_check BEFORE INSERT OR UPDATE ON omop_emb.config
    FOR EACH ROW EXECUTE FUNCTION omop_emb.config_check();
CREATE OR REPLACE TRIGGER config_apply AFTER INSERT OR UPDATE OR DELETE ON omop_emb.config
    FOR EACH ROW EXECUTE FUNCTION omop_emb.config_apply();
CREATE OR REPLACE TRIGGER config_keep BEFORE TRUNCATE ON omop_emb.config
    FOR EACH STATEMENT EXECUTE FUNCTION omop_emb.config_keep();
