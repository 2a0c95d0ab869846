"""Jobs of texts that workers lease, several endpoints per configuration, embedding at once."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    "DROP FUNCTION IF EXISTS omop_emb.pending_text(omop_emb.config, int[], bigint)",
    "DROP FUNCTION IF EXISTS omop_emb.filed_under(omop_emb.config, bytea[])",
    "DROP FUNCTION IF EXISTS omop_emb.wanted_term(omop_emb.config)",
    "DROP FUNCTION IF EXISTS omop_emb.create_hnsw(omop_emb.config, text, text)",
    "DROP FUNCTION IF EXISTS omop_emb.continue_index(text, int)",
    """
CREATE TABLE omop_emb.job (
    job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    config_id int NOT NULL REFERENCES omop_emb.config (config_id) ON DELETE CASCADE,
    text_hashes bytea[] NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT now(),
    worker text,
    leased_until timestamptz
)""",
    # Hashes cannot be compressed.
    "ALTER TABLE omop_emb.job ALTER COLUMN text_hashes SET STORAGE EXTERNAL",
    "CREATE INDEX job_config_id ON omop_emb.job (config_id, job_id)",
    "COMMENT ON TABLE omop_emb.job IS"
    " 'Batches of texts that have no vector yet, each text in one of them; a worker has a lease on those it embeds'",
    """
ALTER TABLE omop_emb.config
    ADD COLUMN further_api_bases text[] NOT NULL DEFAULT '{}',
    ADD COLUMN immediate_rows int NOT NULL DEFAULT 0""",
)


def upgrade() -> None:
    """Bring what holds state from revision 0003 to this one."""
    for statement in STATEMENTS:
        op.execute(statement)
