"""What the tests of installing share: dumps to compare, and a check that an installation works."""

import re
import subprocess

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql

from omop_emb.configuration import configure
from omop_emb.demo.binaries import find_binaries
from omop_emb.errors import OmopEmbError
from omop_emb.install import alembic_config, migrate
from tests.endpoint import Endpoint

SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
HEAD = str(ScriptDirectory.from_config(alembic_config()).get_current_head())
ROLES = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'omop\\_emb\\_%' ORDER BY 1"


def tool(name: str, *arguments: str, stdin: str | None = None) -> str:
    """Run a PostgreSQL program and return what it prints."""
    command = [str(find_binaries()[0] / name), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout


def comparable(dumped: str) -> str:
    """Leave out the lines that differ between any two dumps."""
    return re.sub(r"^\\(un)?restrict .*$", "", dumped, flags=re.MULTILINE)


def dump(dsn: str) -> str:
    """Dump a database: schema, owners, privileges and data."""
    return comparable(tool("pg_dump", dsn))


def execute(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql.SQL(statement))
        return cursor.fetchall() if cursor.description is not None else []


def check_it_works(dsn: str, endpoint: Endpoint) -> None:
    """Configure, index, search, change a concept and find it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        configure(connection, "test", {"api_base": endpoint.url, **SETTINGS})
        assert connection.execute("SELECT embedded, remaining FROM omop_emb_index()").fetchone() == (16, 0)
        assert len(connection.execute("SELECT * FROM omop_emb_search('x', 100)").fetchall()) == 10
        with connection.transaction(force_rollback=True):
            schema = connection.execute("SELECT cdm_schema FROM omop_emb.installation").fetchone()
            assert schema is not None
            table = sql.Identifier(schema[0], "concept")
            connection.execute(sql.SQL("UPDATE {} SET concept_name = 'new' WHERE concept_id = 378253").format(table))
            assert connection.execute("SELECT embedded, removed FROM omop_emb_index()").fetchone() == (1, 1)
            connection.execute(sql.SQL("DELETE FROM {}").format(table))
            assert connection.execute("SELECT * FROM omop_emb_search('x', 100)").fetchall() == []
        assert connection.execute("SELECT index_valid, triggers_installed FROM omop_emb.status").fetchone() == (
            True,
            True,
        )


def refused(dsn: str, match: str, *arguments: str) -> OmopEmbError:
    """Check that migrate refuses with one line and changes nothing."""
    before = dump(dsn)
    with pytest.raises(OmopEmbError, match=match) as raised:
        migrate(dsn, *arguments)
    assert "\n" not in raised.value.message
    assert dump(dsn) == before
    return raised.value
