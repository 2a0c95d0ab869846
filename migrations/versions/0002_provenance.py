"""Each vector points to the settings that made it; texts supplied by clients; the order of activations."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "DROP VIEW IF EXISTS omop_emb.status",
    "DROP FUNCTION IF EXISTS omop_emb.config_status()",
    "DROP FUNCTION IF EXISTS omop_emb.refuse_settings(omop_emb.config, omop_emb.storage)",
    "DROP FUNCTION IF EXISTS omop_emb.request_documents(omop_emb.config, text[])",
    "DROP FUNCTION IF EXISTS omop_emb.vocabulary_term(int[])",
    "DROP FUNCTION IF EXISTS omop_emb.pending_text(omop_emb.config, int[])",
    "ALTER TABLE omop_emb.storage RENAME TO provenance",
    "ALTER TABLE omop_emb.provenance RENAME CONSTRAINT storage_pkey TO provenance_config",
    "ALTER TABLE omop_emb.provenance RENAME CONSTRAINT storage_config_id_fkey TO provenance_config_id_fkey",
    "ALTER TABLE omop_emb.provenance ADD COLUMN provenance_id int NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE",
    "ALTER TABLE omop_emb.provenance"
    " ADD COLUMN normalised boolean NOT NULL GENERATED ALWAYS AS (distance = 'inner_product') STORED",
    "COMMENT ON TABLE omop_emb.provenance IS"
    " 'The document settings that the vectors of a configuration were made under; each vector has the provenance_id'",
    """
DO $do$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT config_id, provenance_id FROM omop_emb.provenance LOOP
        EXECUTE 'ALTER TABLE omop_emb.embedding_' || p.config_id || ' ADD COLUMN provenance_id int NOT NULL DEFAULT '
            || p.provenance_id || ' CHECK (provenance_id = ' || p.provenance_id || ')';
    END LOOP;
END
$do$""",
    "ALTER TABLE omop_emb.term DROP CONSTRAINT term_kind_check",
    "ALTER TABLE omop_emb.term ADD CONSTRAINT term_kind_check CHECK (kind IN ('name', 'supplied', 'synonym'))",
    "ALTER TABLE omop_emb.term ADD COLUMN config_id int NOT NULL DEFAULT 0",
    "ALTER TABLE omop_emb.term DROP CONSTRAINT term_pkey",
    "ALTER TABLE omop_emb.term ADD PRIMARY KEY (text_hash, concept_id, kind, config_id)",
    "COMMENT ON COLUMN omop_emb.term.config_id IS"
    " 'The configuration that a supplied text belongs to; 0 for texts of the vocabulary, which belong to all'",
    """
CREATE TABLE omop_emb.supplied_text (
    config_id int NOT NULL REFERENCES omop_emb.config (config_id) ON DELETE CASCADE,
    concept_id int NOT NULL,
    text text NOT NULL CHECK (text ~ '\\S'),
    supplied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (config_id, concept_id)
)""",
    "COMMENT ON TABLE omop_emb.supplied_text IS"
    " 'Document texts that a client gave for a concept and that are not its name; indexed in one configuration'",
    """
CREATE TABLE omop_emb.activation (
    activation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    config_id int NOT NULL REFERENCES omop_emb.config (config_id) ON DELETE CASCADE,
    activated_at timestamptz NOT NULL DEFAULT now(),
    rolled_back_at timestamptz
)""",
    "COMMENT ON TABLE omop_emb.activation IS 'Which configuration became active when, for rollback'",
    "INSERT INTO omop_emb.activation (config_id) SELECT config_id FROM omop_emb.config WHERE is_active",
    "DROP INDEX omop_emb.config_one_active",
    # Checked at the end, so that one UPDATE over several rows may pass the flag on in any order.
    "ALTER TABLE omop_emb.config ADD CONSTRAINT config_one_active"
    " EXCLUDE (is_active WITH =) WHERE (is_active) DEFERRABLE INITIALLY DEFERRED",
)


def upgrade() -> None:
    """Bring what holds state from revision 0001 to this one."""
    for statement in STATEMENTS:
        op.execute(statement)
