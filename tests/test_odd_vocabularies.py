"""Vocabulary tables as sites really have them: widened, without keys, with gaps, with texts of any kind."""

from collections.abc import Iterator

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.install import migrate
from tests.endpoint import Endpoint

WIDENED = """
CREATE SCHEMA cdm;
CREATE TABLE cdm.concept (
    concept_id {id}, concept_name text, domain_id text, vocabulary_id char(20), concept_class_id text,
    standard_concept char(1), concept_code text, valid_start_date timestamp, valid_end_date text,
    invalid_reason char(1), remark json
);
CREATE TABLE cdm.concept_synonym (concept_id {id}, concept_synonym_name text, language_concept_id {id});
CREATE TABLE cdm.concept_ancestor (ancestor_concept_id {id}, descendant_concept_id {id});
"""
INSERT = """
INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
    concept_code, invalid_reason)
VALUES (%s, %s, 'Condition', 'SNOMED', 'Disorder', %s, 'c', %s)
"""
INDEX = "SELECT embedded, failed, remaining FROM omop_emb_index()"
FOUND = "SELECT concept_id FROM omop_emb_search('fever', k => 1000) ORDER BY 1"
STATUS = "SELECT concepts_in_scope, indexed, pending, stale, failed FROM omop_emb.status"


def add(
    db: psycopg.Connection, concept_id: int, name: str | None, standard: str | None = "S", invalid: str | None = None
) -> None:
    db.execute(INSERT, [concept_id, name, standard, invalid])


def prepare(dsn: str, endpoint: Endpoint) -> psycopg.Connection:
    """Install on the vocabulary that is there and configure."""
    migrate(dsn)
    db = psycopg.connect(dsn, autocommit=True)
    settings = {"api_base": endpoint.url, "model": "recorded", "dimensions": 8, "include_invalid": True}
    configure(db, "test", {**settings, "document_prefix": "doc: ", "query_prefix": "query: "})
    return db


@pytest.fixture(params=["bigint", "numeric", "bigint PRIMARY KEY"])
def widened(request: pytest.FixtureRequest, bare_dsn: str, endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    with psycopg.connect(bare_dsn) as connection:
        statement = WIDENED.replace("{id}", request.param, 1).replace("{id}", request.param.split()[0])
        connection.execute(statement)
    with prepare(bare_dsn, endpoint) as db:
        yield db


def test_widened_columns(widened: psycopg.Connection) -> None:
    db = widened
    for concept_id, standard, invalid in ((1, "S", ""), (2, "C", None), (3, "", " "), (4, None, "D"), (5, "S", "U")):
        add(db, concept_id, f"concept {concept_id}", standard, invalid)
    db.execute("INSERT INTO cdm.concept_synonym VALUES (1, 'first', 0), (2, 'second', 0), (99, 'of nothing', 0)")
    db.execute("INSERT INTO cdm.concept_ancestor VALUES (1, 1), (1, 3), (1, 3000000000), (3000000000, 1)")
    assert db.execute(INDEX).fetchone() == (7, 0, 0)
    assert db.execute(FOUND).fetchall() == [(1,), (2,), (3,)]
    rows = db.execute(
        "SELECT concept_id, vocabulary_id, standard_concept FROM omop_emb_search('fever', include_invalid => true)"
    ).fetchall()
    assert sorted(rows) == [
        (1, "SNOMED", "S"),
        (2, "SNOMED", "C"),
        (3, "SNOMED", None),
        (4, "SNOMED", None),
        (5, "SNOMED", "S"),
    ]
    found = db.execute("SELECT concept_id FROM omop_emb_search('fever', standard_only => true)").fetchall()
    assert found == [(1,)]
    found = db.execute(
        "SELECT concept_id FROM omop_emb_search('fever', vocabularies => '{SNOMED}', ancestor_concept_id => 1)"
    ).fetchall()
    assert sorted(found) == [(1,), (3,)]
    assert db.execute(STATUS).fetchone() == (5, 5, 0, 0, 0)

    db.execute("UPDATE cdm.concept SET concept_name = 'changed' WHERE concept_id = 1")
    db.execute("UPDATE cdm.concept SET invalid_reason = '' WHERE concept_id = 4")
    db.execute("DELETE FROM cdm.concept WHERE concept_id = 2")
    db.execute("UPDATE cdm.concept_synonym SET concept_synonym_name = 'other' WHERE concept_id = 1")
    assert db.execute(INDEX).fetchone() == (2, 0, 0)
    assert db.execute(FOUND).fetchall() == [(1,), (3,), (4,)]
    assert db.execute(STATUS).fetchone() == (4, 4, 0, 0, 0)


def test_ids_beyond_integer_are_left_out(widened: psycopg.Connection) -> None:
    db = widened
    for concept_id in (2147483647, 2147483648, 3_000_000_000, -2147483648, -2147483649):
        add(db, concept_id, f"concept {concept_id}")
    db.execute("INSERT INTO cdm.concept_synonym VALUES (3000000000, 'far away', 0)")
    assert db.execute(INDEX).fetchone() == (2, 0, 0)
    assert db.execute(FOUND).fetchall() == [(-2147483648,), (2147483647,)]
    assert db.execute("SELECT embedded FROM omop_emb_index('{2147483647, -2147483648}')").fetchone() == (0,)
    db.execute("UPDATE cdm.concept SET concept_name = concept_name || '!'")
    assert db.execute(INDEX).fetchone() == (2, 0, 0)
    db.execute("DELETE FROM cdm.concept")
    assert db.execute("SELECT removed, remaining FROM omop_emb_index()").fetchone() == (2, 0)
    assert db.execute(FOUND).fetchall() == []


@pytest.fixture
def keyless(dsn: str, endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """Give a vocabulary whose constraints are gone, with the package, empty."""
    with prepare(dsn, endpoint) as db:
        db.execute("ALTER TABLE cdm.concept DROP CONSTRAINT concept_pkey")
        columns = db.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'cdm.concept'::regclass AND attnum > 0 AND attnotnull"
        ).fetchall()
        for (column,) in columns:
            db.execute(f"ALTER TABLE cdm.concept ALTER {column} DROP NOT NULL")
        db.execute(
            "ALTER TABLE cdm.concept ALTER concept_name TYPE text, ALTER invalid_reason TYPE text,"
            " ALTER standard_concept TYPE text"
        )
        db.execute("ALTER TABLE cdm.concept_synonym ALTER concept_synonym_name TYPE text")
        db.execute("TRUNCATE cdm.concept, cdm.concept_synonym, cdm.concept_ancestor")
        yield db


def test_duplicates_of_an_id(keyless: psycopg.Connection, endpoint: Endpoint) -> None:
    add(keyless, 1, "one")
    add(keyless, 1, "one")
    for number in range(50):
        add(keyless, 2, f"two {number}")
    add(keyless, 3, None)
    add(keyless, 3, "three")
    add(keyless, 4, "four", invalid="D")
    add(keyless, 4, "four")
    assert keyless.execute("SELECT remaining FROM omop_emb_index()").fetchone() == (0,)
    found = keyless.execute("SELECT * FROM omop_emb_search('fever', include_invalid => true)").fetchall()
    assert sorted(row[1] for row in found) == [1, 2, 3, 4]
    # Which of two rows speaks for a concept must not change from run to run.
    endpoint.requests.clear()
    for _ in range(3):
        assert keyless.execute("SELECT * FROM omop_emb_index()").fetchone() == (0, 0, 0, 0, 0)
        keyless.execute("CREATE TABLE copied AS SELECT * FROM cdm.concept ORDER BY random()")
        keyless.execute("TRUNCATE cdm.concept")
        keyless.execute("INSERT INTO cdm.concept SELECT * FROM copied")
        keyless.execute("DROP TABLE copied")
    assert endpoint.requests == []
    assert keyless.execute(STATUS).fetchone() == (4, 4, 0, 0, 0)


def test_one_of_two_rows_of_an_id_is_deleted_or_changed(keyless: psycopg.Connection) -> None:
    for name in ("one", "uno", "one"):
        add(keyless, 1, name)
    assert keyless.execute(INDEX).fetchone() == (1, 0, 0)
    keyless.execute("UPDATE cdm.concept SET concept_code = 'x' WHERE concept_name = 'uno'")
    keyless.execute("DELETE FROM cdm.concept WHERE concept_name = 'one'")
    keyless.execute("SELECT * FROM omop_emb_index()")
    assert keyless.execute(
        "SELECT concept_id, concept_name, concept_code FROM omop_emb_search('fever')"
    ).fetchall() == [(1, "uno", "x")]
    assert keyless.execute(STATUS).fetchone() == (1, 1, 0, 0, 0)


def test_nulls_and_what_stands_for_them(keyless: psycopg.Connection) -> None:
    keyless.execute("INSERT INTO cdm.concept (concept_name) VALUES ('without an id')")
    keyless.execute("INSERT INTO cdm.concept (concept_id) VALUES (1)")
    for concept_id, name in ((2, None), (3, ""), (4, "  "), (5, "\n\t"), (6, "named")):
        add(keyless, concept_id, name)
    for concept_id, flag in ((11, ""), (12, "NA"), (13, " "), (14, None)):
        add(keyless, concept_id, f"flagged {concept_id}", flag, flag)
    keyless.execute("INSERT INTO cdm.concept_synonym VALUES (6, '', 0), (6, ' ', 0), (3, 'of a nameless one', 0)")
    assert keyless.execute(INDEX).fetchone() == (6, 0, 0)
    found = keyless.execute("SELECT concept_id, standard_concept FROM omop_emb_search('fever')").fetchall()
    assert sorted(found) == [(3, "S"), (6, "S"), (11, None), (12, None), (13, None), (14, None)]
    assert keyless.execute("SELECT pending, stale, failed FROM omop_emb.status").fetchone() == (0, 0, 0)
    keyless.execute("UPDATE cdm.concept SET concept_id = NULL WHERE concept_id = 6")
    keyless.execute("DELETE FROM cdm.concept WHERE concept_id IS NULL")
    keyless.execute("SELECT * FROM omop_emb_index()")
    assert (6,) not in keyless.execute(FOUND).fetchall()
    assert keyless.execute("SELECT pending, stale, failed FROM omop_emb.status").fetchone() == (0, 0, 0)


def test_no_rows(keyless: psycopg.Connection, endpoint: Endpoint) -> None:
    assert keyless.execute("SELECT * FROM omop_emb_index()").fetchone() == (0, 0, 0, 0, 0)
    assert keyless.execute(FOUND).fetchall() == []
    assert keyless.execute("SELECT * FROM omop_emb_search('fever', domains => '{Drug}')").fetchall() == []
    assert keyless.execute(STATUS).fetchone() == (0, 0, 0, 0, 0)
    with pytest.raises(psycopg.Error, match="concept 1 is not indexed"):
        keyless.execute("SELECT * FROM omop_emb_similar(1)")


def test_a_name_of_a_megabyte_is_a_failure_of_its_own(keyless: psycopg.Connection, endpoint: Endpoint) -> None:
    add(keyless, 1, "first")
    add(keyless, 2, "a megabyte " * 100_000)
    add(keyless, 3, "third")
    keyless.execute("INSERT INTO cdm.concept_synonym VALUES (3, %s, 0)", ["x" * 32769])
    keyless.execute("INSERT INTO cdm.concept_synonym VALUES (3, %s, 0)", ["x" * 32768])
    assert keyless.execute(INDEX).fetchone() == (3, 2, 0)
    assert keyless.execute(FOUND).fetchall() == [(1,), (3,)]
    failures = keyless.execute("SELECT concept_id, length(text), error FROM omop_emb.failures ORDER BY 1").fetchall()
    assert failures == [
        (2, 1_100_000, "the text to embed has 1100000 characters, the limit is 32768"),
        (3, 32769, "the text to embed has 32769 characters, the limit is 32768"),
    ]
    assert max(map(len, endpoint.texts)) == 32768 + len("doc: ")
    keyless.execute("UPDATE cdm.concept SET concept_name = 'second' WHERE concept_id = 2")
    keyless.execute("DELETE FROM cdm.concept_synonym")
    assert keyless.execute(INDEX).fetchone() == (1, 0, 0)
    assert keyless.execute("TABLE omop_emb.failures").fetchall() == []


def test_the_vocabulary_table_is_gone(keyless: psycopg.Connection) -> None:
    add(keyless, 1, "one")
    keyless.execute(INDEX)
    keyless.execute("DROP TABLE cdm.concept_synonym, cdm.concept_ancestor")
    assert keyless.execute(INDEX).fetchone() == (0, 0, 0)
    with pytest.raises(psycopg.Error, match=r"cdm\.concept_ancestor does not exist") as raised:
        keyless.execute("SELECT * FROM omop_emb_search('fever', ancestor_concept_id => 1)")
    assert raised.value.diag.sqlstate == "OE005"
    keyless.execute("DROP TABLE cdm.concept")
    assert keyless.execute(FOUND).fetchall() == [(1,)]
    with pytest.raises(psycopg.Error, match=r"vocabulary table cdm\.concept does not exist") as raised:
        keyless.execute(INDEX)
    assert raised.value.diag.sqlstate == "OE005"
    assert raised.value.diag.message_hint
