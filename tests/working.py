"""Workers as processes of their own, and what an index must look like when they are done."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from tests.endpoint import vector_for

Event = dict[str, Any]


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return what the condition returns, as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def slowly(seconds: float) -> Callable[[object], None]:
    """Return what makes an endpoint take so long for each request."""

    def respond(_: object) -> None:
        time.sleep(seconds)

    return respond


class Command:
    """An ``omop-emb-admin`` command in a process of its own; what a worker says is in ``events`` as it comes."""

    def __init__(self, dsn: str, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "OMOP_EMB_"))}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "omop_emb.cli", "--dsn", dsn, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self.events: list[Event] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def of(self, event: str) -> list[Event]:
        """Return the events of that name."""
        return [said for said in self.events if said["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> Event:
        """Wait for an event, or for so many of it, and return the last."""
        wait_until(lambda: len(self.of(event)) >= count or self.process.poll() is not None)
        assert len(self.of(event)) >= count, self.stderr
        return self.of(event)[count - 1]

    @property
    def stderr(self) -> str:
        """What it has written to stderr."""
        self._said.seek(0)
        return self._said.read()

    def ended(self, seconds: float = 20.0) -> int:
        """Return the exit status once it has ended, with everything that it said read."""
        status = self.process.wait(seconds)
        self._reader.join()
        return status

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.ended(seconds)

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        assert self.process.stdout
        self.process.stdout.close()
        self._said.close()


@contextmanager
def command(dsn: str, *arguments: str) -> Iterator[Command]:
    """Run a command; it is killed at the end of the block when it is still there."""
    running = Command(dsn, *arguments)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def worker(dsn: str, *options: str) -> Iterator[Command]:
    """Run a worker that is at work."""
    with command(dsn, "worker", "--json", *options) as running:
        running.wait_for("started")
        yield running


def pending(db: psycopg.Connection) -> int:
    """Return how many concepts of all configurations have a text without a vector, plus what is queued."""
    row = db.execute(
        "SELECT (SELECT coalesce(sum(s.pending + s.stale), 0) FROM omop_emb.status s)"
        " + (SELECT count(*) FROM omop_emb.job) + (SELECT count(*) FROM omop_emb.queue)"
    ).fetchone()
    assert row
    return int(row[0])


def wait_until_indexed(db: psycopg.Connection, seconds: float = 20.0) -> None:
    """Wait until nothing is pending in any configuration and the HNSW indexes are valid."""
    wait_until(
        lambda: (
            not pending(db) and db.execute("SELECT bool_and(index_valid) FROM omop_emb.status").fetchone() == (True,)
        ),
        seconds,
    )


def stored(db: psycopg.Connection, config: str = "test") -> dict[bytes, tuple[bool, list[float]]]:
    """Return live or not, and the vector, by the hash of the text."""
    row = db.execute("SELECT config_id FROM omop_emb.config WHERE name = %s", [config]).fetchone()
    assert row
    statement = "SELECT text_hash, live, embedding::real[] FROM omop_emb.{}"
    rows = db.execute(sql.SQL(statement).format(sql.Identifier(f"embedding_{row[0]}")))
    return {key: (live, vector) for key, live, vector in rows}


def wanted_texts(db: psycopg.Connection) -> set[str]:
    """Return the texts that a configuration of everything indexes, by the vocabulary alone."""
    rows = db.execute(
        "SELECT concept_name FROM cdm.concept WHERE coalesce(invalid_reason, '') = ''"
        " UNION SELECT s.concept_synonym_name FROM cdm.concept_synonym s JOIN cdm.concept c USING (concept_id)"
        " WHERE coalesce(c.invalid_reason, '') = ''"
    )
    return {row[0] for row in rows}


def check_as_fresh(
    db: psycopg.Connection, *, config: str = "test", prefix: str = "doc: ", texts: set[str] | None = None
) -> None:
    """Check that the index is what a fresh build makes of the vocabulary, and that no work is left over.

    Each wanted text (``texts`` where that is not all of them) must have one vector, the endpoint's for it.
    """
    texts = wanted_texts(db) if texts is None else texts
    expected = {
        hashlib.sha256(text.encode()).digest(): array("f", vector_for(prefix + text, 8)).tolist() for text in texts
    }
    found = {key: vector for key, (live, vector) in stored(db, config).items() if live}
    assert found.keys() == expected.keys()
    for key, vector in expected.items():
        assert array("f", found[key]).tolist() == vector
    assert db.execute("TABLE omop_emb.job").fetchall() == []
    assert db.execute("TABLE omop_emb.queue").fetchall() == []
    for mirror, source in (
        ("omop_emb.concept", "SELECT * FROM omop_emb.vocabulary_concept(NULL)"),
        ("(SELECT concept_id, kind, text, config_id FROM omop_emb.term)",
         "SELECT concept_id, kind, text, config_id FROM omop_emb.vocabulary_term(NULL)"),
    ):  # fmt: skip
        difference = "(SELECT * FROM {0} m EXCEPT {1}) UNION ALL ({1} EXCEPT SELECT * FROM {0} m)"
        assert db.execute(sql.SQL(difference).format(sql.SQL(mirror), sql.SQL(source))).fetchall() == []
    invalid = "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid"
    assert db.execute(invalid).fetchall() == []
    row = db.execute("SELECT pending, stale, index_valid FROM omop_emb.status WHERE name = %s", [config]).fetchone()
    assert row == (0, 0, True)


def check_no_text_in_two_jobs(db: psycopg.Connection) -> None:
    """Check that every text of a configuration is in one job at most."""
    twice = db.execute(
        "SELECT j.config_id, h FROM omop_emb.job j, unnest(j.text_hashes) h GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert twice.fetchall() == []


def leased_texts(db: psycopg.Connection) -> set[str]:
    """Return the texts of the jobs that somebody has."""
    rows = db.execute(
        "SELECT DISTINCT t.text FROM omop_emb.job j, unnest(j.text_hashes) h JOIN omop_emb.term t ON t.text_hash = h"
        " WHERE j.worker IS NOT NULL"
    )
    return {row[0] for row in rows}
