"""The Python client: what it sends in each role, what it makes of replies, what it says in the log."""

import json
import logging
import os
import pickle
import threading
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from omop_emb.configuration import PREFIX_VARIABLES, configure
from omop_emb.embeddings import EmbeddingClient, EmbeddingClientError, EmbeddingRole
from omop_emb.errors import OmopEmbError
from omop_emb.server import embedding
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint, vector_for

DOCUMENT, QUERY = EmbeddingRole.DOCUMENT, EmbeddingRole.QUERY
DOCUMENT_VARIABLE, QUERY_VARIABLE = PREFIX_VARIABLES["document_prefix"], PREFIX_VARIABLES["query_prefix"]
UNKNOWN = "http://127.0.0.1:1/v1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take what the developer's shell says out of the tests."""
    for variable in (DOCUMENT_VARIABLE, QUERY_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


@pytest.fixture
def client(environment: pytest.MonkeyPatch, endpoint: Endpoint) -> EmbeddingClient:
    environment.setenv(DOCUMENT_VARIABLE, "doc: ")
    environment.setenv(QUERY_VARIABLE, "query: ")
    return EmbeddingClient("recorded", endpoint.url)


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    assert {record.name for record in caplog.records} <= {"omop_emb.embeddings"}
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_each_role_has_its_prefix_verbatim(environment: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    environment.setenv(DOCUMENT_VARIABLE, "passage: ")
    client = EmbeddingClient("recorded", endpoint.url)
    client.embeddings("diabetes", DOCUMENT)
    client.embeddings("diabetes", "query")
    assert endpoint.texts == ["passage: diabetes", "diabetes"]

    endpoint.requests.clear()
    odd = "  a\\n b\t%s {0} 'é'\n "
    environment.setenv(QUERY_VARIABLE, odd)
    client = EmbeddingClient("recorded", endpoint.url)
    environment.setenv(QUERY_VARIABLE, "changed: ")
    environment.delenv(DOCUMENT_VARIABLE)
    prefixes = client.embedding_role_prefixes()
    prefixes[QUERY] = "changed: "
    client.settings()["query_prefix"] = "changed: "
    client.embeddings(["  two  spaces \n"], QUERY)
    assert endpoint.texts == [odd + "  two  spaces \n"]
    assert client.embedding_role_prefixes() == {DOCUMENT: "passage: ", QUERY: odd}
    assert endpoint.headers[-1]["authorization"] == "Bearer ollama"


def test_empty_prefixes_are_one_warning_each_and_set_ones_are_info(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    EmbeddingClient("recorded", UNKNOWN)
    for variable, purpose, warning in zip(
        (DOCUMENT_VARIABLE, QUERY_VARIABLE), ("stored", "searched for"), lines(caplog, logging.WARNING), strict=True
    ):
        assert variable in warning
        assert purpose in warning
    assert lines(caplog, logging.INFO) == []

    caplog.clear()
    environment.setenv(DOCUMENT_VARIABLE, "doc:\t")
    EmbeddingClient("recorded", UNKNOWN)
    (warning,) = lines(caplog, logging.WARNING)
    assert QUERY_VARIABLE in warning
    (info,) = lines(caplog, logging.INFO)
    assert repr("doc:\t") in info


def test_what_is_known_of_the_model_is_in_the_warnings(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    EmbeddingClient("nomic-embed-text:v1.5", UNKNOWN)
    document, query = lines(caplog, logging.WARNING)
    assert "'search_document: '" in document
    assert "'search_query: '" in query

    caplog.clear()
    environment.setenv(QUERY_VARIABLE, "Represent this sentence for searching relevant passages: ")
    EmbeddingClient("BAAI/bge-small-en-v1.5", UNKNOWN)
    (document,) = lines(caplog, logging.WARNING)
    assert DOCUMENT_VARIABLE in document
    assert "That is right for 'BAAI/bge-small-en-v1.5'" in document

    caplog.clear()
    environment.setenv(DOCUMENT_VARIABLE, "search_document:")
    environment.setenv(QUERY_VARIABLE, "query: ")
    EmbeddingClient("nomic-embed-text:v1.5", UNKNOWN)
    assert len(lines(caplog, logging.INFO)) == 2
    space, other = lines(caplog, logging.WARNING)
    assert "'search_document:' is 'search_document: ' of nomic-embed-text but for white space" in space
    assert ".env" in space
    assert "'query: ' is not that of the family" in other
    assert "'search_query: '" in other

    caplog.clear()
    environment.setenv(DOCUMENT_VARIABLE, "passage:")
    EmbeddingClient("a-model-of-our-own", UNKNOWN)
    (space,) = lines(caplog, logging.WARNING)
    assert "'passage:' is 'passage: ' of E5 but for white space" in space

    caplog.clear()
    environment.delenv(DOCUMENT_VARIABLE)
    environment.delenv(QUERY_VARIABLE)
    EmbeddingClient("voyage-4", UNKNOWN, document_params={"input_type": "document"})
    document, query = lines(caplog, logging.WARNING)
    assert "That is right" in document
    assert '"input_type" in query_params is missing' in query


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


@pytest.mark.parametrize(
    ("model", "api_base", "provider", "fine"),
    [
        ("nomic-embed-text", "http://localhost:11434/v1", None, False),
        ("nomic-embed-text:v1.5", "http://localhost:11434/v1", None, True),
        ("nomic-embed-text", "http://my-ollama.internal/v1", None, False),
        ("nomic-embed-text", UNKNOWN, "ollama", False),
        ("nomic-embed-text", UNKNOWN, None, True),
        ("nomic-embed-text:latest", UNKNOWN, None, False),
        ("nomic-embed-text:LaTest ", "http://localhost:11434/v1", "ollama", False),
        ("nomic-embed-text:latest", UNKNOWN, "openai", True),
        ("nomic-embed-text", "http://localhost:11434/v1", "openai", True),
        ("registry:5000/user/model", "http://localhost:11434/v1", None, False),
        ("hf.co/user/model-GGUF:Q8_0", "http://localhost:11434/v1", None, True),
        ("model:", "http://localhost:11434/v1", None, False),
        ("latest", UNKNOWN, None, True),
    ],
)
def test_a_name_that_moves_is_refused(model: str, api_base: str, provider: str | None, fine: bool) -> None:
    if fine:
        assert EmbeddingClient(f" {model} ", api_base, provider=provider).canonical_model_name == model
        return
    with pytest.raises(ValueError, match="silently"):
        EmbeddingClient(model, api_base, provider=provider)


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


def test_a_client_for_a_configuration(
    environment: pytest.MonkeyPatch, db: psycopg.Connection, connect: Connect, dsn: str, endpoint: Endpoint
) -> None:
    environment.setenv(QUERY_VARIABLE, "of the environment: ")
    given = {"api_base": endpoint.url, "model": "recorded", "document_prefix": " d\n", "query_prefix": "q"}
    configure(db, "first", {**given, "query_params": '{"task": "query"}', "batch_size": 2, "distance": "inner_product"})
    configure(db, "second", {**given, "api_base": UNKNOWN, "dimensions": 8, "document_prefix": "second: "})
    endpoint.requests.clear()
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    engine = create_engine("postgresql+psycopg://", connect_args=parts)
    try:
        with Session(engine) as session:
            client = EmbeddingClient.for_configuration(session)
            vectors = client.embeddings(["a", "b", "c"], QUERY)
            other = EmbeddingClient.for_configuration(session, "second", api_base=endpoint.url, api_key="other")
            other.embeddings("a", DOCUMENT)
            with pytest.raises(OmopEmbError, match="no configuration 'third'"):
                EmbeddingClient.for_configuration(session, "third")
            db.execute("CREATE ROLE reads_nothing LOGIN")
            try:
                stranger = create_engine("postgresql+psycopg://", connect_args={**parts, "user": "reads_nothing"})
                with Session(stranger) as refused, pytest.raises(OmopEmbError, match="permission denied") as raised:
                    EmbeddingClient.for_configuration(refused)
                stranger.dispose()
                assert "omop_emb_admin" in (raised.value.hint or "")
            finally:
                db.execute("DROP ROLE reads_nothing")
    finally:
        engine.dispose()
    assert [request["input"] for request in endpoint.requests] == [["qa", "qb"], ["qc"], ["second: a"]]
    assert endpoint.requests[0]["task"] == "query"
    assert endpoint.headers[-1]["authorization"] == "Bearer other"
    np.testing.assert_allclose(vectors[0], vector_for("qa", 8), atol=1e-7)
    assert client.settings() == {
        "model": "recorded", "document_prefix": " d\n", "query_prefix": "q", "document_params": {},
        "query_params": {"task": "query"},
    }  # fmt: skip
    assert other.embedding_dim == 8


def test_there_is_one_rule(client: EmbeddingClient, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    monkeypatch.setattr(embedding, "prefixed", lambda settings, role, texts: [role + "|" + text for text in texts])
    client.embeddings("fever", QUERY)
    assert endpoint.texts == ["query|fever"]
