"""What the tests of the Python API share: a client, a configuration that it fits, sessions."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from omop_emb import EmbeddingClient, EmbeddingWriterInterface
from omop_emb.configuration import configure
from tests.endpoint import Endpoint
from tests.python_api.common import DOCUMENT_VARIABLE, QUERY_VARIABLE


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


@pytest.fixture
def configured(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with a configuration and nothing indexed."""
    settings = {"api_base": endpoint.url, "model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
    configure(db, "test", settings)
    endpoint.requests.clear()
    return db


@pytest.fixture
def writer(client: EmbeddingClient) -> EmbeddingWriterInterface:
    """Give the writer of that client."""
    return EmbeddingWriterInterface(client)


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    """Connect to the test's database."""
    made = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    yield made
    made.dispose()


@pytest.fixture
def session(configured: psycopg.Connection, engine: Engine) -> Iterator[Session]:
    """Open a session."""
    with Session(engine) as opened:
        yield opened
