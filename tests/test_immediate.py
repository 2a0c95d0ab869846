"""Immediate mode: small changes are searchable when their transaction ends; no writer fails because of the endpoint."""

import threading
import time

import psycopg
import pytest

from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint

INSERT = """
    INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
        concept_code)
    SELECT 7000 + i, 'at once ' || i, 'Condition', 'SNOMED', 'Clinical Finding', 'S', i::text
    FROM generate_series(1, %s) i"""


@pytest.fixture
def immediate(indexed: psycopg.Connection) -> psycopg.Connection:
    """Give a connection to an indexed database whose configuration indexes up to three concepts at once."""
    indexed.execute("UPDATE omop_emb.config SET immediate_rows = 3, query_prefix = document_prefix")
    return indexed


def found(connection: psycopg.Connection, text: str) -> bool:
    row = connection.execute(
        "SELECT similarity FROM omop_emb_search(%s, 1, mode => 'semantic') WHERE concept_name = %s", [text, text]
    ).fetchone()
    return row is not None and row[0] == pytest.approx(1)


def pending(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pending FROM omop_emb.status").fetchone()
    assert row is not None
    return int(row[0])


def test_small_statements_are_searchable_before_and_after_commit(
    immediate: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    with immediate.transaction():
        immediate.execute(INSERT, [3])
        assert found(immediate, "at once 3")
        assert not found(connect(), "at once 3")
    assert found(connect(), "at once 3")
    assert immediate.execute("SELECT count(*) FROM omop_emb.queue").fetchone() == (0,)
    assert pending(immediate) == 0
    immediate.execute("UPDATE cdm.concept SET concept_name = 'renamed' WHERE concept_id = 7001")
    assert found(immediate, "renamed")
    immediate.execute("INSERT INTO cdm.concept_synonym VALUES (7001, 'another word', 0)")
    assert immediate.execute("SELECT matched_text FROM omop_emb_search('another word', 1)").fetchone() == (
        "another word",
    )
    endpoint.requests.clear()
    with immediate.transaction(force_rollback=True):
        immediate.execute("UPDATE cdm.concept SET concept_name = 'rolled back' WHERE concept_id = 7001")
    assert not found(immediate, "rolled back")
    immediate.execute("DELETE FROM cdm.concept WHERE concept_id = 7001")
    assert not found(immediate, "renamed")
    assert immediate.execute("SELECT count(*) FROM omop_emb.job").fetchone() == (0,)


def test_large_statements_are_queued(immediate: psycopg.Connection, endpoint: Endpoint) -> None:
    immediate.execute(INSERT, [4])
    assert endpoint.requests == []
    assert pending(immediate) == 4


@pytest.mark.parametrize("way", ["refused", "500", "hangs", "nonsense"])
def test_a_bad_endpoint_costs_a_warning_and_a_second(
    immediate: psycopg.Connection, endpoint: Endpoint, way: str
) -> None:
    answers = {
        "500": Answer(status=500),
        "hangs": Answer(delay=4),
        "nonsense": Answer(body=b"<html>"),
    }
    if way == "refused":
        immediate.execute("UPDATE omop_emb.config SET api_base = 'http://127.0.0.1:9/v1'")
    else:
        endpoint.respond = lambda _: answers[way]
    warnings: list[str | None] = []
    immediate.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    immediate.execute("SET statement_timeout = '1500ms'")
    started = time.monotonic()
    immediate.execute(INSERT, [1])
    assert time.monotonic() - started < 1.5
    immediate.execute("RESET statement_timeout")
    assert len(warnings) == 1
    assert "queued, not indexed at once" in str(warnings[0])
    assert immediate.execute("SELECT count(*) FROM cdm.concept WHERE concept_id = 7001").fetchone() == (1,)
    assert pending(immediate) == 1
    endpoint.respond = lambda _: None
    immediate.execute("UPDATE omop_emb.config SET api_base = %s", [endpoint.url])
    immediate.execute("SELECT omop_emb_index()")
    assert found(immediate, "at once 1")


def test_a_writer_does_not_wait_for_an_index_run_or_another_writer(
    immediate: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    other = connect()
    with other.transaction():
        other.execute(INSERT, [1])
        immediate.execute("UPDATE cdm.concept SET concept_name = 'meanwhile' WHERE concept_id = 378253")
        assert "doc: meanwhile" not in endpoint.texts
    assert pending(immediate) == 1

    endpoint.respond = lambda _: Answer(delay=1) if len(endpoint.requests) == 1 else None
    endpoint.requests.clear()
    running = threading.Thread(target=lambda: other.execute("SELECT omop_emb_index()"))
    running.start()
    while not endpoint.requests:
        time.sleep(0.01)
    started = time.monotonic()
    immediate.execute("UPDATE cdm.concept SET concept_name = 'while it runs' WHERE concept_id = 7001")
    assert time.monotonic() - started < 0.5
    running.join()


def test_isolation_levels_that_cannot_index_only_queue(immediate: psycopg.Connection, endpoint: Endpoint) -> None:
    endpoint.requests.clear()
    immediate.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    with immediate.transaction():
        immediate.execute(INSERT, [1])
    immediate.isolation_level = None
    assert endpoint.requests == []
    assert pending(immediate) == 1
