"""What happens to a text, a configuration or the vocabulary while texts are with the endpoint."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from omop_emb import indexing
from omop_emb.configuration import configure
from tests.conftest import Connect
from tests.endpoint import Endpoint
from tests.test_index import MANY, SETTINGS
from tests.working import check_as_fresh, slowly, wait_until, wait_until_indexed, wanted_texts, worker

HEADACHE = "UPDATE cdm.concept SET concept_name = %s WHERE concept_id = 378253"
INSERT = """
    INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code)
    VALUES (%s, %s, 'Condition', 'SNOMED', 'Clinical Finding', 'x')"""


@pytest.fixture
def db(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with a configuration with batches of 4, not indexed."""
    configure(db, "test", {"api_base": endpoint.url, "dimensions": 8, "batch_size": 4, **SETTINGS})
    return db


def when_asked_for(endpoint: Endpoint, text: str, act: Callable[[], Any]) -> None:
    """Do something once, in the middle of the first request for a text."""
    first = threading.Lock()

    def respond(request: dict[str, Any]) -> None:
        if text in request["input"] and first.acquire(blocking=False):
            act()

    endpoint.respond = respond


CHANGES: dict[str, list[tuple[str, list[Any]]]] = {
    "renamed": [(HEADACHE, ["Pain in head"])],
    "renamed and back": [(HEADACHE, ["Pain in head"]), (HEADACHE, ["Headache"])],
    "deleted": [("DELETE FROM cdm.concept WHERE concept_id = 378253", [])],
    "deleted and inserted again": [
        ("DELETE FROM cdm.concept WHERE concept_id = 378253", []), (INSERT, [378253, "Headache"]),
    ],
    "given to another": [
        ("DELETE FROM cdm.concept WHERE concept_id = 378253", []), (INSERT, [999, "Headache"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("reconciled", [False, True], ids=["", "seen by others"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_text_is_changed(
    db: psycopg.Connection, connect: Connect, endpoint: Endpoint, change: str, reconciled: bool
) -> None:
    """Before its answer is stored, others may have brought the queue in line with it, after each step."""
    other = connect()

    def act() -> None:
        for statement, arguments in CHANGES[change]:
            other.execute(statement.encode(), arguments)
            if reconciled:
                other.execute("SELECT omop_emb.catch_up(false)")

    when_asked_for(endpoint, "doc: Headache", act)
    indexing.index(db)
    if not reconciled:
        indexing.index(db)
    check_as_fresh(db)
    assert max(Counter(endpoint.texts).values()) == 1


def test_a_text_comes_back_after_its_job_was_leased_without_it(
    db: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    """It is still in the job, so that nobody queues it anew; who ends the job must not forget it."""
    other = connect()
    job = "SELECT worker IS NOT NULL FROM omop_emb.job WHERE sha256('Antihypertensives') = ANY (text_hashes)"
    steps: list[str] = []

    def respond(_: object) -> None:
        if not steps:
            assert other.execute(job).fetchall() == [(False,)]
            other.execute("DELETE FROM cdm.concept WHERE concept_id = 21604254")
            steps.append("deleted")
        elif steps == ["deleted"] and other.execute(job).fetchall() == [(True,)]:
            other.execute(INSERT, [21604254, "Antihypertensives"])
            other.execute("SELECT omop_emb.catch_up(false)")
            steps.append("inserted")

    endpoint.respond = respond
    assert indexing.index(db, concurrency=1).remaining == 0
    assert steps == ["deleted", "inserted"]
    check_as_fresh(db)
    assert max(Counter(endpoint.texts).values()) == 1


def test_the_settings_change(db: psycopg.Connection, dsn: str, connect: Connect, endpoint: Endpoint) -> None:
    """Vectors of the old prefix are dropped with the table, or on their way to it; the worker goes on with the new."""
    db.execute(MANY, [200])
    other = connect()

    def act() -> None:
        configure(other, "test", {"document_prefix": "passage: "}, discard_vectors=True)

    when_asked_for(endpoint, "doc: many 100", act)
    with worker(dsn) as running:
        wait_until_indexed(db)
        check_as_fresh(db, prefix="passage: ")
        assert "configuration was changed" in running.wait_for("warning")["message"]
        assert running.of("error") == []
        times = Counter(endpoint.texts)
        assert max(times.values()) == 1
        # The scope becomes narrower.
        db.execute("INSERT INTO cdm.concept_synonym SELECT 5000 + i, 'synonym ' || i, 0 FROM generate_series(1, 100) i")
        when_asked_for(
            endpoint,
            "passage: synonym 30",
            lambda: other.execute("UPDATE omop_emb.config SET synonyms = false"),
        )
        wait_until_indexed(db)
        names = db.execute("SELECT concept_name FROM cdm.concept WHERE coalesce(invalid_reason, '') = ''").fetchall()
        check_as_fresh(db, prefix="passage: ", texts={row[0] for row in names})
        assert running.of("error") == []


def test_a_configuration_is_dropped(db: psycopg.Connection, dsn: str, connect: Connect, endpoint: Endpoint) -> None:
    db.execute(MANY, [200])
    other = connect()
    configure(db, "second", {"api_base": endpoint.url, "dimensions": 8, "batch_size": 4, **SETTINGS})
    db.execute("UPDATE omop_emb.config SET document_prefix = 'second: ' WHERE name = 'second'")
    when_asked_for(endpoint, "second: many 50", lambda: other.execute("SELECT omop_emb.drop_config('second')"))
    with worker(dsn) as running:
        wait_until(lambda: db.execute("SELECT name FROM omop_emb.config").fetchall() == [("test",)])
        wait_until_indexed(db)
        check_as_fresh(db)
        # It was told, and goes on with the other one at once.
        db.execute("UPDATE cdm.concept SET concept_name = 'new' WHERE concept_id = 378253")
        wait_until_indexed(db, 5)
        check_as_fresh(db)
        assert {event.get("config") for event in running.of("error")} <= {"second"}
        assert db.execute("TABLE omop_emb.failure").fetchall() == []


def test_two_refreshes_at_once(db: psycopg.Connection, dsn: str, connect: Connect, endpoint: Endpoint) -> None:
    """Each replaces everything, one with a name changed, while a worker is at it; no text is asked for twice."""
    db.execute(MANY, [400])
    db.execute("CREATE TABLE kept AS TABLE cdm.concept")
    db.execute("CREATE TABLE kept_synonym AS TABLE cdm.concept_synonym")
    endpoint.respond = slowly(0.01)
    with worker(dsn) as running:
        wait_until(lambda: len(endpoint.requests) > 10)

        def refresh(name: str) -> None:
            with connect(autocommit=False) as connection:
                for _ in range(5):
                    connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
                    connection.execute("INSERT INTO cdm.concept TABLE kept")
                    time.sleep(0.05)
                    connection.execute("INSERT INTO cdm.concept_synonym TABLE kept_synonym")
                    connection.execute(HEADACHE, [name])
                    connection.commit()

        threads = [threading.Thread(target=refresh, args=(name,)) for name in ("Headache", "Pain in head")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until_indexed(db)
        check_as_fresh(db)
        assert "many 400" in wanted_texts(db)
        assert running.of("error") == running.of("warning") == []
    assert max(Counter(endpoint.texts).values()) == 1
