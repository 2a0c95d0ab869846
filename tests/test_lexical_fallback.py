"""When the endpoint is down: an error at once or, where the configuration allows it, marked answers from letters."""

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint

COLUMNS = "rank, concept_id, similarity, matched_text, matched_kind, semantic_rank, lexical_rank"
CALLS = (
    "SELECT * FROM omop_emb_search('hedache'{})",
    "SELECT * FROM omop_emb_search('hedache', mode => 'semantic'{})",
    "SELECT * FROM omop_emb_search_batch('{{hedache,fever}}'{})",
    "SELECT * FROM omop_emb_search_batch('{{hedache,fever}}', mode => 'semantic'{})",
    "SELECT * FROM omop_emb_map('{{hedache}}'{})",
    "SELECT * FROM omop_emb_map('{{hedache}}', mode => 'semantic'{})",
)


@pytest.fixture
def down(indexed: psycopg.Connection) -> psycopg.Connection:
    """Give a database whose endpoint refuses connections, and that may answer by letters."""
    indexed.execute("UPDATE omop_emb.config SET api_base = 'http://127.0.0.1:1/v1', lexical_fallback = true")
    return indexed


def heard(db: psycopg.Connection) -> list[tuple[str | None, str, str]]:
    notices: list[tuple[str | None, str, str]] = []

    def keep(notice: psycopg.errors.Diagnostic) -> None:
        notices.append((notice.severity, str(notice.message_primary), str(notice.message_hint)))

    db.add_notice_handler(keep)
    return notices


def rows(db: psycopg.Connection, call: str) -> list[Any]:
    return db.execute(call.encode()).fetchall()


def test_without_it_a_refused_connection_is_an_error_at_once(down: psycopg.Connection) -> None:
    down.execute("UPDATE omop_emb.config SET lexical_fallback = DEFAULT")
    for call in (*CALLS, "SELECT omop_emb_embed_query('hedache')"):
        started = time.monotonic()
        with pytest.raises(psycopg.Error, match=r"127\.0\.0\.1:1") as raised:
            rows(down, call.format(""))
        assert raised.value.diag.sqlstate == "OE003"
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("mode", ["hybrid", "semantic"])
def test_answers_are_marked_and_said_to_be_so(down: psycopg.Connection, mode: str) -> None:
    notices = heard(down)
    started = time.monotonic()
    found = rows(down, f"SELECT {COLUMNS} FROM omop_emb_search('hart attack', mode => '{mode}')")
    assert time.monotonic() - started < 1
    assert [row[0] for row in found] == [row[6] for row in found] == list(range(1, len(found) + 1))
    assert found[0][1:2] + found[0][3:] == (4329847, "Heart attack", "lexical", None, 1)
    assert {row[4] for row in found} == {"lexical"}
    assert {row[5] for row in found} == {None}
    assert [row[2] for row in found] == sorted((row[2] for row in found), reverse=True)
    assert all(0 < row[2] <= 1 for row in found)
    ((severity, message, hint),) = notices
    assert severity == "WARNING"
    assert "these answers compare letters, not meaning" in message
    assert "127.0.0.1:1" in message
    assert "hart" not in message
    assert "'lexical'" in hint

    exact = rows(down, f"SELECT {COLUMNS} FROM omop_emb_search('c 02', mode => '{mode}')")
    assert exact[0] == (1, 21604254, 1.0, "C02", "lexical", None, 1)
    assert rows(down, "SELECT * FROM omop_emb_search('zzzzzz')") == []
    with pytest.raises(psycopg.Error) as raised:
        rows(down, "SELECT omop_emb_embed_query('rash')")
    assert raised.value.diag.sqlstate == "OE003"
    assert len(rows(down, "SELECT * FROM omop_emb_similar(4329847, 3)")) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", [312327, 35207668, 4329847]),
        (", standard_only => true", [312327, 4329847]),
        (", vocabularies => '{ICD10CM}'", [35207668]),
        (", domains => '{Drug}'", []),
        (", concept_classes => '{Ingredient}'", []),
        (", ancestor_concept_id => 4329847", [312327, 4329847]),
        (", ancestor_concept_id => 4329847, vocabularies => '{ICD10CM}'", []),
    ],
)
def test_filters_are_kept(down: psycopg.Connection, arguments: str, expected: list[int]) -> None:
    for mode in ("hybrid", "semantic"):
        given = f", mode => '{mode}'" + arguments
        found = rows(down, f"SELECT concept_id FROM omop_emb_search('acute myocardial infarct', 10{given})")
        assert [row[0] for row in found][: len(expected)] == expected
        assert bool(found) == bool(expected)
        assert found[:1] == rows(down, f"SELECT concept_id FROM omop_emb_search('acute myocardial infarct', 1{given})")
    down.execute("UPDATE omop_emb.config SET synonyms = false")
    down.execute("SELECT omop_emb.reconcile()")
    texts = rows(down, "SELECT matched_text FROM omop_emb_search('heart attack', 20)")
    assert ("Heart attack",) not in texts


def test_batch_and_map(down: psycopg.Connection) -> None:
    notices = heard(down)
    queries = "ARRAY['hart attack', NULL, 'I21', '', 'zzzzzz', 'I21']"
    for mode in ("hybrid", "semantic"):
        found = rows(
            down,
            "SELECT query_no, query, concept_id, matched_kind, semantic_rank, lexical_rank"
            f" FROM omop_emb_search_batch({queries}, 1, mode => '{mode}')",
        )
        assert found == [
            (1, "hart attack", 4329847, "lexical", None, 1),
            (3, "I21", 35207668, "lexical", None, 1),
            (6, "I21", 35207668, "lexical", None, 1),
        ]
        mapped = rows(
            down,
            "SELECT query_no, concept_id, matched_kind, standard_concept_id"
            f" FROM omop_emb_map({queries}, mode => '{mode}')",
        )
        nothing = (None, None, None)
        assert mapped == [
            (1, 4329847, "lexical", 4329847), (2, *nothing), (3, 35207668, "lexical", 312327), (4, *nothing),
            (5, *nothing), (6, 35207668, "lexical", 312327),
        ]  # fmt: skip
    assert [severity for severity, *_ in notices] == ["WARNING"] * 12
    for said in (notices[start : start + 3] for start in range(0, 12, 3)):
        assert "letters, not meaning" in said[0][1]
        assert [message for _, message, _ in said[1:]] == [
            f"query {number} of 6 cannot be embedded: the text to embed is empty" for number in (2, 4)
        ]


def test_an_endpoint_that_breaks_down_on_the_way(
    down: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    """A batch whose first requests were answered falls back as a whole; a remembered query needs no endpoint."""
    down.execute("UPDATE omop_emb.config SET api_base = %s, batch_size = 1, max_retries = 0", [endpoint.url])
    known = rows(down, "SELECT * FROM omop_emb_search('known', 3)")
    answers = iter([None])
    endpoint.respond = lambda _: next(answers, Answer(hang_up=True))
    found = rows(down, "SELECT DISTINCT matched_kind FROM omop_emb_search_batch('{headache,heart attack}', 3)")
    assert found == [("lexical",)]
    assert rows(connect(), "SELECT * FROM omop_emb_search('known', 3)") == known
    endpoint.respond = lambda _: None
    kinds = rows(down, "SELECT DISTINCT matched_kind FROM omop_emb_search('headache')")
    assert ("lexical",) not in kinds


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_endpoint_that_is_too_busy_is_asked_again_for_a_second(
    down: psycopg.Connection, endpoint: Endpoint, status: int
) -> None:
    down.execute("UPDATE omop_emb.config SET api_base = %s, max_retries = 100", [endpoint.url])
    endpoint.respond = lambda _: Answer(status, b"busy")
    for call in CALLS:
        started = time.monotonic()
        assert rows(down, f"SELECT DISTINCT matched_kind FROM ({call.format('')}) f") == [("lexical",)]
        assert time.monotonic() - started < 2.5
    answers = [Answer(status, b"busy")] * (status != 408)
    endpoint.respond = lambda _: answers.pop() if answers else None
    kinds = rows(down, "SELECT DISTINCT matched_kind FROM omop_emb_search('rash')")
    assert ("lexical",) not in kinds


def test_without_an_answer_from_letters_it_is_waited_for(down: psycopg.Connection, endpoint: Endpoint) -> None:
    """Vectors of queries for their own sake, and those of documents."""
    down.execute("UPDATE omop_emb.config SET api_base = %s", [endpoint.url])
    for call in (
        "SELECT omop_emb_embed_query('rash')",
        "SELECT * FROM omop_emb.embed_texts('test', 'query', '{rash}')",
        "SELECT omop_emb_embed_document('rash')",
    ):
        answers = [Answer(503, b"busy", {"Retry-After": "1.1"})]
        endpoint.respond = lambda _, answers=answers: answers.pop() if answers else None  # type: ignore[misc]
        assert len(rows(down, call)) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_a_refusal_is_an_error_that_somebody_has_to_see(
    down: psycopg.Connection, endpoint: Endpoint, status: int
) -> None:
    down.execute("UPDATE omop_emb.config SET api_base = %s", [endpoint.url])
    endpoint.respond = lambda _: Answer(status, b"not for you")
    for call in CALLS:
        with pytest.raises(psycopg.Error, match=f"HTTP {status}: not for you") as raised:
            rows(down, call.format(""))
        assert raised.value.diag.sqlstate == "OE003"


def test_a_key_that_is_not_set_is_an_error_too(down: psycopg.Connection) -> None:
    down.execute("UPDATE omop_emb.config SET api_key_name = 'OMOP_EMB_NOT_SET'")
    for call in CALLS:
        with pytest.raises(psycopg.Error, match="OMOP_EMB_NOT_SET") as raised:
            rows(down, call.format(""))
        assert raised.value.diag.sqlstate == "OE003"


@pytest.mark.parametrize("call", CALLS)
def test_timeouts_and_cancels_end_it(down: psycopg.Connection, connect: Connect, endpoint: Endpoint, call: str) -> None:
    down.execute("UPDATE omop_emb.config SET api_base = %s", [endpoint.url])
    endpoint.respond = lambda _: Answer(delay=2)
    session = connect()
    session.execute("SET statement_timeout = '300ms'")
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        rows(session, call.format(""))
    assert time.monotonic() - started < 0.9
    session.execute("RESET statement_timeout")
    started = time.monotonic()
    timer = threading.Timer(0.2, session.cancel)
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        rows(session, call.format(""))
    timer.join()
    assert time.monotonic() - started < 0.9


def test_other_errors_are_not_answered_over(down: psycopg.Connection, endpoint: Endpoint) -> None:
    bad = ((", k => 0", "OE005"), (", domains => '{NULL}'", "OE005"), (", config => 'none'", "OE002"))
    for arguments, state in bad:
        for call in CALLS:
            with pytest.raises(psycopg.Error) as raised:
                rows(down, call.format(arguments))
            assert raised.value.diag.sqlstate == state
    for text in ("", " \t", "x" * 32769):
        with pytest.raises(psycopg.Error) as raised:
            down.execute("SELECT * FROM omop_emb_search(%s)", [text])
        assert raised.value.diag.sqlstate == "OE005"
    down.execute("UPDATE omop_emb.config SET api_base = %s, max_retries = 0", [endpoint.url])
    for body in (b"not json", b'{"data": []}'):
        endpoint.respond = lambda _, body=body: Answer(200, body)  # type: ignore[misc]
        for call in CALLS:
            with pytest.raises(psycopg.Error) as raised:
                rows(down, call.format(""))
            assert raised.value.diag.sqlstate == "OE004"
    # What a restore of another table would leave.
    down.execute("ALTER TABLE omop_emb.config DISABLE TRIGGER USER")
    down.execute("UPDATE omop_emb.config SET document_prefix = 'other: '")
    for call in CALLS:
        with pytest.raises(psycopg.Error) as raised:
            rows(down, call.format(""))
        assert raised.value.diag.sqlstate == "OE001"


def test_a_reader_gets_the_same_in_a_read_only_transaction(down: psycopg.Connection, connect: Connect) -> None:
    expected = [rows(down, call.format("")) for call in CALLS]
    assert all(expected)
    down.execute("DROP ROLE IF EXISTS a_fallback_reader")
    down.execute("CREATE ROLE a_fallback_reader LOGIN IN ROLE omop_emb_reader")
    reader = connect(user="a_fallback_reader")
    try:
        reader.execute("SET default_transaction_read_only = on")
        assert [rows(reader, call.format("")) for call in CALLS] == expected
    finally:
        reader.close()
        down.execute("DROP ROLE a_fallback_reader")
