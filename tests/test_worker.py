"""The worker finds what changed, soon, however it came about, and works with the schema that it knows only."""

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from omop_emb.configuration import configure
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint, running_endpoint
from tests.test_index import SETTINGS
from tests.working import Command, check_as_fresh, command, wait_until, wait_until_indexed, worker

RENAME = "UPDATE cdm.concept SET concept_name = %s WHERE concept_id = 378253"
SOON = 3.0


@pytest.fixture
def db(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    configure(db, "test", {"api_base": endpoint.url, "dimensions": 8, **SETTINGS})
    return db


def asked_for(endpoint: Endpoint, name: str) -> Callable[[], bool]:
    return lambda: f"doc: {name}" in endpoint.texts


def test_it_is_woken(db: psycopg.Connection, dsn: str, connect: Connect, endpoint: Endpoint) -> None:
    """Long before it would look by itself."""
    with worker(dsn, "--poll", "600", "--compare", "600") as running:
        wait_until_indexed(db)
        for statement in (
            "INSERT INTO cdm.concept_synonym VALUES (378253, 'Sore head', 0)",
            "UPDATE cdm.concept SET concept_name = 'Pain in head' WHERE concept_id = 378253",
            "DELETE FROM cdm.concept WHERE concept_id = 4237458",
            "UPDATE cdm.concept SET invalid_reason = NULL WHERE concept_id = 45571652",
            "TRUNCATE cdm.concept_synonym",
        ):
            db.execute(statement.encode())
            wait_until_indexed(db, SOON)
            check_as_fresh(db)

        # A change of what is queued already, which the round that it was queued for cannot see yet.
        running.process.send_signal(signal.SIGSTOP)
        db.execute(RENAME, ["first"])
        with connect(autocommit=False) as other:
            other.execute("INSERT INTO cdm.concept_synonym VALUES (378253, 'second', 0)")
            running.process.send_signal(signal.SIGCONT)
            wait_until(asked_for(endpoint, "first"), SOON)
        wait_until_indexed(db, SOON)
        check_as_fresh(db)

        # While it has no connection, nobody tells it.
        running.process.send_signal(signal.SIGSTOP)
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'omop_emb'")
        db.execute(RENAME, ["while it was away"])
        running.process.send_signal(signal.SIGCONT)
        wait_until_indexed(db, SOON)
        check_as_fresh(db)

        configure(db, "second", {"api_base": endpoint.url, "dimensions": 8, **SETTINGS, "document_prefix": "second: "})
        wait_until_indexed(db, SOON)
        check_as_fresh(db, config="second", prefix="second: ")
        assert running.of("error") == running.of("warning") == []
        assert running.stop() == 143
        assert running.stderr == ""
    assert running.events[0]["configurations"] == ["test"]
    for event in running.events:
        assert datetime.fromisoformat(event["time"]).tzinfo
    embedded: list[dict[str, Any]] = running.of("embedded")
    assert sum(event["embedded"] for event in embedded) == len(endpoint.texts)
    assert len(endpoint.texts) == len(set(endpoint.texts))


def test_it_looks_by_itself(db: psycopg.Connection, dsn: str) -> None:
    db.execute("SELECT omop_emb_index()")
    db.execute("ALTER TABLE cdm.concept DISABLE TRIGGER USER")
    with worker(dsn, "--poll", "0.2"):
        db.execute(RENAME, ["queued without a word"])
        db.execute("INSERT INTO omop_emb.queue (concept_ids) VALUES ('{[378253,378254)}')")
        wait_until_indexed(db, SOON)
        check_as_fresh(db)
    with worker(dsn, "--poll", "600", "--compare", "1"):
        db.execute(RENAME, ["past the triggers"])
        wait_until_indexed(db, 1 + SOON)
        check_as_fresh(db)


def processor_seconds(running: Command) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_configuration_that_fails_holds_up_no_other(db: psycopg.Connection, dsn: str, endpoint: Endpoint) -> None:
    with running_endpoint() as other, worker(dsn, "--poll", "600") as running:
        wait_until_indexed(db)
        other.respond = lambda _: Answer(401)
        settings = {"api_base": other.url, "dimensions": 8, **SETTINGS, "document_prefix": "second: "}
        configure(db, "second", settings)
        said = running.wait_for("error", 2)
        assert (said["config"], said["next_attempt_seconds"]) == ("second", 1.0)
        assert "HTTP 401" in said["message"]
        db.execute(RENAME, ["meanwhile"])
        wait_until(asked_for(endpoint, "meanwhile"), SOON)
        other.respond = lambda _: None
        wait_until_indexed(db)
        check_as_fresh(db, config="second", prefix="second: ")
        other.respond = lambda _: Answer(401)
        count = len(running.of("error"))
        db.execute(RENAME, ["and again"])
        assert running.wait_for("error", count + 1)["next_attempt_seconds"] == 0.5
        db.execute("SELECT omop_emb.drop_config('second')")
        wait_until_indexed(db)
        # It does not go on looking whether the next attempt is due.
        time.sleep(1)
        before = processor_seconds(running)
        time.sleep(1)
        assert processor_seconds(running) - before < 0.2
        check_as_fresh(db)


@pytest.mark.parametrize(("revision", "advice"), [("0001", "migrate to upgrade"), ("9999", "Use the version of omop")])
def test_another_schema_is_refused(db: psycopg.Connection, dsn: str, revision: str, advice: str) -> None:
    with worker(dsn, "--poll", "600") as running:
        wait_until_indexed(db)
        db.execute("UPDATE omop_emb.alembic_version SET version_num = %s", [revision])
        db.execute(RENAME, ["not to be touched"])
        with command(dsn, "worker", "--json") as late:
            for refused in (running, late):
                assert refused.ended() == 1
                error, hint = refused.stderr.splitlines()
                assert error.startswith(f"error: the database has schema revision {revision}, ")
                assert advice in hint
            assert late.events == []
    assert db.execute("SELECT count(*) FROM omop_emb.queue").fetchone() == (1,)
