"""Names of non-standard concepts as terms of what they map to: what is indexed, when, and what keeps it right."""

import json
import threading
import time
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from omop_emb.cli import main
from omop_emb.configuration import configure
from omop_emb.doctor import diagnose
from tests.conftest import Connect
from tests.endpoint import Endpoint
from tests.test_index import run, status

# Equal prefixes, so that a query in a stored text's words finds that text.
SETTINGS = {"model": "recorded", "document_prefix": "p: ", "query_prefix": "p: "}
RELATE = "INSERT INTO cdm.concept_relationship (concept_id_1, concept_id_2, relationship_id, invalid_reason)"
ADD = """
INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
    concept_code, invalid_reason)
"""
TEXT = "Headache, unspecified"
HEADACHE = 378253
MAPPED = (HEADACHE, TEXT, "mapped")


def mapped(connection: psycopg.Connection) -> list[tuple[int, str]]:
    """Return the mapped terms that the package knows."""
    statement = "SELECT concept_id, text FROM omop_emb.term WHERE kind = 'mapped' ORDER BY 1, 2"
    return connection.execute(statement).fetchall()


def best(connection: psycopg.Connection, query: str) -> tuple[Any, ...] | None:
    """Return id, text and kind of the match of a query that equals a stored text, None when none does."""
    return connection.execute(
        "SELECT concept_id, matched_text, matched_kind FROM omop_emb_search(%s, 1) WHERE similarity > 0.999", [query]
    ).fetchone()


@pytest.fixture
def off(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give an indexed database whose configuration leaves mapped terms out, as is the default."""
    configure(db, "test", {"api_base": endpoint.url, **SETTINGS})
    assert run(db) == (16, 1, 0, 0, 0)
    endpoint.requests.clear()
    return db


@pytest.fixture
def on(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give an indexed database whose configuration has mapped terms."""
    configure(db, "test", {"api_base": endpoint.url, **SETTINGS, "mapped_terms": True})
    assert run(db) == (17, 1, 0, 0, 0)
    endpoint.requests.clear()
    return db


def test_found_by_the_name_of_what_maps_to_it(on: psycopg.Connection) -> None:
    # The name of ICD10CM I21 is that of the concept it maps to, so it is no term of its own.
    assert mapped(on) == [(HEADACHE, TEXT)]
    assert best(on, TEXT) == MAPPED
    assert best(on, "Headache") == (HEADACHE, "Headache", "name")
    assert best(on, "Cephalgia") == (HEADACHE, "Cephalgia", "synonym")
    ids = [row[0] for row in on.execute("SELECT concept_id FROM omop_emb_search(%s, 100)", [TEXT])]
    assert len(ids) == len(set(ids)) == 10
    assert status(on) == (10, 10, 0, 0, 0, True, True)


def test_off_by_default_and_switched_on_and_off_later(off: psycopg.Connection, endpoint: Endpoint) -> None:
    assert mapped(off) == []
    assert best(off, TEXT) is None
    endpoint.requests.clear()
    off.execute("UPDATE omop_emb.config SET mapped_terms = true")
    assert off.execute("SELECT concept_ids::text FROM omop_emb.queue").fetchall() == [("{(,)}",)]
    assert status(off) == (10, 9, 1, 0, 0, True, True)
    assert run(off) == (1, 0, 0, 0, 0)
    assert endpoint.texts == ["p: " + TEXT]
    assert status(off) == (10, 10, 0, 0, 0, True, True)
    assert best(off, TEXT) == MAPPED

    off.execute("UPDATE omop_emb.config SET mapped_terms = false")
    assert best(off, TEXT) is None
    assert status(off) == (10, 10, 0, 0, 0, True, True)
    assert run(off) == (0, 0, 1, 0, 0)
    assert mapped(off) == []
    off.execute("UPDATE omop_emb.config SET mapped_terms = true")
    assert run(off) == (0, 1, 0, 0, 0)
    assert best(off, TEXT) == MAPPED


def test_each_configuration_has_what_it_asks_for(on: psycopg.Connection, endpoint: Endpoint) -> None:
    """The source concept is outside the scope of both, and one configuration's terms are not another's."""
    settings = {"api_base": endpoint.url, **SETTINGS, "standard_only": True}
    configure(on, "standard", {**settings, "mapped_terms": True})
    configure(on, "plain", settings)
    run(on, "config => 'standard'")
    run(on, "config => 'plain'")
    find = "SELECT matched_kind FROM omop_emb_search(%s, 1, config => %s) WHERE concept_id = %s"
    assert on.execute(find, [TEXT, "standard", HEADACHE]).fetchall() == [("mapped",)]
    assert ("mapped",) not in on.execute(find, [TEXT, "plain", HEADACHE]).fetchall()
    for config in ("test", "standard", "plain"):
        assert status(on, config)[2:] == (0, 0, 0, True, True)
    pool = "SELECT DISTINCT kind FROM omop_emb.evaluation_pool(%s, '{}', 99, 1, NULL, NULL, NULL) ORDER BY 1"
    assert on.execute(pool, ["standard"]).fetchall() == [("mapped",), ("name",), ("synonym",)]
    assert on.execute(pool, ["plain"]).fetchall() == [("name",), ("synonym",)]
    on.execute("DELETE FROM omop_emb.config WHERE name <> 'plain'")
    run(on, "config => 'plain'")
    assert mapped(on) == []


RELATIONSHIPS = [
    ("'new', NULL, NULL", "'Maps to', NULL", True),
    ("'new', NULL, 'D'", "'Maps to', ''", True),
    ("'new', 'C', 'U'", "'Maps to', ' '", True),
    ("'new', '', ''", "'Maps to', NULL", True),
    ("'new', 'S', NULL", "'Maps to', NULL", False),
    ("'new', NULL, NULL", "'Maps to', 'D'", False),
    ("'new', NULL, NULL", "'Maps to', 'U'", False),
    ("'new', NULL, NULL", "'Maps to value', NULL", False),
    ("'new', NULL, NULL", "'Mapped from', NULL", False),
    ("' ', NULL, NULL", "'Maps to', NULL", False),
    ("'aspirin', NULL, NULL", "'Maps to', NULL", False),
    ("'acetylsalicylic acid', NULL, NULL", "'Maps to', NULL", False),
    ("'Aspirin', NULL, NULL", "'Maps to', NULL", True),
]


def test_which_relationships_count(on: psycopg.Connection) -> None:
    for source, relationship, expected in RELATIONSHIPS:
        name, standard, invalid = source.split(", ")
        with on.transaction(force_rollback=True):
            on.execute(f"{ADD} VALUES (1, {name}, 'Drug', 'x', 'x', {standard}, 'x', {invalid})".encode())
            on.execute(
                f"{RELATE} VALUES (1, 1112807, {relationship}), (1, 1, {relationship}),"
                " (2, 1, 'Maps to', NULL)".encode()
            )
            run(on)
            added = [(1112807, name.strip("'"))] if expected else []
            assert mapped(on) == [(HEADACHE, TEXT), *added], (source, relationship)
            assert status(on)[2:5] == (0, 0, 0)


def test_a_text_that_is_a_synonym_too_is_a_mapped_term_where_synonyms_are_off(
    on: psycopg.Connection, endpoint: Endpoint
) -> None:
    on.execute("UPDATE cdm.concept SET concept_name = 'Cephalgia' WHERE concept_id = 45571652")
    run(on)
    assert mapped(on) == []
    on.execute("UPDATE omop_emb.config SET synonyms = false")
    assert run(on)[:2] == (0, 1)
    assert best(on, "Cephalgia") == (HEADACHE, "Cephalgia", "mapped")
    configure(on, "both", {"api_base": endpoint.url, **SETTINGS, "mapped_terms": True})
    endpoint.requests.clear()
    run(on, "config => 'both'")
    assert endpoint.texts.count("p: Cephalgia") == 1
    assert status(on, "both")[2:5] == status(on, "test")[2:5] == (0, 0, 0)


def test_equal_texts_are_embedded_once_and_several_targets_share_them(
    on: psycopg.Connection, endpoint: Endpoint
) -> None:
    on.execute(f"{ADD} SELECT i, 'shared', 'Drug', 'x', 'x', NULL, 'x', NULL FROM generate_series(1, 3) i".encode())
    on.execute(
        f"{RELATE} VALUES (1, 378253, 'Maps to', NULL), (2, 378253, 'Maps to', NULL),"
        " (2, 320128, 'Maps to', NULL), (3, 320128, 'Maps to', NULL)".encode()
    )
    # The three concepts are in scope themselves: their name is the same text.
    assert run(on) == (1, 4, 0, 0, 0)
    assert endpoint.texts == ["p: shared"]
    assert mapped(on) == [(320128, "shared"), (HEADACHE, TEXT), (HEADACHE, "shared")]
    found = on.execute("SELECT concept_id FROM omop_emb_search('shared', 100) WHERE similarity > 0.999").fetchall()
    assert {row[0] for row in found} == {1, 2, 3, 320128, HEADACHE}


CHANGES = [
    ("UPDATE cdm.concept SET concept_name = 'Pain in head' WHERE concept_id = 45571652", "Pain in head"),
    ("DELETE FROM cdm.concept WHERE concept_id = 45571652", None),
    ("UPDATE cdm.concept SET standard_concept = 'S' WHERE concept_id = 45571652", None),
    ("UPDATE cdm.concept_relationship SET invalid_reason = 'D' WHERE concept_id_1 = 45571652", None),
    ("DELETE FROM cdm.concept_relationship WHERE concept_id_1 = 45571652", None),
    ("TRUNCATE cdm.concept_relationship", None),
]


@pytest.mark.parametrize("arguments", ["", f"ARRAY[{HEADACHE}]"])
def test_a_change_is_shown_and_found_by_the_next_run(on: psycopg.Connection, arguments: str) -> None:
    """No trigger is on concept_relationship: comparing finds it, of everything or of the given target."""
    for change, text in CHANGES:
        with on.transaction(force_rollback=True):
            on.execute(change.encode())
            assert best(on, TEXT) == MAPPED
            pending = 1 if text else 0
            assert status(on)[2:4] == (pending, 1), change
            assert run(on, arguments) == (pending, 0, 1, 0, 0)
            assert best(on, TEXT) is None
            assert mapped(on) == ([(HEADACHE, text)] if text else [])
            assert status(on)[2:4] == (0, 0)


def test_a_new_relationship_is_found_by_the_next_run(on: psycopg.Connection) -> None:
    on.execute(f"{RELATE} VALUES (45571652, 320128, 'Maps to', NULL)".encode())
    assert status(on)[2:4] == (1, 0)
    assert run(on, "ARRAY[378253]") == (0, 0, 0, 0, 0)
    assert run(on, "ARRAY[320128]") == (0, 1, 0, 0, 0)
    assert status(on)[2:4] == (0, 0)
    triggers = on.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'cdm.concept_relationship'::regclass")
    assert triggers.fetchone() == (0,)


def test_a_refresh_under_way_is_waited_for(on: psycopg.Connection, connect: Connect, endpoint: Endpoint) -> None:
    loader = connect(autocommit=False)
    loader.execute("TRUNCATE cdm.concept_relationship")
    worker, counts = connect(), []
    thread = threading.Thread(target=lambda: counts.append(run(worker)))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not on.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'relation'").fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert best(on, TEXT) == MAPPED
        endpoint.requests.clear()
        with loader.cursor().copy(
            "COPY cdm.concept_relationship (concept_id_1, concept_id_2, relationship_id) FROM STDIN"
        ) as copy:
            for target in (HEADACHE, 320128):
                copy.write_row((45571652, target, "Maps to"))
        loader.commit()
    finally:
        loader.close()
        thread.join(20)
    assert counts == [(0, 1, 0, 0, 0)]
    assert endpoint.texts == []
    assert mapped(on) == [(320128, TEXT), (HEADACHE, TEXT)]


def test_without_mapped_terms_the_table_is_left_alone(off: psycopg.Connection, connect: Connect) -> None:
    loader = connect(autocommit=False)
    loader.execute("TRUNCATE cdm.concept_relationship")
    off.execute("SET lock_timeout = '1s'")
    assert run(off) == (0, 0, 0, 0, 0)
    assert status(off)[2:4] == (0, 0)


@pytest.mark.parametrize(
    ("breakage", "reason"),
    [
        ("DROP TABLE cdm.concept_relationship", "there is no table cdm.concept_relationship"),
        (
            "REVOKE SELECT ON cdm.concept_relationship FROM omop_emb_owner",
            "omop_emb_owner may not read cdm.concept_relationship",
        ),
    ],
)
def test_without_the_table_everything_else_works_and_it_is_said(
    on: psycopg.Connection, breakage: str, reason: str
) -> None:
    warnings: list[str] = []
    on.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    on.execute(breakage.encode())
    assert run(on) == (0, 0, 1, 0, 0)
    assert warnings == [f"mapped terms are not indexed: {reason}"]
    assert best(on, TEXT) is None
    assert best(on, "Cephalgia") == (HEADACHE, "Cephalgia", "synonym")
    assert status(on)[2:4] == (0, 0)
    assert on.execute("SELECT last_error FROM omop_emb.status").fetchone() == (warnings[0],)
    said = [(f.level, f.message, f.config) for f in diagnose(on, endpoint=False) if f.check == "vocabulary"]
    assert ("warning", "mapped terms are not indexed: the table concept_relationship cannot be read", "test") in said
    wrong = [message for level, message, config in said if level != "ok" and config is None]
    assert ["cdm.concept_relationship" in message for message in wrong] == [True]

    on.execute("UPDATE omop_emb.config SET mapped_terms = false")
    assert run(on) == (0, 0, 0, 0, 0)
    assert len(warnings) == 1
    assert on.execute("SELECT last_error FROM omop_emb.status").fetchone() == (None,)
    assert "test" not in {f.config for f in diagnose(on, endpoint=False) if f.check == "vocabulary"}


def test_widened_columns(on: psycopg.Connection) -> None:
    on.execute(
        "ALTER TABLE cdm.concept_relationship ALTER concept_id_1 TYPE bigint, ALTER concept_id_2 TYPE numeric,"
        " ALTER relationship_id TYPE char(20), ALTER invalid_reason TYPE char(3)"
    )
    on.execute("ALTER TABLE cdm.concept ALTER concept_id TYPE bigint, ALTER concept_name TYPE char(300)")
    on.execute(f"{ADD} VALUES (3000000000, 'beyond', 'Drug', 'x', 'x', NULL, 'x', NULL)".encode())
    on.execute(
        f"{RELATE} VALUES (3000000000, 378253, 'Maps to', 'NA'), (45571652, 3000000000, 'Maps to', 'NA'),"
        " (45571652, 320128, 'Maps to', 'NA')".encode()
    )
    run(on)
    assert mapped(on) == [(320128, TEXT), (HEADACHE, TEXT)]
    assert run(on, "ARRAY[378253]") == (0, 0, 0, 0, 0)
    assert status(on)[2:4] == (0, 0)


def test_a_concept_stays_represented_by_its_name(on: psycopg.Connection) -> None:
    """Where a concept has one text, as in the Python interfaces, a mapped term is never that text."""
    on.execute("UPDATE cdm.concept SET concept_name = ' ' WHERE concept_id = 378253")
    run(on)
    assert on.execute("SELECT count(*) FROM omop_emb.config c, omop_emb.document_term(c, 378253)").fetchone() == (0,)
    on.execute("UPDATE cdm.concept SET concept_name = 'not embedded yet' WHERE concept_id = 378253")
    missing = on.execute(
        "SELECT concept_id FROM omop_emb.concepts_without_embedding('test', NULL, NULL, NULL, false, false, NULL)"
    ).fetchall()
    assert missing == [(HEADACHE,)]


def test_the_settings_on_the_command_line(dsn: str, endpoint: Endpoint) -> None:
    def command(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["--dsn", dsn, *arguments])

    def settings() -> Any:
        with psycopg.connect(dsn) as connection:
            columns = sql.SQL("SELECT mapped_terms, lexical_fallback, partial_indexes FROM omop_emb.config")
            return connection.execute(columns).fetchone()

    new = ("--api-base", endpoint.url, "--model", "recorded", "--document-prefix", "d", "--query-prefix", "q")
    assert command("configure", "test", *new).exit_code == 0
    assert settings() == (False, False, ["domain_id", "vocabulary_id"])
    given = ("--mapped-terms", "--lexical-fallback", "--partial-indexes", "vocabulary_id")
    assert command("configure", "test", *given).exit_code == 0
    assert command("configure", "test", "--batch-size", "8").exit_code == 0
    assert settings() == (True, True, ["vocabulary_id"])
    assert json.loads(command("index", "--json").stdout)["embedded"] == 17
    given = ("--no-mapped-terms", "--no-lexical-fallback", "--partial-indexes", "")
    assert command("configure", "test", *given).exit_code == 0
    assert settings() == (False, False, [])
    refused = command("configure", "test", "--partial-indexes", "domain_id,concept_class_id")
    assert refused.exit_code == 1
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.Error, match="partial_indexes is NULL") as raised:
        connection.execute("UPDATE omop_emb.config SET partial_indexes = NULL")
    assert raised.value.diag.sqlstate == "OE005"
    assert refused.stderr.startswith(
        "error: partial_indexes is '{domain_id,concept_class_id}', not a list of domain_id"
    )
