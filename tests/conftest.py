"""A private PostgreSQL server for the run, a template with the package installed, a database per test."""

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.embedder import create_server
from omop_emb.install import migrate
from tests.endpoint import Endpoint, running_endpoint

VOCABULARY = (Path(__file__).parent / "vocabulary.sql").read_text(encoding="utf-8")
_numbers = itertools.count(1)

Connect = Callable[..., psycopg.Connection]


# A shell starts what it puts in the background with SIGINT ignored; what the tests interrupt must not inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run a throwaway server."""
    with Cluster() as running:
        yield running


@pytest.fixture(scope="session")
def vocabulary_template(cluster: Cluster) -> str:
    """Make a database with a small vocabulary in schema cdm, without the package."""
    cluster.create_database("vocabulary_template")
    dsn = cluster.dsn_for("vocabulary_template")
    with psycopg.connect(dsn) as connection:
        connection.execute(VOCABULARY)
    return "vocabulary_template"


@pytest.fixture(scope="session")
def installed_template(cluster: Cluster, vocabulary_template: str) -> str:
    """Make a database with the package installed, without a configuration."""
    cluster.create_database("installed_template", template=vocabulary_template)
    migrate(cluster.dsn_for("installed_template"))
    return "installed_template"


def new_database(cluster: Cluster, template: str | None) -> Iterator[str]:
    """Yield the DSN of a database of its own for one test."""
    name = f"test_{next(_numbers)}"
    cluster.create_database(name, template=template)
    yield cluster.dsn_for(name)
    cluster.drop_database(name)


@pytest.fixture
def bare_dsn(cluster: Cluster) -> Iterator[str]:
    """Give an empty database."""
    yield from new_database(cluster, None)


@pytest.fixture
def vocabulary_dsn(cluster: Cluster, vocabulary_template: str) -> Iterator[str]:
    """Give a database with the small vocabulary only."""
    yield from new_database(cluster, vocabulary_template)


@pytest.fixture
def dsn(cluster: Cluster, installed_template: str) -> Iterator[str]:
    """Give a database with the small vocabulary and the package."""
    yield from new_database(cluster, installed_template)


@pytest.fixture
def connect(dsn: str) -> Iterator[Connect]:
    """Open autocommit connections to the test's database; ``connect(user="...")`` as another role."""
    opened: list[psycopg.Connection] = []

    def open_connection(**arguments: Any) -> psycopg.Connection:
        connection = psycopg.connect(dsn, **{"autocommit": True, **arguments})
        opened.append(connection)
        return connection

    yield open_connection
    for connection in opened:
        connection.close()


@pytest.fixture
def db(connect: Connect) -> psycopg.Connection:
    """Give an autocommit superuser connection to the test's database."""
    return connect()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Serve the recording endpoint."""
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    """Serve the bundled model."""
    with create_server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture
def indexed(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with the active configuration 'test', indexed with vectors of the endpoint."""
    configure(
        db,
        "test",
        {"api_base": endpoint.url, "model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "},
    )
    db.execute("SELECT * FROM omop_emb_index()")
    endpoint.requests.clear()
    endpoint.headers.clear()
    return db


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """Run a server that no other test has used, so that its roles are the test's alone."""
    with Cluster() as running:
        running.create_database("first")
        with psycopg.connect(running.dsn_for("first")) as connection:
            connection.execute(VOCABULARY)
        running.create_database("second", template="first")
        yield running
