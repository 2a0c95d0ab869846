"""omop_emb_map: what is found for each text, and the standard concepts that this maps to by links of the vocabulary."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint

# Types as wide as sites make them.
RELATIONSHIPS = """
TRUNCATE cdm.concept_relationship;
ALTER TABLE cdm.concept_relationship
    ALTER COLUMN concept_id_1 TYPE bigint, ALTER COLUMN concept_id_2 TYPE bigint,
    ALTER COLUMN relationship_id TYPE text, ALTER COLUMN invalid_reason TYPE text;
INSERT INTO cdm.concept_relationship (concept_id_1, concept_id_2, relationship_id, invalid_reason) VALUES
    (35207668, 312327, 'Maps to', 'NA'),
    (35207668, 378253, 'Maps to', ''),
    (35207668, 378253, 'Maps to', NULL),
    (35207668, 4237458, 'Maps to', 'D'),
    (35207668, 320128, 'Subsumes', NULL),
    (35207668, 21604254, 'Maps to', NULL),
    (35207668, 99999999999, 'Maps to', NULL),
    (312327, 312327, 'Maps to', NULL);
"""
ICD_NAME = "Cardiac infarction, first"


@pytest.fixture
def mappable(indexed: psycopg.Connection) -> psycopg.Connection:
    """Give an indexed database with links; the ICD-10-CM concept has a name of its own, so that it can be found."""
    indexed.execute(RELATIONSHIPS)
    indexed.execute("UPDATE cdm.concept SET concept_name = %s WHERE concept_id = 35207668", [ICD_NAME])
    indexed.execute("SELECT * FROM omop_emb_index()")
    # The endpoint's vectors say nothing: one prefix for both roles makes a text find its own name.
    indexed.execute("UPDATE omop_emb.config SET query_prefix = document_prefix")
    return indexed


def mapped(connection: psycopg.Connection, queries: Sequence[str | None], arguments: str = "") -> list[Any]:
    return connection.execute(
        "SELECT query_no, query, rank, concept_id, standard_concept_id, standard_concept_name"
        f" FROM omop_emb_map(%s::text[]{arguments})",
        [list(queries)],
    ).fetchall()


def test_links_to_standard_concepts_are_followed(mappable: psycopg.Connection) -> None:
    assert mapped(mappable, [ICD_NAME, "Headache", "Antihypertensives", "Headache", "Heart attack"]) == [
        (1, ICD_NAME, 1, 35207668, 312327, "Acute myocardial infarction"),
        (1, ICD_NAME, 1, 35207668, 378253, "Headache"),
        (2, "Headache", 1, 378253, 378253, "Headache"),
        (3, "Antihypertensives", 1, 21604254, None, None),
        (4, "Headache", 1, 378253, 378253, "Headache"),
        (5, "Heart attack", 1, 4329847, 4329847, "Myocardial infarction"),
    ]


def test_a_target_that_is_not_valid_is_none(mappable: psycopg.Connection) -> None:
    mappable.execute("UPDATE cdm.concept SET invalid_reason = 'U' WHERE concept_id = 312327")
    mappable.execute("UPDATE cdm.concept SET standard_concept = '' WHERE concept_id = 378253")
    assert mapped(mappable, [ICD_NAME]) == [(1, ICD_NAME, 1, 35207668, None, None)]
    mappable.execute("UPDATE cdm.concept SET standard_concept = 'S' WHERE concept_id = 21604254")
    assert mapped(mappable, [ICD_NAME])[0][3:] == (35207668, 21604254, "Antihypertensives")


def test_its_other_columns_are_those_of_the_search(mappable: psycopg.Connection) -> None:
    queries = ["Headache", "aspirin", ICD_NAME]
    arguments = "k => 4, domains => '{Condition,Drug}', vocabularies => '{SNOMED,ICD10CM}', config => 'test'"
    names = (
        "query_no, query, rank, concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code,"
        " standard_concept, similarity, matched_text, matched_kind, semantic_rank, lexical_rank"
    )
    statement = "SELECT DISTINCT {} FROM {}(%s::text[], {}) ORDER BY query_no, rank"
    batch, mapping = (
        mappable.execute(statement.format(names, function, arguments).encode(), [queries]).fetchall()
        for function in ("omop_emb_search_batch", "omop_emb_map")
    )
    assert batch == mapping
    assert [row[0] for row in batch] == [1] * 4 + [2] * 4 + [3] * 4
    ranks = [(row[0], row[2], row[4]) for row in mapped(mappable, queries, f", {arguments}")]
    assert ranks == sorted(ranks, key=lambda row: (row[0], row[1], row[2] or 0))


def test_a_query_without_a_concept_has_a_row_of_its_own(mappable: psycopg.Connection, endpoint: Endpoint) -> None:
    def reject(request: dict[str, Any]) -> Answer | None:
        return Answer(400, b'{"error": "no"}') if any("poison" in text for text in request["input"]) else None

    endpoint.respond = reject
    notices: list[str] = []
    mappable.add_notice_handler(lambda notice: notices.append(str(notice.severity)))
    nothing = (None, None, None, None)
    queries = ["", "aspirin", None, " ", "poison", "Headache"]
    assert mapped(mappable, queries) == [
        (1, "", *nothing),
        (2, "aspirin", 1, 1112807, 1112807, "aspirin"),
        (3, None, *nothing),
        (4, " ", *nothing),
        (5, "poison", *nothing),
        (6, "Headache", 1, 378253, 378253, "Headache"),
    ]
    assert notices == ["WARNING"] * 4
    assert mapped(mappable, ["aspirin"], ", domains => '{Nothing}'") == [(1, "aspirin", *nothing)]
    assert mapped(mappable, []) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP TABLE cdm.concept_relationship", "the vocabulary table cdm.concept_relationship does not exist"),
        (
            "REVOKE SELECT ON cdm.concept_relationship FROM omop_emb_owner",
            "omop_emb_owner may not read the vocabulary table cdm.concept_relationship",
        ),
    ],
)
def test_without_links_to_read(mappable: psycopg.Connection, endpoint: Endpoint, change: str, message: str) -> None:
    mappable.execute(change.encode())
    asked = len(endpoint.requests)
    with pytest.raises(psycopg.Error, match=message) as raised:
        mapped(mappable, ["Headache"])
    assert raised.value.diag.sqlstate == "OE005"
    assert "omop-emb-admin migrate" in (raised.value.diag.message_hint or "")
    assert len(endpoint.requests) == asked
    assert mappable.execute("SELECT concept_id FROM omop_emb_search('Headache', 1)").fetchall() == [(378253,)]


def test_a_reader_can_map(mappable: psycopg.Connection, connect: Connect) -> None:
    mappable.execute("DROP ROLE IF EXISTS a_mapper")
    mappable.execute("CREATE ROLE a_mapper LOGIN IN ROLE omop_emb_reader")
    reader = connect(user="a_mapper")
    try:
        reader.execute("SET default_transaction_read_only = on")
        assert mapped(reader, ["Headache"]) == [(1, "Headache", 1, 378253, 378253, "Headache")]
    finally:
        reader.close()
        mappable.execute("DROP ROLE a_mapper")


def test_the_index_on_the_links_is_used(mappable: psycopg.Connection) -> None:
    mappable.execute(
        "INSERT INTO cdm.concept_relationship (concept_id_1, concept_id_2, relationship_id)"
        " SELECT i, i, 'Maps to' FROM generate_series(50000001, 50100000) i"
    )
    mappable.execute("CREATE INDEX idx_1 ON cdm.concept_relationship (concept_id_1)")
    mappable.execute("ANALYZE cdm.concept_relationship")
    used = "SELECT idx_scan, seq_scan FROM pg_stat_user_tables WHERE relname = 'concept_relationship'"
    mappable.execute("SELECT pg_stat_force_next_flush()")
    before = mappable.execute(used).fetchone()
    for _ in range(7):
        mapped(mappable, [ICD_NAME, "Headache"], ", k => 10")
    mappable.execute("SELECT pg_stat_force_next_flush()")
    after = mappable.execute(used).fetchone()
    assert before is not None
    assert after is not None
    assert after[0] >= before[0] + 7
    assert after[1] == before[1]
