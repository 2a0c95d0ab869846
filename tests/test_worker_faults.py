"""Workers that are killed, stopped or held up, and databases that go away under them: nothing lost, nothing twice."""

import random
import signal
import threading
import time
from collections import Counter

import psycopg
import pytest

from omop_emb.configuration import configure
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint
from tests.test_index import MANY, SETTINGS
from tests.working import (
    Command,
    check_as_fresh,
    check_no_text_in_two_jobs,
    command,
    leased_texts,
    slowly,
    wait_until,
    wait_until_indexed,
    worker,
)


def wait_for_requests(endpoint: Endpoint, count: int) -> None:
    wait_until(lambda: len(endpoint.requests) >= count)


@pytest.fixture
def many(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with 600 concepts more and a configuration with batches of 4, not indexed."""
    db.execute(MANY, [600])
    configure(db, "test", {"api_base": endpoint.url, "dimensions": 8, "batch_size": 4, **SETTINGS})
    return db


def test_killed_at_random_points(dsn: str, many: psycopg.Connection, endpoint: Endpoint) -> None:
    endpoint.respond = slowly(0.03)
    generator = random.Random(5)
    may_be_asked_again: set[str] = set()
    for _ in range(5):
        with command(dsn, "worker", "--json", "--lease", "1") as running:
            # Also before it has asked for anything.
            wanted = len(endpoint.requests) + generator.choice([0, 3, 10])
            running.wait_for("started")
            wait_for_requests(endpoint, wanted)
            time.sleep(generator.uniform(0, 0.05))
            running.process.kill()
            running.ended()
        may_be_asked_again |= leased_texts(many)
        check_no_text_in_two_jobs(many)
    assert many.execute("SELECT count(*) > 20 FROM omop_emb.job").fetchone() == (True,)
    with worker(dsn, "--lease", "1") as running:
        wait_until_indexed(many)
        assert running.of("warning") == running.of("error") == []
        assert running.stop() == 143
    check_as_fresh(many)
    twice = {text.removeprefix("doc: ") for text, times in Counter(endpoint.texts).items() if times > 1}
    assert twice <= may_be_asked_again


def leases(db: psycopg.Connection) -> int:
    row = db.execute("SELECT count(*) FROM omop_emb.job WHERE worker IS NOT NULL").fetchone()
    assert row
    return int(row[0])


def stop_in_time(running: Command, number: int) -> None:
    """Check that a command ends cleanly within 2 s."""
    called = time.monotonic()
    status = running.stop(number)
    assert time.monotonic() - called < 2
    assert status == (143 if number == signal.SIGTERM else 1)
    assert "Traceback" not in running.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_the_endpoint_hangs(dsn: str, many: psycopg.Connection, endpoint: Endpoint, number: int) -> None:
    def hang_after_ten(_: object) -> Answer | None:
        return Answer(delay=20) if len(endpoint.requests) > 10 else None

    endpoint.respond = hang_after_ten
    for arguments in (["worker", "--json"], ["index"]):
        all_under_way = max(len(endpoint.requests), 10) + 4
        with command(dsn, *arguments) as running:
            wait_for_requests(endpoint, all_under_way)
            stop_in_time(running, number)
        assert leases(many) == 0
    answered = {text for request in endpoint.requests[:10] for text in request["input"]}
    assert many.execute("SELECT count(*) FROM omop_emb.embedding_1").fetchone() == (len(answered),)
    endpoint.respond = slowly(0)
    with worker(dsn):
        wait_until_indexed(many)
    check_as_fresh(many)
    times = Counter(endpoint.texts)
    assert all(times[text] == 1 for text in answered)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_it_waits_for_the_database(
    dsn: str, many: psycopg.Connection, connect: Connect, endpoint: Endpoint, number: int
) -> None:
    """The table of the vectors is locked, as by CREATE INDEX: neither is the signal lost nor are the leases kept."""
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%merge_staged%'"
    with worker(dsn) as running, connect(autocommit=False) as locker:
        wait_until(lambda: endpoint.requests)
        locker.execute("LOCK TABLE omop_emb.embedding_1 IN SHARE MODE")
        wait_until(lambda: many.execute(waits).fetchall())
        stop_in_time(running, number)
        assert leases(many) == 0
    with worker(dsn):
        wait_until_indexed(many)
    check_as_fresh(many)


def stopped_between_statements(running: Command, db: psycopg.Connection) -> bool:
    """Stop it, but not in the middle of a COPY, which nothing but its end ends."""
    running.process.send_signal(signal.SIGSTOP)
    others = "SELECT state, query FROM pg_stat_activity WHERE application_name = 'omop_emb'"
    wait_until(lambda: all(state != "active" or "COPY" in query for state, query in db.execute(others)))
    if all(state != "active" for state, _ in db.execute(others)):
        return True
    running.process.send_signal(signal.SIGCONT)
    return False


def test_a_lease_that_expires_while_its_owner_is_stopped(
    dsn: str, many: psycopg.Connection, endpoint: Endpoint
) -> None:
    endpoint.respond = slowly(0.05)
    with worker(dsn, "--lease", "1") as stopped:
        wait_for_requests(endpoint, 8)
        wait_until(lambda: stopped_between_statements(stopped, many))
        may_be_asked_again = leased_texts(many)
        with worker(dsn, "--lease", "1") as other:
            wait_until_indexed(many)
            assert other.of("warning") == []
            # What it was answered before it was stopped.
            stopped.process.send_signal(signal.SIGCONT)
            assert "had expired" in stopped.wait_for("warning")["message"]
        check_as_fresh(many)
        twice = {text.removeprefix("doc: ") for text, times in Counter(endpoint.texts).items() if times > 1}
        assert twice
        assert twice <= may_be_asked_again
        many.execute("UPDATE cdm.concept SET concept_name = 'new name' WHERE concept_id = 378253")
        wait_until_indexed(many)
        check_as_fresh(many)
        assert stopped.stop() == 143
        assert stopped.of("error") == []


def test_several_workers_share_the_work(dsn: str, many: psycopg.Connection, endpoint: Endpoint) -> None:
    all_at_work = threading.Event()

    def respond(_: object) -> None:
        all_at_work.wait(20)
        time.sleep(0.02)

    endpoint.respond = respond
    with worker(dsn) as first, worker(dsn) as second, command(dsn, "index", "--json") as once:
        wait_for_requests(endpoint, 3 * 4)
        all_at_work.set()
        many.execute("SELECT omop_emb_index(ARRAY[378253])")
        many.execute("CALL omop_emb_index_pending(NULL)")
        assert once.ended() == 0
        wait_until_indexed(many)
        check_as_fresh(many)
        assert len(endpoint.texts) == len(set(endpoint.texts)) == 616
        embedded = [sum(event["embedded"] for event in running.of("embedded")) for running in (first, second)]
        assert min(embedded) > 0
