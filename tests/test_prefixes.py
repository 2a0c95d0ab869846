"""Every document gets the document prefix, every query the query prefix, whichever function sends it."""

import psycopg
import pytest

from tests.conftest import Connect
from tests.endpoint import Endpoint


def test_every_indexed_text_has_the_document_prefix(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("UPDATE cdm.concept SET concept_name = concept_name || ' changed'")
    indexed.execute("SELECT * FROM omop_emb_index()")
    wanted = indexed.execute("SELECT DISTINCT 'doc: ' || concept_name FROM cdm.concept WHERE invalid_reason IS NULL")
    assert sorted(endpoint.texts) == sorted(text for (text,) in wanted)


def test_each_function_sends_its_role(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("SELECT * FROM omop_emb_search('chest pain')")
    indexed.execute("SELECT omop_emb_embed_query('sore throat')")
    indexed.execute("SELECT omop_emb_embed_document('a document')")
    indexed.execute("SELECT * FROM omop_emb_similar(4329847)")
    assert endpoint.texts == ["query: chest pain", "query: sore throat", "doc: a document"]


def test_nothing_is_stripped_or_added(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    prefix = "  search\\n\t%s {0} 'é' "
    indexed.execute("UPDATE omop_emb.config SET query_prefix = %s", [prefix])
    indexed.execute("SELECT * FROM omop_emb_search(%s)", ["  two  spaces \n"])
    assert endpoint.texts == [prefix + "  two  spaces \n"]


def test_an_edit_of_the_query_prefix_is_seen_by_an_open_session_at_once(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    other = connect()
    other.execute("SELECT * FROM omop_emb_search('fever')")
    other.execute("SELECT * FROM omop_emb_search('fever')")
    indexed.execute("UPDATE omop_emb.config SET query_prefix = 'Q: '")
    other.execute("SELECT * FROM omop_emb_search('fever')")
    indexed.execute("""UPDATE omop_emb.config SET query_params = '{"task": "retrieval.query"}'""")
    other.execute("SELECT * FROM omop_emb_search('fever')")
    assert endpoint.texts == ["query: fever", "Q: fever", "Q: fever"]
    assert [request.get("task") for request in endpoint.requests] == [None, None, "retrieval.query"]


def test_parameters_go_with_their_role(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("SELECT omop_emb.discard('test')")
    indexed.execute(
        """UPDATE omop_emb.config SET document_params = '{"input_type": "passage"}',
            query_params = '{"input_type": "query"}'"""
    )
    indexed.execute("SELECT * FROM omop_emb_index()")
    indexed.execute("SELECT * FROM omop_emb_search('fever')")
    assert {request["input_type"] for request in endpoint.requests[:-1]} == {"passage"}
    assert endpoint.requests[-1]["input_type"] == "query"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", "other"),
        ("dimensions", 16),
        ("document_prefix", "passage: "),
        ("document_params", '{"input_type": "passage"}'),
        ("distance", "l2"),
        ("storage", "halfvec"),
    ],
)
def test_an_edit_of_a_document_setting_under_vectors_is_refused(
    indexed: psycopg.Connection, setting: str, value: object
) -> None:
    statement = psycopg.sql.SQL("UPDATE omop_emb.config SET {} = %s").format(psycopg.sql.Identifier(setting))
    before = indexed.execute("TABLE omop_emb.config").fetchall()
    with pytest.raises(psycopg.Error, match=f"holds 16 vectors.*{setting}") as raised:
        indexed.execute(statement, [value])
    assert raised.value.diag.sqlstate == "OE001"
    hint = raised.value.diag.message_hint or ""
    assert "second configuration" in hint
    assert "omop_emb.discard('test')" in hint
    assert indexed.execute("TABLE omop_emb.config").fetchall() == before


def test_a_setting_changed_behind_the_check_is_an_error_and_not_a_worse_answer(indexed: psycopg.Connection) -> None:
    indexed.execute("ALTER TABLE omop_emb.config DISABLE TRIGGER USER")
    indexed.execute("UPDATE omop_emb.config SET document_prefix = 'wrong: '")
    for statement in (
        "SELECT * FROM omop_emb_search('fever')",
        "SELECT * FROM omop_emb_similar(4329847)",
        "SELECT omop_emb_embed_query('fever')",
        "SELECT * FROM omop_emb_index()",
    ):
        with pytest.raises(psycopg.Error, match=r'"wrong: ".*"doc: "') as raised:
            indexed.execute(statement)
        assert raised.value.diag.sqlstate == "OE001"


def test_discard_then_reindex_in_place(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    assert indexed.execute("SELECT omop_emb.discard('test')").fetchone() == (16,)
    indexed.execute("UPDATE omop_emb.config SET document_prefix = 'other: '")
    assert indexed.execute("SELECT embedded, remaining FROM omop_emb_index()").fetchone() == (16, 0)
    assert all(text.startswith("other: ") for text in endpoint.texts)
