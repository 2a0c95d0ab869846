"""The tables: configurations, the mirror of the vocabulary, its terms, the queue, failures."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    "COMMENT ON TABLE omop_emb.alembic_version IS 'The last migration that was applied'",
    """
CREATE TABLE omop_emb.installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cdm_schema text NOT NULL,
    created_extensions text[] NOT NULL DEFAULT '{}'
)""",
    "COMMENT ON TABLE omop_emb.installation IS 'What migrate installed and for which vocabulary schema'",
    """
CREATE TABLE omop_emb.config (
    name text PRIMARY KEY,
    config_id int NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    api_base text NOT NULL,
    model text NOT NULL,
    dimensions int NOT NULL,
    document_prefix text NOT NULL DEFAULT '',
    query_prefix text NOT NULL DEFAULT '',
    document_params jsonb NOT NULL DEFAULT '{}',
    query_params jsonb NOT NULL DEFAULT '{}',
    api_key_name text,
    batch_size int NOT NULL DEFAULT 64,
    timeout_ms int NOT NULL DEFAULT 30000,
    max_retries int NOT NULL DEFAULT 3,
    distance text NOT NULL DEFAULT 'cosine',
    storage text NOT NULL DEFAULT 'vector',
    hnsw_m int NOT NULL DEFAULT 16,
    hnsw_ef_construction int NOT NULL DEFAULT 64,
    hnsw_ef_search int NOT NULL DEFAULT 100,
    synonyms boolean NOT NULL DEFAULT true,
    standard_only boolean NOT NULL DEFAULT false,
    domains text[],
    vocabularies text[],
    concept_classes text[],
    include_invalid boolean NOT NULL DEFAULT false,
    is_active boolean NOT NULL DEFAULT false
)""",
    "CREATE UNIQUE INDEX config_one_active ON omop_emb.config (is_active) WHERE is_active",
    "COMMENT ON TABLE omop_emb.config IS 'One row per embedding configuration; at most one is active'",
    """
CREATE TABLE omop_emb.storage (
    config_id int PRIMARY KEY REFERENCES omop_emb.config (config_id) ON DELETE CASCADE,
    model text NOT NULL,
    dimensions int NOT NULL,
    document_prefix text NOT NULL,
    document_params jsonb NOT NULL,
    distance text NOT NULL,
    storage text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)""",
    "COMMENT ON TABLE omop_emb.storage IS"
    " 'The document settings under which the vectors in omop_emb.embedding_<config_id> were made'",
    """
CREATE TABLE omop_emb.concept (
    concept_id int PRIMARY KEY,
    concept_name text,
    domain_id text,
    vocabulary_id text,
    concept_class_id text,
    concept_code text,
    standard_concept text,
    is_valid boolean NOT NULL
)""",
    "COMMENT ON TABLE omop_emb.concept IS"
    " 'The concepts that any configuration indexes, with what filters need; search reads this, not the vocabulary'",
    """
CREATE TABLE omop_emb.term (
    text_hash bytea NOT NULL,
    concept_id int NOT NULL,
    kind text NOT NULL CHECK (kind IN ('name', 'synonym')),
    text text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (text_hash, concept_id, kind)
)""",
    "CREATE INDEX term_concept_id ON omop_emb.term (concept_id)",
    "COMMENT ON TABLE omop_emb.term IS"
    " 'The texts of each concept; text_hash is the SHA-256 of the UTF-8 text and the key of its vector'",
    """
CREATE TABLE omop_emb.queue (
    job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    concept_ids int8multirange NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT now()
)""",
    "COMMENT ON TABLE omop_emb.queue IS"
    " 'Concepts whose texts changed since they were last indexed, one row per statement; {(,)} means all'",
    """
CREATE TABLE omop_emb.failure (
    config_id int NOT NULL REFERENCES omop_emb.config (config_id) ON DELETE CASCADE,
    text_hash bytea NOT NULL,
    attempts int NOT NULL DEFAULT 1,
    failed_at timestamptz NOT NULL DEFAULT now(),
    next_attempt timestamptz NOT NULL,
    error text NOT NULL,
    PRIMARY KEY (config_id, text_hash)
)""",
    "COMMENT ON TABLE omop_emb.failure IS 'Texts that the endpoint rejected, tried again after next_attempt'",
    "CREATE TYPE omop_emb.answer AS (text_no int, embedding text, error text, sqlstate text, hint text)",
    """
CREATE TYPE omop_emb.search_filter AS (
    domains text[], vocabularies text[], concept_classes text[], standard_only boolean, include_invalid boolean,
    synonyms boolean, concept_ids int[], excluded_concept_id int
)""",
    """
CREATE TYPE omop_emb.search_result AS (
    rank int, concept_id int, concept_name text, domain_id text, vocabulary_id text, concept_class_id text,
    concept_code text, standard_concept text, similarity double precision, matched_text text, matched_kind text
)""",
)


def upgrade() -> None:
    """Create everything that holds state."""
    for statement in STATEMENTS:
        op.execute(statement)
