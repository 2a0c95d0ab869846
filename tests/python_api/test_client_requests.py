"""The client's requests, replies and vectors."""

import json
import logging
import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from omop_emb import (
    EmbeddingClient,
    EmbeddingClientError,
    OmopEmbError,
)
from tests.endpoint import Answer, Endpoint, vector_for
from tests.python_api.common import (
    DOCUMENT,
    DOCUMENT_VARIABLE,
    QUERY,
    UNKNOWN,
)


def test_shapes_and_batches(client: EmbeddingClient, endpoint: Endpoint) -> None:
    assert client.embeddings([], DOCUMENT).shape == (0, 0)
    assert client.embeddings((), QUERY).dtype == np.float32
    assert endpoint.requests == []

    one = client.embeddings("fever", QUERY)
    assert one.shape == (1, 8)
    assert one.dtype == np.float32
    np.testing.assert_allclose(one[0], vector_for("query: fever", 8), atol=1e-7)
    assert client.embeddings(["fever"], QUERY).tobytes() == one.tobytes()
    assert client.embeddings(("fever", "chills"), QUERY).shape == (2, 8)
    assert client.embeddings([], DOCUMENT).shape == (0, 8)

    endpoint.requests.clear()
    endpoint.change = lambda items: items[::-1]
    texts = [f"text {number}" for number in range(65)]
    vectors = client.embeddings(texts, DOCUMENT)
    assert [len(request["input"]) for request in endpoint.requests] == [32, 32, 1]
    np.testing.assert_allclose(vectors, [vector_for("doc: " + text, 8) for text in texts], atol=1e-7)
    client.embeddings(texts, DOCUMENT, 64)
    assert [len(request["input"]) for request in endpoint.requests[3:]] == [64, 1]
    assert endpoint.connections == 1


def test_bad_arguments_fail_before_any_request(client: EmbeddingClient, endpoint: Endpoint) -> None:
    vectors = np.eye(2)
    role: Any
    for role in ("documents", "DOCUMENT", None, 1, []):
        with pytest.raises(ValueError, match="'document' or 'query'"):
            client.embeddings("fever", role)
        with pytest.raises(ValueError, match="'document' or 'query'"):
            client.similarity(vectors, vectors, QUERY, role)
    with pytest.raises(TypeError, match="embedding_role"):
        client.embeddings("fever")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="terms_to_match_role"):
        client.similarity(vectors, vectors, QUERY)  # type: ignore[call-arg]
    for texts in ("", " \n", ["fever", ""], ["fever", None], [b"fever"], [["fever"]], {"fever"}, None, np.array(["a"])):
        with pytest.raises(ValueError, match="text"):
            client.embeddings(texts, DOCUMENT)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="text"):
            client.similarity("fever", texts, QUERY, DOCUMENT)  # type: ignore[arg-type]
    for size in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="batch_size"):
            client.embeddings("fever", DOCUMENT, size)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="embedding_batch_size"):
            EmbeddingClient("m", UNKNOWN, embedding_batch_size=size)  # type: ignore[arg-type]
    for base in (
        "localhost:8080",
        "ftp://x/v1",
        "http://",
        "http://x:y/v1",
        "http://u:hidden@x/v1",
        "http://x/v1?a=b",
        1,
    ):
        with pytest.raises(ValueError, match="api_base") as raised:
            EmbeddingClient("m", base)  # type: ignore[arg-type]
        assert "hidden" not in str(raised.value)
    for params in ({"input": 1}, {"model": "x"}, [1], {"a": {1}}, {"a": float("nan")}):
        with pytest.raises(ValueError, match="query_params"):
            EmbeddingClient("m", UNKNOWN, query_params=params)  # type: ignore[arg-type]
    for model in ("", " ", None):
        with pytest.raises(ValueError, match="model name"):
            EmbeddingClient(model, UNKNOWN)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'ollama' or 'openai'"):
        EmbeddingClient("m", UNKNOWN, provider="huggingface")
    assert endpoint.requests == []


def test_similarity(client: EmbeddingClient, endpoint: Endpoint) -> None:
    found = client.similarity("fever", ["fever", "chills", "cough"], QUERY, DOCUMENT)
    assert endpoint.texts == ["query: fever", "doc: fever", "doc: chills", "doc: cough"]
    left = np.array([vector_for("query: fever", 8)])
    right = np.array([vector_for(f"doc: {text}", 8) for text in ("fever", "chills", "cough")])
    wanted = left @ right.T / np.linalg.norm(left) / np.linalg.norm(right, axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert client.similarity(("fever", "fever"), "fever", QUERY, QUERY).tolist() == [[1.0], [1.0]]

    endpoint.requests.clear()
    np.testing.assert_allclose(client.similarity(left[0], right, QUERY, DOCUMENT), wanted, atol=1e-6)
    extremes = np.array([[0, 0, 0], [1e300, 1e300, 0], [5e-324, 5e-324, 0], [-1, -1, 0]])
    np.testing.assert_allclose(
        client.similarity(extremes, np.array([1, 1, 0]), QUERY, DOCUMENT), [[0], [1], [1], [-1]], atol=1e-7
    )
    generator = np.random.default_rng(1)
    many = generator.normal(size=(200, 7)).astype(np.float32)
    everything = client.similarity(many, many, QUERY, DOCUMENT)
    assert -1 <= everything.min() <= everything.max() == 1
    assert client.similarity(np.empty((0, 3)), extremes, QUERY, DOCUMENT).shape == (0, 4)
    for bad, message in ((np.eye(2), "2 dimensions"), (np.full(3, np.nan), "NaN"), (np.zeros((1, 1, 3)), "shape")):
        with pytest.raises(ValueError, match=message):
            client.similarity(bad, extremes, QUERY, DOCUMENT)
    assert endpoint.requests == []
    assert client.similarity([], ["fever"], QUERY, DOCUMENT).shape == (0, 1)


NOT_VECTORS: dict[str, Any] = {
    "too few": lambda items: items[1:],
    "too many": lambda items: [*items, items[0]],
    "not a number": lambda items: [{"index": item["index"], "embedding": [float("nan")] * 8} for item in items],
    "different lengths": lambda items: [*items[1:], {"index": 0, "embedding": [1.0] * 7}],
}


@pytest.mark.parametrize("change", NOT_VECTORS.values(), ids=NOT_VECTORS)
def test_a_reply_that_makes_no_sense_is_an_error(client: EmbeddingClient, endpoint: Endpoint, change: Any) -> None:
    endpoint.change = change
    with pytest.raises(EmbeddingClientError, match=endpoint.url) as raised:
        client.embeddings(["fever", "chills"], DOCUMENT)
    assert raised.value.sqlstate == "OE004"
    assert isinstance(raised.value, OmopEmbError)
    assert raised.value.hint in raised.value.__notes__
    endpoint.change = lambda items: items
    assert client.embeddings(["fever", "chills"], DOCUMENT).shape == (2, 8)


def test_vectors_of_another_length_later_are_an_error(client: EmbeddingClient, endpoint: Endpoint) -> None:
    def shrink(request: dict[str, Any]) -> None:
        endpoint.dimensions = 8 if len(endpoint.requests) == 1 else 7

    endpoint.respond = shrink
    with pytest.raises(EmbeddingClientError, match=r"7 dimensions.* 8") as raised:
        client.embeddings(["one", "two"], DOCUMENT, batch_size=1)
    assert raised.value.sqlstate == "OE004"
    assert client.embedding_dim == 8


def test_the_key_is_sent_and_nowhere_else(
    environment: pytest.MonkeyPatch, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-very-private"
    client = EmbeddingClient("recorded", endpoint.url, key, query_params={"input_type": "query"})
    client.embeddings("fever", QUERY)
    assert endpoint.headers[0]["authorization"] == "Bearer " + key
    assert endpoint.requests[0]["input_type"] == "query"
    client.query_params["input_type"] = "changed"
    assert client.query_params == {"input_type": "query"}
    assert client.document_params == {}
    endpoint.respond = lambda _: Answer(401, json.dumps({"error": f"the key {key} is wrong for fever"}).encode())
    with pytest.raises(EmbeddingClientError, match="HTTP 401: the key") as raised:
        client.embeddings("fever", QUERY)
    assert raised.value.sqlstate == "OE003"
    with pytest.raises(ValueError, match="api_key") as refused:
        EmbeddingClient("recorded", endpoint.url, key + "\n")
    for text in (str(raised.value), repr(raised.value.__notes__), str(refused.value), repr(client), caplog.text):
        assert key not in text
    assert "fever" not in str(raised.value)
    with pytest.raises(TypeError):
        pickle.dumps(client)
    EmbeddingClient("recorded", endpoint.url, None).close()
    endpoint.respond = lambda _: Answer(404, b'{"error": "try ollama pull first"}')
    with pytest.raises(EmbeddingClientError, match="ollama pull"):
        EmbeddingClient("recorded", endpoint.url).embeddings("fever", QUERY)


def show(**info: Any) -> dict[str, Any]:
    return {"model_info": {"general.architecture": "bert", **info}}


@pytest.mark.parametrize(
    ("shown", "arguments", "asked", "probed", "length"),
    [
        (show(**{"bert.embedding_length": 768}), {}, True, False, 768),
        (show(**{"bert.vision.embedding_length": 5, "bert.embedding_length": 768}), {}, True, False, 768),
        (show(**{"other.embedding_length": 384}), {"api_key": "x", "provider": "ollama"}, True, False, 384),
        (show(**{"bert.embedding_length": "many"}), {}, True, True, 8),
        (["nonsense"], {}, True, True, 8),
        (None, {}, True, True, 8),
        (show(**{"bert.embedding_length": 768}), {"api_key": "x"}, False, True, 8),
        (show(**{"bert.embedding_length": 768}), {"provider": "openai"}, False, True, 8),
        (show(**{"bert.embedding_length": 768}), {"document_params": {"dimensions": 8}}, False, True, 8),
    ],
)
def test_the_length_of_vectors(
    environment: pytest.MonkeyPatch,
    endpoint: Endpoint,
    shown: Any,
    arguments: Any,
    asked: bool,
    probed: bool,
    length: int,
) -> None:
    environment.setenv(DOCUMENT_VARIABLE, "doc: ")
    endpoint.show = shown
    client = EmbeddingClient("recorded:v1", endpoint.url + "/", **arguments)
    assert (client.embedding_dim, client.embedding_dim) == (length, length)
    assert endpoint.shown == ([{"path": "/api/show", "model": "recorded:v1"}] if asked else [])
    assert endpoint.texts == (["doc: diabetes"] if probed else [])


def test_a_known_length_asks_nobody(client: EmbeddingClient, endpoint: Endpoint) -> None:
    client.embeddings("fever", QUERY)
    assert client.embedding_dim == 8
    assert (len(endpoint.requests), endpoint.shown) == (1, [])


def test_an_endpoint_that_is_down(environment: pytest.MonkeyPatch) -> None:
    client = EmbeddingClient("m", UNKNOWN)
    with pytest.raises(EmbeddingClientError, match="could not be reached") as raised:
        client.embeddings("fever", QUERY)
    assert raised.value.sqlstate == "OE003"
    with pytest.raises(EmbeddingClientError, match="could not be reached"):
        _ = client.embedding_dim


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_threads_and_forks_get_their_own_replies(client: EmbeddingClient, endpoint: Endpoint) -> None:
    wrong: list[str] = []

    def work(name: str, rounds: int) -> None:
        for number in range(rounds):
            text = f"{name} {number}"
            if not np.allclose(client.embeddings(text, QUERY)[0], vector_for("query: " + text, 8), atol=1e-6):
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(f"thread {number}", 20)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert endpoint.connections == 1
    # A child of this process cannot serve the endpoint, so that it asks the one that runs here.
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            work("child", 20)
            failed = len(wrong)
        finally:
            os._exit(failed)
    work("parent", 20)
    assert os.waitpid(child, 0)[1] == 0
    assert wrong == []
