"""The client's prefixes: sent verbatim, read once, said in the log."""

import logging

import numpy as np
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from omop_emb import (
    EmbeddingClient,
    OmopEmbError,
)
from omop_emb.configuration import configure
from omop_emb.server import embedding
from tests.conftest import Connect
from tests.endpoint import Endpoint, vector_for
from tests.python_api.common import (
    DOCUMENT,
    DOCUMENT_VARIABLE,
    QUERY,
    QUERY_VARIABLE,
    UNKNOWN,
)


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
