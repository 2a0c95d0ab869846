"""Search on a hot standby: a streaming replica, where nothing can be written and unlogged tables cannot be read."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from omop_emb.configuration import configure
from omop_emb.demo.cluster import SUPERUSER, Cluster
from omop_emb.install import migrate
from tests.conftest import VOCABULARY
from tests.endpoint import Answer, Endpoint, running_endpoint


class Standby(Cluster):
    """A streaming replica of another throwaway server."""

    def __init__(self, primary: Cluster) -> None:
        super().__init__()
        # What a standby may not have less of than its primary.
        self._settings = dict(primary._settings)
        self._primary = primary

    def _initialise(self) -> None:
        primary = make_conninfo(host=str(self._primary.socket_directory), port=self._primary.port, user=SUPERUSER)
        program, data = self._bin / "pg_basebackup", self.socket_directory / "data"
        command: list[str | Path] = [program, "-D", data, "-d", primary, "-R", "-X", "stream"]
        command += ["-c", "fast", "--no-sync"]
        self._run(command, "pg_basebackup failed")


class Site(NamedTuple):
    primary: psycopg.Connection
    standby: psycopg.Connection
    reader: psycopg.Connection
    endpoint: Endpoint


@pytest.fixture(scope="module")
def clusters() -> Iterator[tuple[Cluster, Cluster, Endpoint]]:
    settings = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}
    with Cluster(settings=settings) as primary, running_endpoint() as endpoint:
        with psycopg.connect(primary.dsn, autocommit=True) as db:
            db.execute(VOCABULARY)
            migrate(primary.dsn)
            given = {"api_base": endpoint.url, "model": "recorded", "query_prefix": "query: ", "max_retries": 0}
            configure(db, "test", given)
            db.execute("SELECT * FROM omop_emb_index()")
            db.execute("CREATE ROLE a_reader LOGIN IN ROLE omop_emb_reader")
        with Standby(primary) as standby:
            yield primary, standby, endpoint


@pytest.fixture
def site(clusters: tuple[Cluster, Cluster, Endpoint]) -> Iterator[Site]:
    """Give sessions that have remembered nothing on a standby that has caught up."""
    primary, standby, endpoint = clusters
    endpoint.requests.clear()
    endpoint.respond = lambda _: None
    with (
        psycopg.connect(primary.dsn, autocommit=True) as first,
        psycopg.connect(standby.dsn, autocommit=True) as second,
        psycopg.connect(make_conninfo(standby.dsn, user="a_reader"), autocommit=True) as reader,
    ):
        catch_up(first, second)
        yield Site(first, second, reader, endpoint)


def catch_up(primary: psycopg.Connection, standby: psycopg.Connection) -> None:
    """Wait until the standby has replayed what the primary has committed."""
    primary.execute("SELECT pg_switch_wal()")
    position = primary.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert position is not None
    deadline = time.monotonic() + 20
    while standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position).fetchone() != (True,):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(connection: psycopg.Connection, statement: str) -> list[tuple[Any, ...]]:
    return connection.execute(statement.encode()).fetchall()


ANSWERS = (
    "SELECT * FROM omop_emb_search('chest pain', 5)",
    "SELECT * FROM omop_emb_search('chest pain', 5, domains => '{Condition}', standard_only => true)",
    "SELECT * FROM omop_emb_search('chest pain', 5, ancestor_concept_id => 4329847)",
    "SELECT * FROM omop_emb_search('chest pain', 5, mode => 'semantic')",
    "SELECT * FROM omop_emb_search('hart atack', 5, mode => 'hybrid', domains => '{Condition}')",
    "SELECT * FROM omop_emb_search_batch('{chest pain,I21,gout,chest pain,NULL}', 2)",
    "SELECT * FROM omop_emb_search_batch('{chest pain,I21}', 2, mode => 'semantic')",
    "SELECT * FROM omop_emb_map('{I21,asprin}', 2)",
    "SELECT t.text, s.* FROM (VALUES ('fever'), ('rash'), ('fever')) t (text), omop_emb_search(t.text, 2) s",
    "SELECT * FROM omop_emb_similar(4329847, 3)",
    "SELECT omop_emb_embed_query('chest pain')::text",
    "SELECT name, is_active, concepts_in_scope, indexed, pending, index_valid, last_error FROM omop_emb.status",
    "SELECT * FROM omop_emb.failures",
    "SELECT omop_emb_version()",
)


def test_a_standby_answers_as_its_primary_does_for_a_reader_too(site: Site) -> None:
    assert rows(site.standby, "SELECT pg_is_in_recovery()") == [(True,)]
    for statement in ANSWERS:
        expected = rows(site.primary, statement)
        assert rows(site.standby, statement) == expected, statement
        assert rows(site.reader, statement) == expected, statement
    assert len(rows(site.reader, ANSWERS[0])) == 5


def test_a_session_on_a_standby_asks_the_endpoint_once_per_text(site: Site) -> None:
    for _ in range(3):
        rows(site.reader, "SELECT * FROM omop_emb_search('stroke')")
        rows(site.reader, "SELECT omop_emb_embed_query('stroke')")
    assert site.endpoint.texts == ["query: stroke"]


def test_many_queries_are_embedded_on_a_standby(site: Site) -> None:
    many = "SELECT e.query_no, e.embedding::text, e.error FROM omop_emb.embed_queries("
    many += "omop_emb.config_for(NULL), '{gout,mumps,gout,NULL}') e"
    on_standby = rows(site.standby, many)
    assert site.endpoint.texts == ["query: gout", "query: mumps"]
    assert on_standby == rows(site.primary, many)
    assert [row[1] is None for row in on_standby] == [False, False, False, True]


def test_what_needs_no_model_works_while_the_endpoint_is_down(site: Site) -> None:
    rows(site.reader, "SELECT * FROM omop_emb_search('asthma')")
    site.endpoint.respond = lambda _: Answer(hang_up=True)
    assert len(rows(site.reader, "SELECT * FROM omop_emb_search('asthma', 3)")) == 3
    assert len(rows(site.reader, "SELECT * FROM omop_emb_similar(4329847, 3)")) == 3


def test_an_unreachable_endpoint_is_the_usual_error_or_answered_by_letters(site: Site) -> None:
    calls = (
        "SELECT * FROM omop_emb_search('hart atack nobody asked for', 1)",
        "SELECT * FROM omop_emb_search_batch('{hart atack nobody asked for}', 1)",
        "SELECT * FROM omop_emb_map('{hart atack nobody asked for}', 1)",
    )
    site.primary.execute("UPDATE omop_emb.config SET api_base = 'http://127.0.0.1:1/v1'")
    try:
        catch_up(site.primary, site.standby)
        for call in calls:
            with pytest.raises(psycopg.Error) as raised:
                rows(site.reader, call)
            assert raised.value.sqlstate == "OE003"
        site.primary.execute("UPDATE omop_emb.config SET lexical_fallback = true")
        catch_up(site.primary, site.standby)
        for call in calls:
            ((*_, row),) = (rows(site.reader, call),)
            assert {4329847, "lexical"} <= set(row)
    finally:
        site.primary.execute("UPDATE omop_emb.config SET api_base = %s, lexical_fallback = false", [site.endpoint.url])


def test_the_standbys_log_tells_of_no_attempt_to_write(site: Site, clusters: tuple[Cluster, Cluster, Endpoint]) -> None:
    for statement in ANSWERS:
        rows(site.reader, statement)
    log = clusters[1].log.read_text(errors="replace")
    assert "started streaming WAL" in log
    assert [phrase for phrase in ("unlogged", "read-only transaction", "during recovery") if phrase in log] == []
