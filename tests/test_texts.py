"""Any text arrives at the endpoint as the prefix followed by exactly that text."""

import itertools
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import new_database
from tests.endpoint import Endpoint, running_endpoint

# PostgreSQL stores neither NUL nor halves of surrogate pairs.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60)
# A database is slower than what hypothesis expects, and one for all examples is meant.
relaxed = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def shared_endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def db(cluster: Cluster, installed_template: str, shared_endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """Give a configured database whose concept names may be of any length."""
    for dsn in new_database(cluster, installed_template):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
            connection.execute("ALTER TABLE cdm.concept ALTER concept_name TYPE text")
            connection.execute("ALTER TABLE cdm.concept_synonym ALTER concept_synonym_name TYPE text")
            configure(
                connection,
                "test",
                {
                    "api_base": shared_endpoint.url,
                    "model": "recorded",
                    "dimensions": 8,
                    "document_prefix": "doc: ",
                    "query_prefix": "query: ",
                },
            )
            yield connection


def test_a_very_long_word_is_indexed_quietly(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    notices: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(str(notice.message_primary))

    db.execute(
        "INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code)"
        " VALUES (1, repeat('long', 1000) || ' word', 'x', 'x', 'x', 'x')"
    )
    db.add_notice_handler(hear)
    try:
        assert db.execute("SELECT embedded FROM omop_emb_index()").fetchone() == (1,)
        assert notices == []
        found = db.execute("SELECT lexical_rank FROM omop_emb_search('words')").fetchall()
        assert found == [(1,)]
        db.execute("UPDATE omop_emb.config SET mapped_terms = true")
        db.execute("ALTER TABLE cdm.concept_relationship RENAME TO elsewhere")
        db.execute("SELECT omop_emb_index()")
        assert notices == ["mapped terms are not indexed: there is no table cdm.concept_relationship"]
    finally:
        db.remove_notice_handler(hear)
        db.execute("ALTER TABLE IF EXISTS cdm.elsewhere RENAME TO concept_relationship")
        db.execute("UPDATE omop_emb.config SET mapped_terms = false")
        db.execute("DELETE FROM cdm.concept")


@relaxed
@given(text=texts)
@example(text="%s %% %(a)s {0} {{ cdm }} $1 $$ $python$")
@example(text="' \" \\ \\n E'\\x00' ; -- /* */")
@example(text="\ufeff\uffff\ufdd0\U0010ffff\u2028\u2029\x85\x1b")
@example(text="é e\u0301 \u202eABC 👩🏽‍⚕️")
@example(text="\x1c")
def test_a_query(db: psycopg.Connection, shared_endpoint: Endpoint, text: str) -> None:
    shared_endpoint.requests.clear()
    vector = "SELECT omop_emb_embed_query(%s)::text, omop_emb_embed_document(%s)::text"
    if not text.strip():
        with pytest.raises(psycopg.Error, match="the text to embed is empty"):
            db.execute(vector, [text, text])
        return
    as_query, as_document = db.execute(vector, [text, text]).fetchall()[0]
    assert shared_endpoint.texts[-1] == "doc: " + text
    assert shared_endpoint.texts[:-1] in (["query: " + text], [])
    assert as_query != as_document
    assert db.execute("SELECT omop_emb_embed_query(%s)::text", [text]).fetchone() == (as_query,)


@settings(relaxed, max_examples=25)
@given(names=st.lists(texts, max_size=6), synonyms=st.lists(texts, max_size=4))
@example(names=["same", "same", "same ", "Same"], synonyms=["same", "other", "other"])
def test_names_and_synonyms(
    db: psycopg.Connection, shared_endpoint: Endpoint, names: list[str], synonyms: list[str]
) -> None:
    db.execute("SELECT omop_emb.discard('test')")
    db.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
    shared_endpoint.requests.clear()
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO cdm.concept"
            " (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code)"
            " VALUES (%s, %s, 'd', 'v', 'c', 'x')",
            list(enumerate(["first", *names])),
        )
        cursor.executemany(
            "INSERT INTO cdm.concept_synonym (concept_id, concept_synonym_name) VALUES (0, %s)",
            [(synonym,) for synonym in synonyms],
        )
    embedded, remaining = db.execute("SELECT embedded, remaining FROM omop_emb_index()").fetchall()[0]
    visible = {text for text in ("first", *names, *synonyms) if text.strip()}
    assert sorted(shared_endpoint.texts) == sorted("doc: " + text for text in visible)
    assert (embedded, remaining) == (len(visible), 0)
    named = ["first", *(name for name in names if name.strip())]
    for query, mode in itertools.product(("y", *names[:2]), ("semantic", "hybrid")):
        if not query.strip():
            continue
        found = db.execute(
            "SELECT concept_name, matched_text FROM omop_emb_search(%s, k => 100, mode => %s)", [query, mode]
        ).fetchall()
        assert sorted(name for name, _ in found) == sorted(named)
        # The code of every concept is x.
        assert {text for _, text in found} <= visible | ({"x"} if mode == "hybrid" else set())
    assert db.execute("SELECT pending - failed, stale FROM omop_emb.status").fetchone() == (0, 0)
