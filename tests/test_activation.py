"""A second configuration is built beside the first, takes over without a search failing, and can be undone."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from omop_emb import activation
from omop_emb.cli import main
from omop_emb.configuration import configure
from omop_emb.errors import OmopEmbError
from omop_emb.indexing import index
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint

ACTIVE = "SELECT name FROM omop_emb.config WHERE is_active"


@pytest.fixture
def second(indexed: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give the connection of ``indexed`` with a configuration 'second', not indexed, of another model and size."""
    settings = {"api_base": endpoint.url, "model": "other", "document_prefix": "d: ", "query_prefix": "q: "}
    endpoint.dimensions = 16
    configure(indexed, "second", settings)
    endpoint.dimensions = 8
    endpoint.requests.clear()
    return indexed


def build(db: psycopg.Connection, endpoint: Endpoint) -> None:
    """Index the second configuration; the endpoint answers each model in its own size from now on."""
    endpoint.respond = sized(endpoint)
    db.execute("SELECT * FROM omop_emb_index(config => 'second')")


def sized(endpoint: Endpoint) -> Callable[[dict[str, Any]], Answer | None]:
    """Return a ``respond`` that makes the endpoint answer each model in its own size."""

    def respond(request: dict[str, Any]) -> Answer | None:
        endpoint.dimensions = 16 if request["model"] == "other" else 8
        return None

    return respond


def test_search_goes_on_without_an_error_or_a_mixture_while_another_takes_over(
    second: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    build(second, endpoint)
    search = "SELECT array_agg((concept_id, similarity) ORDER BY rank) FROM omop_emb_search('x', 10)"
    right = {}
    for name in ("test", "second"):
        row = second.execute(search.replace("10)", f"10, config => '{name}')").encode()).fetchone()
        right[name] = row
    assert right["test"] != right["second"]
    stop = threading.Event()
    answers: list[object] = []
    failures: list[Exception] = []

    def keep_searching(searching: psycopg.Connection) -> None:
        while not stop.is_set():
            try:
                answers.append(searching.execute(search.encode()).fetchone())
            except psycopg.Error as error:
                failures.append(error)

    threads = [threading.Thread(target=keep_searching, args=[connect()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        time.sleep(0.1)
        activation.activate(second, "second")
        time.sleep(0.1)
        assert activation.rollback(second) == "test"
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(answers) > 20
    assert all(answer in right.values() for answer in answers)
    assert {id_ for id_, answer in right.items() if answer in answers} == {"test", "second"}


def test_one_that_is_not_built_is_refused_unless_told_so(second: psycopg.Connection, endpoint: Endpoint) -> None:
    with pytest.raises(OmopEmbError, match="configuration 'second' is not built: it holds no vectors") as raised:
        activation.activate(second, "second")
    assert "omop-emb-admin index --config second" in (raised.value.hint or "")
    endpoint.respond = sized(endpoint)
    second.execute("SELECT * FROM omop_emb_index(config => 'second', max_concepts => 3)")
    with pytest.raises(OmopEmbError, match=r"'second' is not built: \d+ of 10 concepts have a text without a vector"):
        activation.activate(second, "second")
    assert second.execute(ACTIVE).fetchall() == [("test",)]
    second.execute("SELECT * FROM omop_emb_index(config => 'second')")
    second.execute("UPDATE cdm.concept SET concept_name = 'renamed' WHERE concept_id = 378253")
    with pytest.raises(OmopEmbError, match="'second' is not built: 1 of 10 concepts have a text without a vector"):
        activation.activate(second, "second")
    second.execute("SELECT * FROM omop_emb_index(config => 'second')")
    second.execute("DROP INDEX omop_emb.embedding_2_hnsw")
    with pytest.raises(OmopEmbError, match="'second' is not built: it has no HNSW index"):
        activation.activate(second, "second")
    assert activation.activate(second, "second", incomplete=True) == "test"
    assert activation.activate(second, "second", incomplete=True) == "second"
    with pytest.raises(OmopEmbError, match="no embedding configuration 'none'"):
        activation.activate(second, "none")


def test_rollback_goes_back_step_by_step_and_says_what_is_missing(
    second: psycopg.Connection, endpoint: Endpoint
) -> None:
    build(second, endpoint)
    with pytest.raises(OmopEmbError, match="no other configuration was active before"):
        activation.rollback(second)
    configure(second, "third", {"api_base": endpoint.url, "model": "recorded"})
    second.execute("SELECT * FROM omop_emb_index(config => 'third')")
    activation.activate(second, "second")
    second.execute("UPDATE omop_emb.config SET is_active = (name = 'third')")
    assert activation.rollback(second) == "second"
    assert activation.rollback(second) == "test"
    with pytest.raises(OmopEmbError, match="no other configuration was active before"):
        activation.rollback(second)

    activation.activate(second, "second")
    activation.activate(second, "third")
    second.execute("DELETE FROM omop_emb.config WHERE name = 'third'")
    assert activation.rollback(second) == "second"
    assert activation.rollback(second) == "test"

    activation.activate(second, "second")
    second.execute("UPDATE cdm.concept SET concept_name = 'renamed' WHERE concept_id = 378253")
    second.execute("SELECT * FROM omop_emb_index(config => 'second')")
    notices: list[str] = []
    second.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    assert activation.rollback(second) == "test"
    assert notices == ["1 texts came while configuration 'test' was not active and have no vector in it"]
    assert second.execute("SELECT pending FROM omop_emb.status WHERE name = 'test'").fetchone() == (1,)


def test_drop(second: psycopg.Connection, endpoint: Endpoint) -> None:
    build(second, endpoint)
    activation.activate(second, "second")
    with pytest.raises(OmopEmbError, match="configuration 'second' is the one that search uses") as raised:
        activation.drop(second, "second")
    assert "Activate another first: 'test'" in (raised.value.hint or "")
    with pytest.raises(OmopEmbError, match="there is no embedding configuration 'none'"):
        activation.drop(second, "none")
    assert not activation.drop(second, "test")
    assert second.execute("SELECT to_regclass('omop_emb.embedding_1')").fetchone() == (None,)
    with pytest.raises(OmopEmbError, match="no other configuration was active before"):
        activation.rollback(second)
    assert len(second.execute("SELECT * FROM omop_emb_search('x', 10)").fetchall()) == 10
    assert activation.drop(second, "second")
    with pytest.raises(psycopg.Error, match="there is no embedding configuration"):
        second.execute("SELECT * FROM omop_emb_search('x', 10)")


def test_two_that_activate_at_once_leave_one_active(
    second: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    build(second, endpoint)
    failures: list[Exception] = []

    def activate(name: str, by_statement: bool) -> None:
        connection = connect()
        for _ in range(15):
            try:
                if by_statement:
                    connection.execute("UPDATE omop_emb.config SET is_active = true WHERE name = %s", [name])
                else:
                    activation.activate(connection, name)
            except (psycopg.Error, OmopEmbError) as error:
                failures.append(error)

    jobs = [(name, by_statement) for name in ("test", "second") for by_statement in (True, False)]
    threads = [threading.Thread(target=activate, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(second.execute(ACTIVE).fetchall()) == 1


def test_a_configuration_deleted_while_it_is_built_ends_the_run_with_a_clear_error(
    second: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    other = connect()
    deletion = threading.Thread(target=activation.drop, args=[other, "second"])
    size = sized(endpoint)
    one_at_a_time = threading.Lock()

    def respond(request: dict[str, Any]) -> Answer | None:
        with one_at_a_time:
            if deletion.ident is None:
                deletion.start()
                time.sleep(0.3)
        size(request)
        return None

    second.execute("UPDATE omop_emb.config SET batch_size = 4 WHERE name = 'second'")
    second.execute(
        """INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id,
            standard_concept, concept_code)
        SELECT 2000000000 + i, 'local concept ' || i, 'Condition', 'Local', 'Local', 'S', i::text
        FROM generate_series(1, 600) i"""
    )
    endpoint.respond = respond
    with pytest.raises(OmopEmbError, match="there is no embedding configuration 'second'"):
        index(connect(), "second")
    deletion.join()
    assert second.execute("SELECT count(*) FROM omop_emb.config").fetchone() == (1,)
    assert second.execute("SELECT to_regclass('omop_emb.embedding_2')").fetchone() == (None,)
    assert len(second.execute("SELECT * FROM omop_emb_search('x', 10)").fetchall()) == 10


def run(db: psycopg.Connection, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["--dsn", db.info.dsn, *map(str, arguments)])


def test_a_cutover_is_refused_when_the_new_configuration_is_worse_on_gold_pairs(
    second: psycopg.Connection, endpoint: Endpoint, tmp_path: Path
) -> None:
    texts: dict[int, str] = dict(
        second.execute("SELECT concept_id, min(concept_name) FROM omop_emb.concept GROUP BY 1").fetchall()
    )
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("query,concept_id\n" + "".join(f'"{text[::-1]}",{number}\n' for number, text in texts.items()))
    # Queries are names backwards, which resemble them in no letters. Those of the model 'recorded' get the vector
    # of the document, so that configuration is always right.
    size = sized(endpoint)

    def respond(request: dict[str, Any]) -> Answer | None:
        size(request)
        if request["model"] == "recorded":
            request["input"] = [
                f"doc: {text.removeprefix('query: ')[::-1]}" if text.startswith("query: ") else text
                for text in request["input"]
            ]
        return None

    endpoint.respond = respond
    second.execute("SELECT * FROM omop_emb_index(config => 'second')")
    refused = run(second, "activate", "second", "--if-not-worse-than", "test", "--pairs", pairs)
    assert refused.exit_code == 1
    assert "error: configuration 'second' is worse than 'test' on" in refused.stderr
    assert "MRR -0." in refused.stderr
    assert second.execute(ACTIVE).fetchall() == [("test",)]

    activation.activate(second, "second")
    done = run(second, "activate", "test", "--if-not-worse-than", "second", "--pairs", pairs)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("'test' against 'second': MRR +0.")
    assert done.stdout.endswith("configuration 'test' is active, 'second' was before\n")

    pairs.write_text("query,concept_id\nx,1\n")
    refusals: list[tuple[list[str | Path], str]] = [
        (["second", "--if-not-worse-than", "test", "--pairs", pairs], "1 concept id is not in the index"),
        (["second", "--if-not-worse-than", "none", "--pairs", pairs], "no embedding configuration 'none'"),
        (["test", "--if-not-worse-than", "test", "--pairs", pairs], "cannot be compared with itself"),
        (["second", "--if-not-worse-than", "test", "--pairs", tmp_path / "none.csv"], "cannot read"),
    ]
    for arguments, message in refusals:
        result = run(second, "activate", *arguments)
        assert (result.exit_code, message in result.stderr) == (1, True), result.stderr
    assert run(second, "activate", "second", "--pairs", pairs).exit_code == 2
    assert second.execute(ACTIVE).fetchall() == [("test",)]


def test_the_commands_say_what_they_did(second: psycopg.Connection, endpoint: Endpoint) -> None:
    build(second, endpoint)
    for arguments, said in (
        (["activate", "second"], "configuration 'second' is active, 'test' was before\n"),
        (["activate", "second"], "configuration 'second' was active already\n"),
        (["rollback"], "configuration 'test' is active again\n"),
        (["drop", "second", "--yes"], "configuration 'second' removed\n"),
        (["drop", "test", "--yes"], "configuration 'test' removed; search has none now\n"),
    ):
        result = run(second, *arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    assert run(second, "drop", "test").exit_code == 2
    assert run(second, "rollback").exit_code == 1
