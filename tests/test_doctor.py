"""The doctor finds each fault, says what to do, and lets no fault hide another."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from omop_emb.cli import main
from omop_emb.configuration import configure
from omop_emb.doctor import diagnose
from omop_emb.errors import OmopEmbError
from omop_emb.install import migrate
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint


def found(connection: psycopg.Connection, *, endpoint: bool = False) -> dict[str, list[tuple[str, str]]]:
    """Return (check, message) by level."""
    levels: dict[str, list[tuple[str, str]]] = {"ok": [], "note": [], "warning": [], "problem": []}
    for finding in diagnose(connection, endpoint=endpoint):
        levels[finding.level].append((finding.check, finding.message))
        assert finding.advice or finding.level in ("ok", "note") or finding.check in ("model", "vocabulary"), finding
        assert "\n" not in finding.message
    return levels


def problems(connection: psycopg.Connection, *, endpoint: bool = False) -> list[tuple[str, str]]:
    return found(connection, endpoint=endpoint)["problem"]


@pytest.fixture
def admin(connect: Connect, indexed: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Give a connection of somebody who is a member of omop_emb_admin and nothing else."""
    indexed.execute("CREATE ROLE doctors_admin LOGIN IN ROLE omop_emb_admin")
    yield connect(user="doctors_admin")
    indexed.execute("DROP ROLE doctors_admin")


def run(dsn: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--dsn", dsn, "doctor", *arguments])


def test_a_sound_database(admin: psycopg.Connection, indexed: psycopg.Connection, dsn: str) -> None:
    levels = found(admin, endpoint=True)
    assert levels["problem"] == []
    assert levels["warning"] == []
    checks = {check for check, _ in levels["ok"]}
    assert checks >= {
        "server", "extensions", "revision", "vocabulary", "triggers", "roles", "privileges", "settings", "index",
        "queue", "endpoint",
    }  # fmt: skip
    said = dict(levels["ok"])
    assert "10 of 10 concepts indexed; 16 vectors in use, 0 orphaned" in said["index"]
    assert "gives the vectors that are stored" in said["endpoint"]
    assert any("with 8 dimensions" in message for _, message in levels["ok"])
    notes = " ".join(message for _, message in levels["note"])
    version = indexed.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    old = tuple(map(int, version[0].split("."))) < (0, 8, 2) if version else False
    assert ("without parallel workers" in notes) == old

    plain = run(dsn, "--no-endpoint")
    assert plain.exit_code == 0
    assert plain.stdout.splitlines()[0].startswith("ok       server: PostgreSQL ")
    assert plain.stdout.endswith("0 problems, 0 warnings\n")
    answer = json.loads(run(dsn, "--json").stdout)
    assert (answer["problem"], answer["warning"]) == (0, 0)
    assert set(answer["findings"][0]) == {"level", "check", "message", "advice", "config"}


def test_who_may_not_ask(connect: Connect, vocabulary_dsn: str, indexed: psycopg.Connection) -> None:
    indexed.execute("CREATE ROLE doctors_reader LOGIN IN ROLE omop_emb_reader")
    indexed.execute("CREATE ROLE doctors_nobody LOGIN")
    try:
        for user in ("doctors_reader", "doctors_nobody"):
            with pytest.raises(OmopEmbError, match=f"'{user}' may not look") as raised:
                list(diagnose(connect(user=user)))
            assert "omop_emb_admin" in (raised.value.hint or "")
    finally:
        indexed.execute("DROP ROLE doctors_reader; DROP ROLE doctors_nobody")
    with (
        psycopg.connect(vocabulary_dsn, autocommit=True) as connection,
        pytest.raises(OmopEmbError, match="not installed"),
    ):
        list(diagnose(connection))


def test_the_installation(indexed: psycopg.Connection, dsn: str) -> None:
    faults: list[tuple[str, str, str]] = [
        ("UPDATE omop_emb.alembic_version SET version_num = '0001'", "revision", "schema revision 0001, this package"),
        ("UPDATE omop_emb.alembic_version SET version_num = '9999'", "revision", "schema revision 9999, this package"),
        ("DROP TRIGGER omop_emb_inserted ON cdm.concept", "triggers", "cdm.concept lacks 1 of the 4"),
        ("ALTER TABLE cdm.concept_synonym DISABLE TRIGGER USER", "triggers", "4 of the 4 triggers on cdm.concept_syn"),
        ("ALTER TABLE cdm.concept ENABLE ROW LEVEL SECURITY", "vocabulary", "it has row security"),
        ("REVOKE SELECT ON cdm.concept_synonym FROM omop_emb_owner", "vocabulary", "may not read cdm.concept_synonym"),
        ("REVOKE USAGE ON SCHEMA cdm FROM omop_emb_owner", "vocabulary", "may not read cdm.concept"),
        ("DROP TABLE cdm.concept CASCADE", "vocabulary", "there is no table cdm.concept"),
        ("ALTER FUNCTION public.omop_emb_version() OWNER TO postgres", "privileges", "1 functions do not belong"),
        ("GRANT EXECUTE ON FUNCTION omop_emb.discard(text) TO PUBLIC", "privileges", "everybody may call 1 functions"),
        (
            "REVOKE EXECUTE ON FUNCTION public.omop_emb_search FROM omop_emb_reader",
            "privileges",
            "omop_emb_reader may not call",
        ),
        ("DROP VIEW omop_emb.status", "index", "does not exist"),
        ("UPDATE omop_emb.config SET is_active = false", "configurations", "no configuration is active"),
        ("DELETE FROM omop_emb.config", "configurations", "there is no configuration"),
        ("DROP INDEX omop_emb.embedding_1_hnsw", "index", "there is no valid HNSW index"),
        ("UPDATE omop_emb.provenance SET document_prefix = 'other: '", "index", "16 vectors were made under other"),
    ]
    for statement, check, message in faults:
        with indexed.transaction(force_rollback=True):
            indexed.execute(statement.encode())
            problem = problems(indexed)
            assert any(where == check and message in said for where, said in problem), (statement, problem)
    assert problems(indexed) == []


def test_a_check_that_fails_hides_no_other_and_migrate_puts_right_what_it_says(
    indexed: psycopg.Connection, dsn: str
) -> None:
    indexed.execute("DROP VIEW omop_emb.status; ALTER TABLE cdm.concept DISABLE TRIGGER USER")
    levels = found(indexed, endpoint=True)
    assert [check for check, _ in levels["problem"]] == ["triggers", "index"]
    assert {"queue", "endpoint"} <= {check for check, _ in levels["ok"]}
    migrate(dsn)
    assert problems(indexed) == []


def test_what_is_not_indexed(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("UPDATE cdm.concept SET concept_name = 'bad' WHERE concept_id = 378253")
    indexed.execute("DELETE FROM cdm.concept WHERE concept_id = 1112807")
    messages = [message for _, message in found(indexed)["warning"]]
    assert "1 concepts have texts that are not indexed" in messages
    indexed.execute("UPDATE omop_emb.queue SET queued_at = now() - interval '2 days'")
    assert "wait to be indexed" in dict(found(indexed)["warning"])["queue"]
    endpoint.respond = lambda request: Answer(status=400) if "doc: bad" in request["input"] else None
    indexed.execute("SELECT * FROM omop_emb_index()")
    levels = found(indexed)
    assert any("1 concepts have texts that the endpoint rejected" in message for _, message in levels["warning"])
    assert any("3 orphaned" in message for _, message in levels["ok"])
    assert levels["problem"] == []


def test_prefixes_and_moving_names(indexed: psycopg.Connection) -> None:
    base = {"api_base": "http://localhost:11434/v1", "dimensions": 3}
    configure(indexed, "moving", {**base, "model": "nomic-embed-text", "document_prefix": "", "query_prefix": "q"})
    warnings = {finding.check: finding for finding in diagnose(indexed, endpoint=False) if finding.config == "moving"}
    assert "has no tag" in warnings["model"].message
    assert "'search_query: '" in warnings["prefixes"].message
    assert any("family nomic-embed-text" in message for _, message in found(indexed)["ok"])


def test_the_endpoint(indexed: psycopg.Connection, endpoint: Endpoint, dsn: str) -> None:
    configure(indexed, "params", {
        "api_base": endpoint.url, "model": "recorded", "document_prefix": "", "query_prefix": "",
        "document_params": '{"input_type": "document"}', "query_params": '{"input_type": "query"}',
    })  # fmt: skip
    configure(indexed, "same", {"api_base": endpoint.url, "model": "m", "document_prefix": "", "query_prefix": ""})
    endpoint.requests.clear()
    levels = found(indexed, endpoint=True)
    assert [message for check, message in levels["problem"]] == [
        "the endpoint ignores the role settings: 'diabetes' gives the same vector as document and as query"
    ]
    assert [message for check, message in levels["note"] if check == "endpoint"] == [
        "the two roles have the same settings: the model is used symmetrically"
    ]
    assert endpoint.texts[:2] == ["doc: diabetes", "query: diabetes"]

    def another_model(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**item, "embedding": [1.0] * 8} for item in items]

    endpoint.change = another_model
    assert any("no longer gives the vectors that are stored" in said for _, said in problems(indexed, endpoint=True))
    endpoint.respond = lambda _: Answer(status=401, body=b'{"error": {"message": "no key"}}')
    failed = problems(indexed, endpoint=True)
    assert [check for check, _ in failed] == ["endpoint"] * 3
    assert all("HTTP 401: no key" in message for _, message in failed)
    result = run(dsn)
    assert result.exit_code == 1
    assert "problem  endpoint of 'same': " in result.stdout
    assert result.stdout.endswith("3 problems, 4 warnings\n")
    assert run(dsn, "--no-endpoint").exit_code == 0
