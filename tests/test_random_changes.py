"""After any sequence of changes and index runs, searches answer what they answer on a fresh installation."""

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate, uninstall
from tests.conftest import new_database
from tests.endpoint import Endpoint
from tests.test_index import SETTINGS, run, searchable, status


def change_at_random(connection: psycopg.Connection, generator: random.Random) -> None:
    """Do one random thing to the vocabulary."""
    texts = [f"text {number}" for number in range(25)]
    ids = list(range(1, 31))
    identifier, text = generator.choice(ids), generator.choice(texts)
    some = generator.sample(ids, 4)
    changes: list[tuple[int, str, list[Any]]] = [
        (8, "INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id,"
            " standard_concept, concept_code, invalid_reason) VALUES (%s, %s, %s, 'SNOMED', 'x', %s, '', %s)"
            " ON CONFLICT (concept_id) DO UPDATE SET concept_name = excluded.concept_name",
            [identifier, text, generator.choice(["Drug", "Condition"]), generator.choice(["S", None]),
             generator.choice([None, None, "D"])]),
        (4, "UPDATE cdm.concept SET concept_name = %s WHERE concept_id = ANY (%s)", [text, some]),
        (2, "UPDATE cdm.concept SET concept_id = concept_id + 30 WHERE concept_id = %s AND NOT EXISTS"
            " (SELECT FROM cdm.concept o WHERE o.concept_id = %s + 30)", [identifier, identifier]),
        (3, "UPDATE cdm.concept SET domain_id = %s, standard_concept = %s WHERE concept_id = ANY (%s)",
            [generator.choice(["Drug", "Condition"]), generator.choice(["S", None]), some]),
        (3, "UPDATE cdm.concept SET invalid_reason = %s WHERE concept_id = ANY (%s)",
            [generator.choice([None, "D", ""]), some]),
        (3, "DELETE FROM cdm.concept WHERE concept_id = ANY (%s)", [some]),
        (8, "INSERT INTO cdm.concept_synonym SELECT i, %s, 0 FROM unnest(%s) i", [text, some]),
        (3, "UPDATE cdm.concept_synonym SET concept_synonym_name = %s WHERE concept_id = %s", [text, identifier]),
        (2, "UPDATE cdm.concept_synonym SET concept_id = %s WHERE concept_id = %s", [some[0], identifier]),
        (3, "DELETE FROM cdm.concept_synonym WHERE concept_id = ANY (%s)", [some]),
        (6, "INSERT INTO cdm.concept_relationship (concept_id_1, concept_id_2, relationship_id, invalid_reason)"
            " SELECT i, %s, 'Maps to', %s FROM unnest(%s) i",
            [identifier, generator.choice([None, None, "D"]), some]),
        (2, "DELETE FROM cdm.concept_relationship WHERE concept_id_1 = ANY (%s)", [some]),
        (1, "TRUNCATE cdm.concept_relationship", []),
        (1, "TRUNCATE cdm.concept", []),
        (1, "TRUNCATE cdm.concept_synonym", []),
        (5, "SELECT omop_emb_index()", []),
        (2, "SELECT omop_emb_index(config => 'drugs')", []),
        (2, "SELECT omop_emb_index(%s::int[])", [some]),
        (2, "SELECT omop_emb_index(max_concepts => 2)", []),
        (1, "UPDATE omop_emb.config SET standard_only = NOT standard_only WHERE name = 'drugs'", []),
        (1, "UPDATE omop_emb.config SET synonyms = NOT synonyms WHERE name = 'test'", []),
        (2, "UPDATE omop_emb.config SET mapped_terms = NOT mapped_terms WHERE name = %s",
            [generator.choice(["test", "drugs"])]),
    ]  # fmt: skip
    _, statement, values = generator.choices(changes, weights=[weight for weight, _, _ in changes])[0]
    connection.execute(sql.SQL(statement), values)


def fresh(cluster: Cluster, dsn: str) -> Iterator[str]:
    """Yield a copy of the database with the package installed anew and the same configurations."""
    original = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute("SELECT * FROM omop_emb.config").fetchall()
    for copy in new_database(cluster, str(original)):
        uninstall(copy)
        migrate(copy)
        with psycopg.connect(copy, autocommit=True) as connection:
            for row in rows:
                settings = {name: value for name, value in row.items() if name not in ("config_id", "name")}
                for name in ("document_params", "query_params"):
                    settings.pop(name)
                configure(connection, row["name"], settings)
                run(connection, "config => %s", row["name"])
        yield copy


@pytest.mark.parametrize("seed", range(4))
def test_after_any_sequence_of_changes_the_index_equals_a_fresh_one(
    cluster: Cluster, dsn: str, endpoint: Endpoint, seed: int
) -> None:
    generator = random.Random(seed)
    with psycopg.connect(dsn, autocommit=True) as connection:
        configure(connection, "test", {"api_base": endpoint.url, **SETTINGS})
        configure(connection, "drugs", {"api_base": endpoint.url, **SETTINGS, "domains": ["Drug"]})
        for _ in range(60):
            change_at_random(connection, generator)
        changed = {}
        for config in ("test", "drugs"):
            assert run(connection, "config => %s", config)[3:] == (0, 0)
            assert run(connection, "config => %s", config) == (0, 0, 0, 0, 0)
            in_scope, indexed_concepts, *rest = status(connection, config)
            assert indexed_concepts == in_scope
            assert rest == [0, 0, 0, True, True]
            changed[config] = searchable(connection, config)
            assert len(changed[config]) == 3 * in_scope
        assert changed["test"]
    for copy in fresh(cluster, dsn):
        with psycopg.connect(copy) as connection:
            for config in ("test", "drugs"):
                assert changed[config] == searchable(connection, config)
