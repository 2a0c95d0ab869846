"""The whole path with the bundled asymmetric model: lay words find their concepts, wrong prefixes don't pass."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.embedder import DIMENSIONS, DOCUMENT_PREFIX, MODEL, QUERY_PREFIX
from omop_emb.errors import OmopEmbError
from tests.conftest import new_database

PREFIXES = {"document_prefix": DOCUMENT_PREFIX, "query_prefix": QUERY_PREFIX}


@pytest.fixture(scope="module")
def db(cluster: Cluster, installed_template: str, model_url: str) -> Iterator[psycopg.Connection]:
    """Give a database indexed with the bundled model."""
    for dsn in new_database(cluster, installed_template):
        with psycopg.connect(dsn, autocommit=True) as connection:
            configure(connection, "e5", {"api_base": model_url, "model": MODEL, **PREFIXES})
            assert connection.execute("SELECT * FROM omop_emb_index()").fetchone() == (16, 1, 0, 0, 0)
            yield connection


@pytest.mark.parametrize(
    ("words", "concept_id"),
    [
        ("heart attack", 4329847),
        ("broken collarbone", 4237458),
        ("high blood pressure", 320128),
        ("my head hurts", 378253),
        ("Herzinfarkt", 4329847),
        ("paracetamol tablet", 1127433),
    ],
)
def test_lay_words_find_their_concept(db: psycopg.Connection, words: str, concept_id: int) -> None:
    assert db.execute("SELECT concept_id FROM omop_emb_search(%s, 1)", [words]).fetchone() == (concept_id,)


def test_lay_words_find_their_concept_by_its_name_alone(db: psycopg.Connection, model_url: str) -> None:
    settings = {"api_base": model_url, "model": MODEL, **PREFIXES, "synonyms": False}
    configure(db, "names only", settings)
    db.execute("SELECT * FROM omop_emb_index(config => 'names only')")
    for words, concept_id in (("heart attack", 4329847), ("broken collarbone", 4237458), ("my head hurts", 378253)):
        found = db.execute(
            "SELECT concept_id, matched_kind FROM omop_emb_search(%s, config => 'names only')", [words]
        ).fetchall()
        assert found[0] == (concept_id, "name")
        assert {kind for _, kind in found} == {"name"}


def test_dimensions_are_found_out(db: psycopg.Connection) -> None:
    assert db.execute("SELECT dimensions FROM omop_emb.config WHERE name = 'e5'").fetchone() == (DIMENSIONS,)


def test_a_synonym_is_what_matched(db: psycopg.Connection) -> None:
    row = db.execute(
        "SELECT concept_name, matched_text, matched_kind FROM omop_emb_search('heart attack', 1)"
    ).fetchone()
    assert row == ("Myocardial infarction", "Heart attack", "synonym")


def test_neighbours_of_a_concept(db: psycopg.Connection) -> None:
    found = db.execute("SELECT concept_id FROM omop_emb_similar(4329847, 2)").fetchall()
    assert found == [(312327,), (35207668,)]


@pytest.mark.parametrize("wrong", ["", "passage:", "search_document: ", "Passage: "])
def test_a_wrong_document_prefix_is_an_error_at_once(db: psycopg.Connection, model_url: str, wrong: str) -> None:
    settings = {"api_base": model_url, "model": MODEL, "document_prefix": wrong, "query_prefix": QUERY_PREFIX}
    with pytest.raises(OmopEmbError, match="starts with neither of the two prefixes"):
        configure(db, "wrong", settings)
    assert db.execute("SELECT FROM omop_emb.config WHERE name = 'wrong'").fetchall() == []


def test_a_wrong_query_prefix_is_an_error_and_not_a_worse_answer(db: psycopg.Connection) -> None:
    with db.transaction(force_rollback=True):
        db.execute("UPDATE omop_emb.config SET query_prefix = 'query:' WHERE name = 'e5'")
        with pytest.raises(psycopg.Error, match="starts with neither of the two prefixes") as raised, db.transaction():
            db.execute("SELECT * FROM omop_emb_search('heart attack')")
        assert raised.value.diag.sqlstate == "OE003"
    assert len(db.execute("SELECT * FROM omop_emb_search('heart attack')").fetchall()) == 10


def test_the_two_roles_give_other_vectors_and_swapped_prefixes_swap_them(
    db: psycopg.Connection, model_url: str
) -> None:
    def vectors() -> list[np.ndarray]:
        row = db.execute(
            "SELECT omop_emb_embed_document('heart attack')::real[], omop_emb_embed_query('heart attack')::real[]"
        ).fetchone()
        assert row is not None
        return [np.array(vector) for vector in row]

    document, query = vectors()
    assert document @ query < 0.99
    with db.transaction(force_rollback=True):
        swapped = {"document_prefix": QUERY_PREFIX, "query_prefix": DOCUMENT_PREFIX}
        configure(db, "swapped", {"api_base": model_url, "model": MODEL, **swapped})
        db.execute("UPDATE omop_emb.config SET is_active = true WHERE name = 'swapped'")
        swapped_document, swapped_query = vectors()
    np.testing.assert_allclose(swapped_document, query, atol=1e-6)
    np.testing.assert_allclose(swapped_query, document, atol=1e-6)
