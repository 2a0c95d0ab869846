"""Tables of the vocabulary and indexes that are not there: what does not need them goes on and answers the same."""

import psycopg
import pytest

from tests.conftest import Connect
from tests.test_bad_input import SEARCHES, refused


def test_without_concept_ancestor_only_its_filter_fails(indexed: psycopg.Connection) -> None:
    """``migrate`` puts its grants back once the table is there again; until then the rest goes on."""
    before = [indexed.execute(f"SELECT * FROM {call.format('k => 3')}".encode()).fetchall() for call in SEARCHES]
    for change in ("REVOKE ALL ON cdm.concept_ancestor FROM omop_emb_owner", "DROP TABLE cdm.concept_ancestor"):
        indexed.execute(change.encode())
        for call in SEARCHES:
            statement = f"SELECT * FROM {call.format('ancestor_concept_id => %s')}"
            refused(indexed, statement, [4329847], r"the vocabulary table cdm\.concept_ancestor")
        after = [indexed.execute(f"SELECT * FROM {call.format('k => 3')}".encode()).fetchall() for call in SEARCHES]
        assert after == before
        assert indexed.execute("SELECT pending, stale, failed FROM omop_emb.status").fetchone() == (0, 0, 0)
        assert indexed.execute("SELECT remaining FROM omop_emb_index()").fetchone() == (0,)


def test_without_concept_relationship_only_the_map_fails(indexed: psycopg.Connection) -> None:
    calls = [call for call in SEARCHES if "map" not in call]
    before = [indexed.execute(f"SELECT * FROM {call.format('k => 3')}".encode()).fetchall() for call in calls]
    indexed.execute("DROP TABLE cdm.concept_relationship")
    refused(indexed, "SELECT * FROM omop_emb_map('{fever}')", [], "cdm.concept_relationship does not exist")
    assert [indexed.execute(f"SELECT * FROM {call.format('k => 3')}".encode()).fetchall() for call in calls] == before
    assert indexed.execute("SELECT remaining FROM omop_emb_index()").fetchone() == (0,)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'omop_emb.embedding_1_hnsw'::regclass",
        "DROP INDEX omop_emb.embedding_1_hnsw",
    ],
)
def test_an_index_that_is_invalid_or_missing(indexed: psycopg.Connection, connect: Connect, change: str) -> None:
    """Searches are slower but right, and the status says so until the index is built again."""
    arguments = ("k => 5", "k => 500", "domains => '{Condition}'", "vocabularies => '{SNOMED}', standard_only => true")
    statements = [f"SELECT * FROM {call.format(given)}".encode() for call in SEARCHES for given in arguments]
    before = [indexed.execute(statement).fetchall() for statement in statements]
    assert indexed.execute("SELECT index_valid FROM omop_emb.status").fetchone() == (True,)
    session = connect()
    session.execute(statements[0])
    indexed.execute(change.encode())
    assert indexed.execute("SELECT index_valid FROM omop_emb.status").fetchone() == (False,)
    for each in (session, connect()):
        assert [each.execute(statement).fetchall() for statement in statements] == before
    for index in ("term_lexemes", "term_compact", "concept_code", "word_trigrams"):
        indexed.execute(f"DROP INDEX omop_emb.{index}".encode())
    assert [connect().execute(statement).fetchall() for statement in statements] == before
    indexed.execute("SELECT * FROM omop_emb_index()")
    assert indexed.execute("SELECT index_valid FROM omop_emb.status").fetchone() == (True,)
