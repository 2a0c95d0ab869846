"""Endpoints that die, hang, are busy, answer nonsense or stumble over one text."""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import psycopg
import pytest

from omop_emb import indexing
from omop_emb.configuration import configure
from omop_emb.errors import OmopEmbError
from tests.endpoint import Answer, Endpoint, running_endpoint, vector_for
from tests.test_index import MANY, SETTINGS
from tests.working import check_as_fresh, slowly, wait_until_indexed, worker

Request = dict[str, Any]
NAN = [float("nan")] * 8


@pytest.fixture
def db(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with 300 concepts more and a configuration with batches of 4, not indexed."""
    db.execute(MANY, [300])
    configure(db, "test", {"api_base": endpoint.url, "dimensions": 8, "batch_size": 4, **SETTINGS})
    return db


def change(db: psycopg.Connection, **settings: Any) -> None:
    configure(db, "test", settings)


def reply(request: Request, *, order: int = 1, count: int | None = None, vector: Any = None) -> Answer:
    """Answer with right vectors, but in another order, fewer, or with one of them replaced."""
    items = [
        {"index": index, "embedding": vector_for(text, 8) if vector is None or index else vector}
        for index, text in enumerate(request["input"])
    ]
    return Answer(body=json.dumps({"data": items[::order][:count]}).encode())


def test_every_kind_of_bad_answer_once_in_a_while(db: psycopg.Connection, endpoint: Endpoint) -> None:
    """Each batch is answered badly once; parts of it, and the harmless text that is tried in between, are not."""
    answers: list[Callable[[Request], Answer | None]] = [
        lambda _: Answer(500, b"out of memory"),
        lambda _: Answer(503),
        lambda _: Answer(429, headers={"Retry-After": "0.1"}),
        lambda _: Answer(200, b"<!DOCTYPE html><title>Welcome to nginx</title>"),
        lambda _: Answer(502, b"<html><h1>Bad gateway</h1></html>"),
        lambda request: reply(request, vector=NAN),
        lambda request: reply(request, count=3),
        lambda request: reply(request, order=-1),
        lambda _: Answer(hang_up=True),
        lambda _: Answer(200, b""),
        lambda request: reply(request, vector=[0.5] * 7),
        lambda _: Answer(200, b'{"data": [{"ind'),
        lambda _: None,
    ]
    kinds = itertools.cycle(answers)
    seen: set[tuple[str, ...]] = set()
    lock = threading.Lock()

    def respond(request: Request) -> Answer | None:
        with lock:
            texts = tuple(request["input"])
            if len(texts) < 4 or texts in seen:
                return None
            seen.add(texts)
            return next(kinds)(request)

    endpoint.respond = respond
    assert astuple(indexing.index(db)) == (316, 1, 0, 0, 0)
    assert db.execute("TABLE omop_emb.failures").fetchall() == []
    check_as_fresh(db)
    assert max(Counter(endpoint.texts[:-1]).values()) <= 40
    endpoint.requests.clear()
    assert astuple(indexing.index(db)) == (0, 0, 0, 0, 0)
    assert endpoint.requests == []


@pytest.mark.parametrize("way", ["hangs up", "hangs", "500", "HTML", "429"])
def test_it_fails_and_comes_back(db: psycopg.Connection, endpoint: Endpoint, way: str) -> None:
    """Meanwhile it is asked a few times only, and nothing that it answered is asked for again."""
    change(db, timeout_ms=400)
    answer = {
        "hangs up": Answer(hang_up=True),
        "hangs": Answer(delay=1),
        "500": Answer(500),
        "HTML": Answer(body=b"<p>"),
        # Longer than timeout_ms, within which requests are repeated.
        "429": Answer(429, headers={"Retry-After": "1.5"}),
    }[way]
    well: list[str] = []
    failing_since = [0.0]
    asked: list[float] = []

    def respond(request: Request) -> Answer | None:
        if len(well) < 40 or (asked and time.monotonic() - failing_since[0] > 2):
            well.extend(request["input"])
            return None
        failing_since[0] = failing_since[0] or time.monotonic()
        asked.append(time.monotonic())
        return answer

    endpoint.respond = respond
    warnings: list[str] = []
    done = indexing.index(db, warn=warnings.append)
    assert (done.embedded, done.failed, done.remaining) == (316, 0, 0)
    assert len(warnings) == 1
    assert warnings[0].endswith("; trying again")
    assert db.execute("TABLE omop_emb.failures").fetchall() == []
    check_as_fresh(db)
    # Those that were under way, each with its repetitions, then one at a time.
    assert len(asked) <= (8 if way == "429" else 60)
    assert max(Counter(text for text in well if text != "doc: diabetes").values()) == 1


def test_it_is_down_from_the_start(db: psycopg.Connection, endpoint: Endpoint) -> None:
    with running_endpoint() as dead:
        api_base = dead.url
    change(db, api_base=api_base)
    started = time.monotonic()
    with pytest.raises(OmopEmbError, match="connection refused"):
        indexing.index(db)
    assert time.monotonic() - started < 2
    assert db.execute("SELECT FROM omop_emb.job WHERE worker IS NOT NULL").fetchall() == []
    # One that is busy will do it.
    change(db, api_base=endpoint.url, timeout_ms=200)
    busy_until = time.monotonic() + 1
    endpoint.respond = lambda _: Answer(429, headers={"Retry-After": "0.5"}) if time.monotonic() < busy_until else None
    assert indexing.index(db).embedded == 316
    assert 4 < len(endpoint.requests) - 79 < 20
    check_as_fresh(db)


@pytest.mark.parametrize("way", ["400", "hangs up", "hangs"])
def test_a_poison_text(db: psycopg.Connection, dsn: str, endpoint: Endpoint, way: str) -> None:
    """It is found out, the rest of its batch lands in the same pass, and it is tried again less and less often."""
    change(db, timeout_ms=300)
    answer = {"400": Answer(400, b"no"), "hangs up": Answer(hang_up=True), "hangs": Answer(delay=0.6)}[way]
    poison = "doc: Essential hypertension"
    endpoint.respond = lambda request: answer if poison in request["input"] else None
    done = indexing.index(db, patience_seconds=10)
    assert (done.embedded, done.failed, done.remaining) == (315, 1, 0)
    failure = "SELECT text, attempts, extract(epoch FROM next_attempt - failed_at)::int / 60 FROM omop_emb.failures"
    assert db.execute(failure).fetchall() == [("Essential hypertension", 1, 1)]
    endpoint.requests.clear()
    assert astuple(indexing.index(db)) == (0, 0, 0, 0, 0)
    assert endpoint.requests == []
    assert indexing.index(db, retry_failed=True, patience_seconds=10).failed == 1
    assert db.execute(failure).fetchall() == [("Essential hypertension", 2, 2)]
    with worker(dsn, "--poll", "0.2") as running:
        db.execute("UPDATE omop_emb.failure SET next_attempt = now()")
        running.wait_for("embedded")
        assert running.of("embedded")[0]["failed"] == 1
        assert db.execute(failure).fetchall() == [("Essential hypertension", 3, 4)]
        endpoint.respond = lambda _: None
        db.execute("UPDATE omop_emb.failure SET next_attempt = now()")
        wait_until_indexed(db)
    assert db.execute("TABLE omop_emb.failures").fetchall() == []
    check_as_fresh(db)


def test_one_of_two_is_sick_for_a_while(db: psycopg.Connection, endpoint: Endpoint) -> None:
    db.execute("UPDATE cdm.concept SET concept_name = concept_name || ' too' WHERE concept_id > 5000")
    with running_endpoint() as other:
        change(db, further_api_bases=[other.url], timeout_ms=300)
        sick_until = [float("inf")]
        sick = 0

        def respond(_: Request) -> Answer | None:
            nonlocal sick
            if time.monotonic() < sick_until[0]:
                sick += 1
                return Answer(delay=0.6)
            return None

        other.respond = respond
        endpoint.respond = slowly(0.1)
        warnings: list[str] = []

        def show(step: str, done: int, total: int | None, note: str = "") -> None:
            if done > 20:
                sick_until[0] = 0.0

        done = indexing.index(db, show=show, warn=warnings.append)
        assert (done.embedded, done.failed, done.remaining) == (317, 0, 0)
        assert warnings == []
        # Two requests at the first moment, each with a harmless text after it, then one at a time.
        assert 2 <= sick <= 8
        answered = endpoint.texts + other.texts[sum(len(request["input"]) for request in other.requests[:sick]) :]
        assert len(other.requests) > sick, "it was not asked again"
        assert max(Counter(answered).values()) == 1
    check_as_fresh(db)
