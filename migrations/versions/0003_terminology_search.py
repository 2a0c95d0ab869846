"""What search by words, mapped terms, partial indexes and remembered query vectors need."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    # Else PostgreSQL advises to drop them too.
    """
DO $do$
DECLARE
    site_views text;
BEGIN
    SELECT string_agg(DISTINCT v.oid::regclass::text, ', ' ORDER BY v.oid::regclass::text) INTO site_views
    FROM pg_depend d
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass AND v.relnamespace <> 'omop_emb'::regnamespace
        AND (d.refclassid, d.refobjid) IN (
            SELECT 'pg_class'::regclass, c.oid FROM pg_class c
            WHERE c.relnamespace = 'omop_emb'::regnamespace AND c.relname IN ('status', 'failures')
            UNION ALL
            SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p
            WHERE p.pronamespace = 'public'::regnamespace AND p.proname = 'omop_emb_search');
    IF site_views IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'OE005',
            MESSAGE = 'views depend on omop_emb_search, omop_emb.status or omop_emb.failures, which have to be'
                ' replaced: ' || site_views,
            HINT = 'Keep what pg_get_viewdef says of them, drop them, run this again and create them anew.';
    END IF;
END
$do$""",
    "DROP VIEW IF EXISTS omop_emb.status, omop_emb.failures",
    # Bodies that are parsed when they are created hold on to the row types that change here; all are written again.
    """
DO $do$
DECLARE
    f record;
BEGIN
    FOR f IN
        SELECT p.oid, p.oid::regprocedure AS name
        FROM pg_proc p
        WHERE p.pronamespace = 'omop_emb'::regnamespace AND p.prosqlbody IS NOT NULL
    LOOP
        IF EXISTS (SELECT FROM pg_proc p WHERE p.oid = f.oid) THEN
            EXECUTE 'DROP FUNCTION ' || f.name || ' CASCADE';
        END IF;
    END LOOP;
END
$do$""",
    "DROP FUNCTION IF EXISTS public.omop_emb_search("
    "text, int, text[], text[], text[], boolean, boolean, int, text, text)",
    "DROP FUNCTION IF EXISTS omop_emb.passes_few(omop_emb.search_filter)",
    "DROP FUNCTION IF EXISTS omop_emb.embed_query(omop_emb.config, text)",
    "DROP FUNCTION IF EXISTS omop_emb.request_query(omop_emb.config, text)",
    "DROP FUNCTION IF EXISTS omop_emb.embed_documents(omop_emb.config, text[])",
    "DROP FUNCTION IF EXISTS omop_emb.search_statement(omop_emb.config, boolean)",
    "DROP FUNCTION IF EXISTS omop_emb.build_hnsw(omop_emb.config)",
    "DROP FUNCTION IF EXISTS omop_emb.reconcile(int[])",
    "DROP FUNCTION IF EXISTS omop_emb.refresh_live(omop_emb.config, bytea[], timestamptz)",
    "ALTER TYPE omop_emb.search_result ADD ATTRIBUTE semantic_rank int, ADD ATTRIBUTE lexical_rank int",
    "ALTER TYPE omop_emb.answer ADD ATTRIBUTE unavailable boolean",
    "ALTER TYPE omop_emb.search_filter ADD ATTRIBUTE mapped_terms boolean",
    """
ALTER TABLE omop_emb.config
    ADD COLUMN mapped_terms boolean NOT NULL DEFAULT false,
    ADD COLUMN lexical_fallback boolean NOT NULL DEFAULT false,
    ADD COLUMN partial_indexes text[] NOT NULL DEFAULT '{}',
    ALTER COLUMN hnsw_m SET DEFAULT 24,
    ALTER COLUMN hnsw_ef_construction SET DEFAULT 128,
    ALTER COLUMN hnsw_ef_search SET DEFAULT 200""",
    # Configurations that are there keep what they are: theirs would all have to be built again.
    "ALTER TABLE omop_emb.config ALTER COLUMN partial_indexes SET DEFAULT '{domain_id,vocabulary_id}'",
    "ALTER TABLE omop_emb.term DROP CONSTRAINT term_kind_check",
    "ALTER TABLE omop_emb.term"
    " ADD CONSTRAINT term_kind_check CHECK (kind IN ('name', 'supplied', 'synonym', 'mapped'))",
    # A tsvector cannot hold more than a megabyte.
    "ALTER TABLE omop_emb.term ADD COLUMN lexemes tsvector NOT NULL"
    " GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', left(text, 8192))) STORED",
    "CREATE INDEX term_lexemes ON omop_emb.term USING gin (lexemes)",
    # Hash indexes, since a text may be longer than an entry of a B-tree.
    "CREATE INDEX term_words ON omop_emb.term USING hash (tsvector_to_array(lexemes))",
    r"CREATE INDEX term_compact ON omop_emb.term"
    r" USING hash (lower(regexp_replace(text, '[\s\-_./,''\u2010-\u2015]+', '', 'g')))",
    r"CREATE INDEX concept_code ON omop_emb.concept"
    r" USING hash (lower(regexp_replace(concept_code, '[\s\-_./,''\u2010-\u2015]+', '', 'g')))",
    "CREATE INDEX concept_domain_id ON omop_emb.concept (domain_id)",
    "CREATE INDEX concept_vocabulary_id ON omop_emb.concept (vocabulary_id)",
    "CREATE INDEX concept_concept_class_id ON omop_emb.concept (concept_class_id)",
    """
CREATE TABLE omop_emb.concept_group (
    domain_id text,
    vocabulary_id text,
    concept_class_id text,
    standard_concept text,
    is_valid boolean NOT NULL,
    concepts bigint NOT NULL
)""",
    "COMMENT ON TABLE omop_emb.concept_group IS"
    " 'How many concepts share what filters ask for, as of the last large change: estimates to choose a plan by'",
    """
CREATE TABLE omop_emb.word (
    word text PRIMARY KEY,
    terms bigint NOT NULL,
    weight real NOT NULL
)""",
    "COMMENT ON TABLE omop_emb.word IS"
    " 'The lexemes of all terms with their inverse document frequency, as of the last large change'",
    """
CREATE TABLE omop_emb.word_statistics (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    mean_weight real NOT NULL,
    unknown_weight real NOT NULL
)""",
    "COMMENT ON TABLE omop_emb.word_statistics IS"
    " 'The weight of the average word of a term, and of a word that no term has'",
    """
CREATE TYPE omop_emb.lexical_query AS (
    query text, compact text, lexemes text[], words text[], weights real[], total real, mean_weight real,
    matching tsquery, any_word tsquery
)""",
    """
CREATE TYPE omop_emb.search_plan AS (
    index_no int, share double precision, matching double precision, is_few boolean
)""",
    """
CREATE TABLE omop_emb.partial_index (
    config_id int NOT NULL REFERENCES omop_emb.config (config_id) ON DELETE CASCADE,
    index_no int NOT NULL,
    attribute text NOT NULL CHECK (attribute IN ('domain_id', 'vocabulary_id')),
    value text NOT NULL,
    PRIMARY KEY (config_id, index_no),
    UNIQUE (config_id, attribute, value)
)""",
    "COMMENT ON TABLE omop_emb.partial_index IS"
    " 'The HNSW indexes over the terms of one domain or vocabulary, named embedding_<config_id>_hnsw_<index_no>'",
    """
DO $do$
DECLARE
    extension_schema text;
    p record;
BEGIN
    SELECT quote_ident(n.nspname) INTO extension_schema
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm';
    -- On an expression, or it would be taken for the equality that the primary key answers much faster.
    EXECUTE 'CREATE INDEX word_trigrams ON omop_emb.word'
        ' USING gin (lower(word) ' || extension_schema || '.gin_trgm_ops)';
    SELECT quote_ident(n.nspname) INTO extension_schema
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
    EXECUTE 'CREATE UNLOGGED TABLE omop_emb.query_vector (slot int PRIMARY KEY, key bytea NOT NULL, embedding '
        || extension_schema || '.vector NOT NULL)';
    FOR p IN SELECT config_id FROM omop_emb.provenance LOOP
        EXECUTE 'ALTER TABLE omop_emb.embedding_' || p.config_id
            || ' ADD COLUMN domains text[] NOT NULL DEFAULT ''{}'','
            ' ADD COLUMN vocabularies text[] NOT NULL DEFAULT ''{}''';
    END LOOP;
END
$do$""",
    "COMMENT ON TABLE omop_emb.query_vector IS"
    " 'Vectors of recent queries by the SHA-256 of settings, prefix and text, without the text; a new one replaces an"
    " old one'",
    "INSERT INTO omop_emb.queue (concept_ids)"
    " SELECT CAST('{(,)}' AS int8multirange) WHERE EXISTS (SELECT FROM omop_emb.config)",
)


def upgrade() -> None:
    """Bring what holds state from revision 0002 to this one."""
    for statement in STATEMENTS:
        op.execute(statement)
