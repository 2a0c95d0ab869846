"""What was released is never changed, and an upgraded installation is like a fresh one and keeps its vectors."""

import hashlib

import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from omop_emb.configuration import configure
from omop_emb.errors import OmopEmbError
from omop_emb.install import alembic_config, migrate
from omop_emb.rendering import Schemas, render
from omop_emb.resources import MIGRATIONS, SQL
from tests.endpoint import Endpoint, vector_for
from tests.installing import SETTINGS, comparable, tool

RELEASED = {
    "0001_foundation.py": "0c40d343",
    "0002_provenance.py": "4b45dfd2",
    "0003_terminology_search.py": "ee48d080",
}
# What revision 0001 and the functions of its time left behind, with one configuration and one vector.
AT_0001 = """
CREATE FUNCTION omop_emb.request_documents(config omop_emb.config, texts text[]) RETURNS SETOF omop_emb.answer
    LANGUAGE sql AS 'SELECT NULL::omop_emb.answer';
CREATE FUNCTION omop_emb.vocabulary_term(concept_ids int[]) RETURNS TABLE (concept_id int, kind text, text text)
    LANGUAGE sql AS $$ SELECT 1, '', '' $$;
CREATE FUNCTION omop_emb.pending_text(c omop_emb.config, concept_ids int[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION omop_emb.refuse_settings(c omop_emb.config, s omop_emb.storage) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION omop_emb.config_status() RETURNS TABLE (name text) LANGUAGE sql AS $$ SELECT 'x' $$;
CREATE FUNCTION omop_emb.embedding_table(c omop_emb.config) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN 'embedding_' || c.config_id;
CREATE VIEW omop_emb.status AS SELECT s.name FROM omop_emb.config_status() s;
CREATE TABLE omop_emb.embedding_1 (
    text_hash bytea PRIMARY KEY,
    live boolean NOT NULL DEFAULT true,
    embedded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    embedding public.vector(8) NOT NULL
);
COMMENT ON TABLE omop_emb.embedding_1 IS
    'Document vectors of configuration test; those that are not live belong to texts no longer in use';
INSERT INTO omop_emb.installation (cdm_schema) VALUES ('cdm');
INSERT INTO omop_emb.config (name, api_base, model, dimensions, document_prefix, query_prefix, is_active)
    VALUES ('test', %(url)s, %(model)s, 8, %(document_prefix)s, %(query_prefix)s, true);
INSERT INTO omop_emb.storage (config_id, model, dimensions, document_prefix, document_params, distance, storage)
    SELECT config_id, model, dimensions, document_prefix, document_params, distance, storage FROM omop_emb.config;
INSERT INTO omop_emb.embedding_1 (text_hash, embedding) VALUES (sha256('Headache'), %(vector)s);
INSERT INTO omop_emb.queue (concept_ids) VALUES ('{(,)}');
"""


def upgrade(raw: psycopg.Connection, revision: str) -> None:
    """Bring what holds state to a revision, and nothing else."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: raw, poolclass=StaticPool)
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def install_0001(dsn: str, endpoint: Endpoint) -> None:
    """Make a database as it was under revision 0001."""
    with psycopg.connect(dsn) as raw:
        raw.execute("CREATE EXTENSION vector; CREATE EXTENSION plpython3u; CREATE SCHEMA omop_emb")
        raw.execute(render(SQL / "roles.sql", Schemas("cdm")).encode())
        raw.commit()
        upgrade(raw, "0001")
    with psycopg.connect(dsn) as raw:
        cursor = psycopg.ClientCursor(raw)
        vector = str(vector_for("doc: Headache", 8))
        cursor.execute(AT_0001, {"url": endpoint.url, "vector": vector, **SETTINGS})


def test_released_revisions_do_not_change() -> None:
    for name, digest in RELEASED.items():
        text = (MIGRATIONS / "versions" / name).read_bytes()
        assert hashlib.sha256(text).hexdigest()[:8] == digest, f"{name} was released: write a new revision"


def test_views_of_the_site_are_in_the_way_by_name(vocabulary_dsn: str, endpoint: Endpoint) -> None:
    install_0001(vocabulary_dsn, endpoint)
    with psycopg.connect(vocabulary_dsn) as raw:
        upgrade(raw, "0002")
        raw.execute(
            "CREATE VIEW omop_emb.status AS SELECT 'test' AS name;"
            "CREATE FUNCTION public.omop_emb_search(query text, k int, a text[], b text[], c text[], d boolean,"
            " e boolean, f int, mode text, config text) RETURNS TABLE (concept_id int) LANGUAGE sql AS 'SELECT 1';"
            "CREATE VIEW public.watched AS SELECT name FROM omop_emb.status;"
            "CREATE MATERIALIZED VIEW cdm.found AS"
            " SELECT * FROM omop_emb_search('x', 1, NULL, NULL, NULL, false, false, NULL, NULL, NULL)"
        )
    with pytest.raises(OmopEmbError, match=r"have to be replaced: cdm\.found, watched$") as raised:
        migrate(vocabulary_dsn)
    assert "pg_get_viewdef" in str(raised.value.hint)
    with psycopg.connect(vocabulary_dsn) as raw:
        raw.execute("DROP VIEW public.watched; DROP MATERIALIZED VIEW cdm.found")
    assert migrate(vocabulary_dsn).revision_before == "0002"


def test_what_an_older_version_indexed_is_counted(indexed: psycopg.Connection) -> None:
    groups = "SELECT sum(concepts), (SELECT count(*) FROM omop_emb.word) FROM omop_emb.concept_group"
    before = indexed.execute(groups).fetchall()
    indexed.execute("DELETE FROM omop_emb.concept_group; DELETE FROM omop_emb.word")
    migrate(indexed.info.dsn)
    assert indexed.execute(groups).fetchall() == before


def test_an_upgraded_installation_is_like_a_fresh_one(vocabulary_dsn: str, dsn: str, endpoint: Endpoint) -> None:
    install_0001(vocabulary_dsn, endpoint)
    assert migrate(vocabulary_dsn).revision_before == "0001"
    with psycopg.connect(dsn, autocommit=True) as fresh, psycopg.connect(vocabulary_dsn, autocommit=True) as upgraded:
        # A configuration keeps what it was given under older defaults.
        kept = {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 100, "partial_indexes": []}
        configure(fresh, "test", {"api_base": endpoint.url, "dimensions": 8, **SETTINGS, **kept})
        old, new = (comparable(tool("pg_dump", "--schema-only", of)) for of in (vocabulary_dsn, dsn))
        assert old == new
        tables = ("provenance_id, model", "provenance"), ("config_id, rolled_back_at", "activation"), ("*", "config")
        for columns, table in tables:
            statement = f"SELECT {columns} FROM omop_emb.{table}".encode()
            assert upgraded.execute(statement).fetchall() == fresh.execute(statement).fetchall()

        assert upgraded.execute("SELECT embedded, reused FROM omop_emb_index()").fetchone() == (15, 2)
        assert "doc: Headache" not in endpoint.texts
        fresh.execute("SELECT * FROM omop_emb_index()")
        search = "SELECT * FROM omop_emb_search('head pain')"
        assert upgraded.execute(search).fetchall() == fresh.execute(search).fetchall()
