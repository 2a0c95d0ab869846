"""Concepts to be found by their letters: the database of the tests of hybrid search.

The vectors of the recording endpoint mean nothing, so whatever comes first on purpose comes first by its letters.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import new_database
from tests.endpoint import Endpoint, running_endpoint

SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
# id, name, domain, vocabulary, class, standard, code, invalid reason
CONCEPTS: list[tuple[int, str, str, str, str, str | None, str, str | None]] = [
    (101, "Essential (primary) hypertension", "Condition", "ICD10CM", "3-char billing code", None, "I10", None),
    (102, "Hypertensive heart disease", "Condition", "ICD10CM", "3-char nonbill code", None, "I11", None),
    (103, "Type 2 diabetes mellitus", "Condition", "ICD10CM", "3-char nonbill code", None, "E11", None),
    (104, "Type 2 diabetes with foot ulcer", "Condition", "ICD10CM", "5-char billing code", None, "E11.621", None),
    (105, "Old code", "Observation", "Read", "Read", None, "1296@", None),
    (106, "Another old code", "Observation", "Read", "Read", None, "1296", None),
    (107, "Glucose [Mass/volume] in Blood", "Measurement", "LOINC", "Lab Test", "S", "2339-0", None),
    (111, "gram", "Unit", "UCUM", "Unit", "S", "g", None),
    (112, "gauss", "Unit", "UCUM", "Unit", "S", "G", None),
    (113, "kelvin", "Unit", "UCUM", "Unit", "S", "K", None),
    (114, "m", "Unit", "Local", "Unit", None, "length", None),
    (115, "M", "Unit", "Local", "Unit", None, "molar", None),
    (116, "minute of arc", "Unit", "UCUM", "Unit", "S", "'", None),
    (117, "second of arc", "Unit", "UCUM", "Unit", "S", "''", None),
    (121, "X-ray", "Procedure", "SNOMED", "Procedure", "S", "363680008", None),
    (122, "X-ray of chest", "Procedure", "SNOMED", "Procedure", "S", "399208008", None),
    (123, "Ray", "Device", "SNOMED", "Physical Object", "S", "1", None),
    (131, "metformin", "Drug", "RxNorm", "Ingredient", "S", "6809", None),
    (132, "metformin hydrochloride 500 MG Oral Tablet", "Drug", "RxNorm", "Clinical Drug", "S", "861007", None),
    (133, "metoprolol", "Drug", "RxNorm", "Ingredient", "S", "6918", None),
    (134, "methotrexate", "Drug", "RxNorm", "Ingredient", "S", "6851", None),
    (135, "Metformin", "Drug", "SNOMED", "Substance", None, "372567009", None),
    (136, "metformin", "Drug", "RxNorm", "Ingredient", "S", "gone", "D"),
    (141, "Ague", "Condition", "SNOMED", "Clinical Finding", None, "a1", None),
    (142, "Malaria", "Condition", "SNOMED", "Clinical Finding", "S", "a2", None),
    (151, "back\\slash 'quoted' a:b & c|d", "Observation", "Local", "Odd", None, "x:*", None),
    (152, "example.com/it's\\odd?a='b'&c=!d", "Observation", "Local", "Odd", None, "y", None),
    (153, "of the", "Observation", "Local", "Odd", None, "z", None),
    (154, "💔", "Observation", "Local", "Odd", None, "emoji", None),
    *((201 + i, "identical twins", "Condition", "Local", "Odd", standard, f"t{i}", invalid)
      for i, (standard, invalid) in enumerate([
        (None, None), ("", "U"), ("C", None), ("C", None), (None, None), ("S", None), ("X", None)])),
]  # fmt: skip
SYNONYMS = [(142, "Ague"), (103, "sugar disease"), (113, "degree kelvin"), (122, "chest film")]
ANCESTORS = [(131, 131), (131, 132), (103, 103), (103, 104), (121, 121), (121, 122)]
FILLERS = 300
INSERT = """INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id,
    standard_concept, concept_code, invalid_reason)"""

FILL = b""" SELECT 1000 + i, md5(i::text) || ' filler', CASE WHEN i %% 2 = 0 THEN 'Drug' ELSE 'Condition' END, 'SNOMED',
    'Odd', CASE WHEN i %% 3 = 0 THEN 'S' END, 'f' || i, CASE WHEN i %% 7 = 0 THEN 'D' END
    FROM generate_series(1, %s) i"""


@pytest.fixture(scope="module")
def shared_endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def db(cluster: Cluster, installed_template: str, shared_endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """Give a database with the concepts above and so many others that the 40 nearest are few of them."""
    for dsn in new_database(cluster, installed_template):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym, cdm.concept_ancestor")
            connection.cursor().executemany(INSERT + " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", CONCEPTS)
            connection.execute(INSERT.encode() + FILL, [FILLERS])
            connection.cursor().executemany(
                "INSERT INTO cdm.concept_synonym (concept_id, concept_synonym_name) VALUES (%s, %s)", SYNONYMS
            )
            connection.cursor().executemany("INSERT INTO cdm.concept_ancestor VALUES (%s, %s, 1, 1)", ANCESTORS)
            configure(connection, "all", {"api_base": shared_endpoint.url, "include_invalid": True, **SETTINGS})
            connection.execute("SELECT omop_emb_index()")
            yield connection


def search(db: psycopg.Connection, query: str, k: int = 10, arguments: str = "") -> list[dict[str, Any]]:
    cursor = db.cursor(row_factory=psycopg.rows.dict_row)
    return cursor.execute(f"SELECT * FROM omop_emb_search(%s, %s{arguments})".encode(), [query, k]).fetchall()


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["concept_id"] for row in rows]
