"""What is sent to the endpoint and what becomes of its replies, on connections that are kept."""

import itertools
import json
import socket
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from omop_emb.configuration import configure
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint, vector_for
from tests.sockets import babbling

SETTINGS = {"model": "recorded", "dimensions": 8, "document_prefix": "doc: ", "query_prefix": "query: "}


@pytest.fixture
def configured(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with the active configuration 'test', nothing of it indexed."""
    configure(db, "test", {**SETTINGS, "api_base": endpoint.url})
    return db


def change(db: psycopg.Connection, **settings: object) -> None:
    """Change settings of the only configuration."""
    for name, value in settings.items():
        db.execute(sql.SQL("UPDATE omop_emb.config SET {} = %s").format(sql.Identifier(name)), [value])


def stored(db: psycopg.Connection) -> dict[str, list[float]]:
    """Return the vectors in the only configuration's table by text."""
    row = db.execute("SELECT 'embedding_' || config_id FROM omop_emb.config").fetchone()
    assert row
    query = sql.SQL(
        "SELECT DISTINCT t.text, e.embedding::text FROM omop_emb.{} e JOIN omop_emb.term t USING (text_hash)"
    ).format(sql.Identifier(row[0]))
    return {text: json.loads(vector) for text, vector in db.execute(query)}


def test_base64_and_float_replies_store_the_same_vectors(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    configured.execute("SELECT * FROM omop_emb_index()")
    from_base64 = stored(configured)
    configured.execute("SELECT omop_emb.discard('test')")
    endpoint.use_base64 = False
    configured.execute("SELECT * FROM omop_emb_index()")
    assert stored(configured) == from_base64
    assert len(from_base64) == 16
    for text, vector in from_base64.items():
        assert vector == pytest.approx(vector_for("doc: " + text, 8), abs=1e-6)


def test_replies_are_put_in_order_by_their_index(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    endpoint.change = lambda items: items[::-1]
    configured.execute("SELECT * FROM omop_emb_index()")
    assert len(stored(configured)) == 16
    for text, vector in stored(configured).items():
        assert vector == pytest.approx(vector_for("doc: " + text, 8), abs=1e-6)


def test_replies_without_an_index_are_taken_in_their_order(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    endpoint.change = lambda items: [{"embedding": item["embedding"]} for item in items]
    configured.execute("SELECT * FROM omop_emb_index()")
    for text, vector in stored(configured).items():
        assert vector == pytest.approx(vector_for("doc: " + text, 8), abs=1e-6)


def test_texts_are_sent_in_batches_of_batch_size(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    change(configured, batch_size=32, synonyms=False)
    configured.execute("DELETE FROM cdm.concept")
    configured.execute(
        "INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code)"
        " SELECT i, 'concept ' || i, 'Condition', 'SNOMED', 'Disorder', i FROM generate_series(1, 65) i"
    )
    assert configured.execute("SELECT * FROM omop_emb_index()").fetchone() == (65, 0, 0, 0, 0)
    assert [len(request["input"]) for request in endpoint.requests] == [32, 32, 1]
    assert endpoint.connections == 1


def test_a_session_keeps_its_connection(indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint) -> None:
    other = connect()
    endpoint.connections = 0
    for number in range(20):
        other.execute("SELECT * FROM omop_emb_search(%s)", [f"term {number}"])
    assert len(endpoint.requests) == 20
    assert endpoint.connections == 1


def test_a_repeated_query_asks_the_model_once(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    found = [indexed.execute("SELECT * FROM omop_emb_search('fever')").fetchall() for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert len(endpoint.requests) == 1


def test_a_connection_the_server_closed_is_replaced(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    change(indexed, max_retries=0)
    endpoint.close_idle = True
    endpoint.connections = 0
    for number in range(4):
        indexed.execute("SELECT * FROM omop_emb_search(%s)", [f"term {number}"])
        time.sleep(0.02)
    assert (len(endpoint.requests), endpoint.connections) == (4, 4)


def test_a_connection_that_closes_on_the_next_request_is_replaced(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    change(indexed, max_retries=0)
    indexed.execute("SELECT * FROM omop_emb_search('the first')")
    answers = [Answer(hang_up=True)]
    endpoint.respond = lambda _: answers.pop() if answers else None
    assert len(indexed.execute("SELECT * FROM omop_emb_search('the second')").fetchall()) == 10
    assert endpoint.texts == ["query: the first", "query: the second", "query: the second"]


def test_an_endpoint_that_always_hangs_up_is_unreachable(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    change(indexed, max_retries=1)
    endpoint.respond = lambda _: Answer(hang_up=True)
    with pytest.raises(psycopg.Error, match="could not be reached") as raised:
        indexed.execute("SELECT * FROM omop_emb_search('fever')")
    assert raised.value.diag.sqlstate == "OE003"
    assert len(endpoint.requests) == 2


def test_retry_after_is_honoured(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    change(indexed, max_retries=0)
    for status in (429, 503):
        answers = [Answer(status, b"busy", {"Retry-After": "0.4"}), Answer(status, b"busy", {"Retry-After": "0.3"})]
        endpoint.respond = lambda _, answers=answers: answers.pop() if answers else None  # type: ignore[misc]
        endpoint.requests.clear()
        started = time.monotonic()
        assert len(indexed.execute("SELECT * FROM omop_emb_search(%s)", [f"term {status}"]).fetchall()) == 10
        assert time.monotonic() - started >= 0.7
        assert len(endpoint.requests) == 3


def test_a_retry_after_beyond_the_timeout_is_an_error_at_once(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    for status in (429, 503):
        endpoint.respond = lambda _, status=status: Answer(  # type: ignore[misc]
            status, b"come back tomorrow", {"Retry-After": "86400"}
        )
        endpoint.requests.clear()
        started = time.monotonic()
        with pytest.raises(psycopg.Error, match=f"HTTP {status}: come back tomorrow") as raised:
            indexed.execute("SELECT * FROM omop_emb_search('fever')")
        assert raised.value.diag.sqlstate == "OE003"
        assert time.monotonic() - started < 5
        assert len(endpoint.requests) == 1


def test_a_busy_endpoint_is_not_hammered(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    change(indexed, timeout_ms=1000)
    for wanted in ("0", "nan", "-5", "Fri, 01 Jan 2100 00:00:00 GMT"):
        endpoint.respond = lambda _, wanted=wanted: Answer(  # type: ignore[misc]
            503, b"busy", {"Retry-After": wanted}
        )
        endpoint.requests.clear()
        with pytest.raises(psycopg.Error, match="HTTP 503"):
            indexed.execute("SELECT * FROM omop_emb_search('fever')")
        assert 2 <= len(endpoint.requests) <= 10


def test_a_server_error_is_retried_max_retries_times(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    change(indexed, max_retries=2)
    answers = [Answer(500, b"oops"), Answer(502, b"oops")]
    endpoint.respond = lambda _: answers.pop() if answers else None
    assert len(indexed.execute("SELECT * FROM omop_emb_search('fever')").fetchall()) == 10
    assert len(endpoint.requests) == 3
    endpoint.respond = lambda _: Answer(500, b"out of memory")
    with pytest.raises(psycopg.Error, match="HTTP 500: out of memory") as raised:
        indexed.execute("SELECT * FROM omop_emb_search('chills')")
    assert raised.value.diag.sqlstate == "OE003"
    assert len(endpoint.requests) == 6


def test_a_silent_endpoint_ends_after_timeout_ms(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    change(indexed, timeout_ms=300)
    endpoint.respond = lambda _: Answer(delay=3)
    started = time.monotonic()
    with pytest.raises(psycopg.Error, match="timeout_ms = 300") as raised:
        indexed.execute("SELECT * FROM omop_emb_search('fever')")
    assert time.monotonic() - started < 2
    assert raised.value.diag.sqlstate == "OE003"
    assert "timeout_ms" in (raised.value.diag.message_hint or "")


def test_nothing_listens(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        change(indexed, api_base=f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        for statement in ("SELECT * FROM omop_emb_search('fever')", "SELECT omop_emb_embed_document('fever')"):
            started = time.monotonic()
            with pytest.raises(psycopg.Error, match=r"127\.0\.0\.1:\d+/v1 could not be reached: .*refused") as raised:
                indexed.execute(statement)
            assert time.monotonic() - started < 1
            assert raised.value.diag.sqlstate == "OE003"
            assert "api_base" in (raised.value.diag.message_hint or "")
    change(indexed, api_base=endpoint.url)
    assert len(indexed.execute("SELECT * FROM omop_emb_search('fever')").fetchall()) == 10


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64, "[1:2]", "127.0.0.1/\u00e9"])
def test_an_address_that_cannot_be_used(indexed: psycopg.Connection, host: str) -> None:
    change(indexed, max_retries=0, api_base=f"http://{host}/v1")
    with pytest.raises(psycopg.Error, match="could not be reached") as raised:
        indexed.execute("SELECT * FROM omop_emb_search('fever')")
    assert raised.value.diag.sqlstate == "OE003"
    assert host in (raised.value.diag.message_primary or "")


def test_a_rejection_carries_the_words_of_the_endpoint(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    for status in (400, 401, 404):
        body = b'{"error": {"message": "model \\"recorded\\" is unknown\\u0000 here"}}'
        endpoint.respond = lambda _, status=status, body=body: Answer(status, body)  # type: ignore[misc]
        endpoint.requests.clear()
        with pytest.raises(psycopg.Error, match=f'HTTP {status}: model "recorded" is unknown here') as raised:
            indexed.execute("SELECT * FROM omop_emb_search('fever')")
        assert raised.value.diag.sqlstate == "OE003"
        assert "'recorded'" in (raised.value.diag.message_hint or "")
        assert len(endpoint.requests) == 1


ECHOES: dict[str, Callable[[list[str]], bytes]] = {
    "as it is": lambda texts: b"cannot embed: " + texts[0].encode(),
    "message": lambda texts: json.dumps({"error": {"message": "cannot embed " + texts[0]}}).encode(),
    "escaped": lambda texts: json.dumps(texts).encode(),
    "unescaped": lambda texts: json.dumps(texts, ensure_ascii=False).encode(),
    "detail": lambda texts: json.dumps({"detail": [{"msg": "too long", "input": texts}]}).encode(),
    "page": lambda texts: f"<html><body><h1>Bad request</h1>{texts[0]}</body></html>".encode(),
    "cut": lambda texts: json.dumps({"error": "cannot embed " + texts[0][: len(texts[0]) // 2]}).encode(),
}


def test_an_error_never_shows_the_query(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    queries = ("crushing chest pain", "O'Neill's \"crushing\" péctoral\n\tpain <b>", "crushing pain " * 2000)
    for echo, query in itertools.product(ECHOES.values(), queries):
        endpoint.respond = lambda request, echo=echo: Answer(422, echo(request["input"]))  # type: ignore[misc]
        with pytest.raises(psycopg.Error, match="HTTP 422") as raised:
            indexed.execute("SELECT * FROM omop_emb_search(%s)", [query])
        everything = str(raised.value)
        assert not [word for word in ("rushing", "pain", "toral") if word in everything], everything


@pytest.mark.parametrize(
    ("version", "framing"),
    [
        ("HTTP/1.0", "length"),
        ("HTTP/1.0", "end of connection"),
        ("HTTP/1.1", "length"),
        ("HTTP/1.1", "end of connection"),
        ("HTTP/1.1", "chunks"),
    ],
)
def test_a_reply_after_which_the_server_closes(indexed: psycopg.Connection, version: str, framing: str) -> None:
    body = json.dumps({"data": [{"embedding": [0.25] * 8}], "padding": "x" * 100_000}).encode()
    head = f"{version} 200 OK\r\nConnection: close\r\n"
    if framing == "length":
        head += f"Content-Length: {len(body)}\r\n"
    if framing == "chunks":
        head += "Transfer-Encoding: chunked\r\n"
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:70_000], body[70_000:], b""))
    with babbling(head.encode() + b"\r\n" + body) as peer:
        change(indexed, max_retries=0, api_base=f"http://127.0.0.1:{peer.port}/v1")
        for number in range(3):
            found = indexed.execute("SELECT count(*) FROM omop_emb_search(%s)", [f"term {number}"]).fetchone()
            assert found == (10,)


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x01 what? \xff\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{", b"HTTP/9 x\r\n"]
)
def test_what_is_not_http(indexed: psycopg.Connection, answer: bytes) -> None:
    with babbling(answer) as peer:
        change(indexed, max_retries=1, api_base=f"http://127.0.0.1:{peer.port}/v1")
        with pytest.raises(psycopg.Error, match="could not be reached") as raised:
            indexed.execute("SELECT * FROM omop_emb_search('fever')")
    assert raised.value.diag.sqlstate == "OE003"
