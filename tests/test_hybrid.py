"""Hybrid search, the default: what the letters of a query find, in one ranking with what its vector finds.

The vectors of the recording endpoint mean nothing, so whatever comes first on purpose comes first by its letters.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import new_database
from tests.endpoint import Endpoint, running_endpoint, vector_for

POOL = 40
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


@pytest.mark.parametrize(
    ("query", "first", "text", "kind"),
    [
        ("I10", [101], "I10", "code"),
        ("i10", [101], "I10", "code"),
        (" I10\n", [101], "I10", "code"),
        ("E11.621", [104], "E11.621", "code"),
        ("e11621", [104], "E11.621", "code"),
        ("1296@", [105], "1296@", "code"),
        ("1296", [106], "1296", "code"),
        ("2339-0", [107], "2339-0", "code"),
        ("23390", [107], "2339-0", "code"),
        ("g", [111, 112], "g", "code"),
        ("G", [112, 111], "G", "code"),
        ("K", [113], "K", "code"),
        ("k", [113], "K", "code"),
        ("m", [114, 115], "m", "name"),
        ("M", [115, 114], "M", "name"),
        ("M ", [115, 114], "M", "name"),
        ("'", [116], "'", "code"),
        ("''", [117], "''", "code"),
        ("x-ray", [121], "X-ray", "name"),
        ("xray", [121], "X-ray", "name"),
        ("X ray", [121], "X-ray", "name"),
        ("X\u2011ray", [121], "X-ray", "name"),
        ("xray of chest", [122], "X-ray of chest", "name"),
        ("chest film", [122], "chest film", "synonym"),
        ("metformin", [131, 135], "metformin", "name"),
        ("Metformin", [135, 131], "Metformin", "name"),
        ("metformn", [131], "metformin", "name"),
        ("metfornin 500 mg tablet", [132], "metformin hydrochloride 500 MG Oral Tablet", "name"),
        ("metotrexate", [134], "methotrexate", "name"),
        ("metroprolol", [133], "metoprolol", "name"),
        ("diabetis type 2", [103], "Type 2 diabetes mellitus", "name"),
        ("x:*", [151], "x:*", "code"),
        ("of the", [153], "of the", "name"),
        ("💔", [154], "💔", "name"),
    ],
)  # fmt: skip
def test_what_is_found_by_its_letters(
    db: psycopg.Connection, query: str, first: list[int], text: str, kind: str
) -> None:
    found = search(db, query)
    assert ids(found)[: len(first)] == first
    assert (found[0]["matched_text"], found[0]["matched_kind"]) == (text, kind)
    assert found[0]["lexical_rank"] == 1


def test_an_exact_name_comes_before_another_concepts_equal_synonym(db: psycopg.Connection) -> None:
    """The vectors are the same, and the synonym is one of a standard concept."""
    for mode in ("hybrid", "semantic"):
        db.execute("UPDATE omop_emb.config SET query_prefix = document_prefix")
        found = search(db, "Ague", 2, f", mode => '{mode}'")
        db.execute("UPDATE omop_emb.config SET query_prefix = 'query: '")
        assert [(row["concept_id"], row["matched_kind"]) for row in found] == [(141, "name"), (142, "synonym")]
        assert [row["similarity"] for row in found] == [pytest.approx(1)] * 2
    found = search(db, "ague", 2)
    assert [(row["concept_id"], row["matched_kind"]) for row in found] == [(141, "name"), (142, "synonym")]


@pytest.mark.parametrize("query", ["identical twins", "Identical-Twins"])
def test_ties_are_broken_by_standard_validity_and_id(db: psycopg.Connection, query: str) -> None:
    order = [206, 203, 204, 201, 205, 207, 202]
    for k in (7, 3, 1):
        assert ids(search(db, query, k, ", include_invalid => true")) == order[:k]
    assert ids(search(db, query, 6)) == order[:6]


@pytest.mark.parametrize("query", ["identical twin boys", "identicl twinns"])
def test_ties_of_what_is_only_alike(db: psycopg.Connection, query: str) -> None:
    """In the lexical ranking and, since their vectors are equal too, in the fused one."""
    rows = [row for row in search(db, query, 400, ", include_invalid => true") if row["concept_id"] in range(201, 208)]
    assert ids(rows) == [206, 203, 204, 201, 205, 207, 202]
    assert [row["lexical_rank"] for row in rows] == list(range(1, 8))


QUERIES = (
    "metformn", "type 2 diabetes", "xray chest", "I10", "g", "of the", "???", "filler", "heart disease ulcer",
    "identical twins", "something else", "malaria ague", "c4ca4238a0b923820dcc509a6f75849b fillr",
)  # fmt: skip
FILTERS = (
    ("", lambda c: True),
    ("domains => '{Drug}'", lambda c: c["domain_id"] == "Drug"),
    ("domains => '{Unit,Procedure}'", lambda c: c["domain_id"] in ("Unit", "Procedure")),
    ("vocabularies => '{ICD10CM,Local}'", lambda c: c["vocabulary_id"] in ("ICD10CM", "Local")),
    ("concept_classes => '{Ingredient}'", lambda c: c["concept_class_id"] == "Ingredient"),
    ("standard_only => true", lambda c: c["standard_concept"] == "S"),
    ("ancestor_concept_id => 131", lambda c: c["concept_id"] in (131, 132)),
    ("ancestor_concept_id => 121, vocabularies => '{RxNorm}'", lambda c: False),
    ("domains => '{}'", lambda c: False),
    ("domains => '{Drug}', standard_only => true", lambda c: c["domain_id"] == "Drug" and c["standard_concept"] == "S"),
)  # fmt: skip


def test_both_legs_under_every_filter(db: psycopg.Connection) -> None:
    """Rows that pass, all that were asked for, each concept once, its ranks and its real similarity."""
    cursor = db.cursor(row_factory=psycopg.rows.dict_row)
    everything = cursor.execute("SELECT * FROM omop_emb.concept").fetchall()
    generator = random.Random(5)
    lexical_only = 0
    for query in QUERIES:
        vector = np.array(vector_for("query: " + query, 8))
        for given, passes in FILTERS:
            k, invalid = generator.choice([1, 2, 10, 60, 1001]), generator.random() < 0.5
            wanted = {c["concept_id"] for c in everything if passes(c) and (invalid or c["is_valid"])}
            arguments = f", {given or 'config => NULL'}, include_invalid => {invalid}"
            found = search(db, query, k, arguments)
            assert [row["rank"] for row in found] == list(range(1, min(k, len(wanted)) + 1)), (query, arguments, k)
            assert len(set(ids(found))) == len(found)
            assert set(ids(found)) <= wanted
            nearest = {
                row["concept_id"]: row for row in search(db, query, max(k, POOL), arguments + ", mode => 'semantic'")
            }
            for row in found:
                near = nearest.get(row["concept_id"])
                assert row["semantic_rank"] == (near["rank"] if near else None)
                assert row["semantic_rank"] or row["lexical_rank"]
                name = next(c["concept_name"] for c in everything if c["concept_id"] == row["concept_id"])
                text = name if row["matched_kind"] == "code" else row["matched_text"]
                if near:
                    assert row["similarity"] == near["similarity"]
                else:
                    assert row["similarity"] == pytest.approx(cosine(vector, text), abs=1e-6)
                    lexical_only += 1
            positions = [row["lexical_rank"] for row in found if row["lexical_rank"]]
            assert len(set(positions)) == len(positions)
            if k >= len(wanted):
                assert sorted(positions) == list(range(1, len(positions) + 1))
    assert lexical_only > 10


def cosine(vector: np.ndarray[Any, Any], text: str) -> float:
    other = np.array(vector_for("doc: " + text, 8))
    return float(1 - (1 - vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)) / 2)


def test_the_fusion_is_by_score(db: psycopg.Connection) -> None:
    """The place of the similarity between the best and the 40th, 0 to 1, plus 1.5 times the lexical score."""
    fused = 0
    for query in ("heart disease ulcer", "metformn tablet", "type 2 thing", "chest x-ray film", "old hypertension"):
        near = search(db, query, POOL, ", mode => 'semantic'")
        best, last = near[0]["similarity"], near[-1]["similarity"]
        scores: dict[int, float] = dict(
            db.execute(
                "SELECT l.concept_id, l.score FROM omop_emb.lexical_candidates(1, omop_emb.lexical_query(%s), 40,"
                " omop_emb.search_filter(omop_emb.config_for(NULL), 40, NULL, NULL, NULL, false, false, NULL, NULL)) l",
                [query],
            ).fetchall()
        )
        found = [row for row in search(db, query, POOL) if row["lexical_rank"]]
        total = [
            max(0.0, (row["similarity"] - last) / (best - last)) + 1.5 * scores[row["concept_id"]] for row in found
        ]
        assert total == sorted(total, reverse=True)
        fused += len(total)
    assert fused > 10


@pytest.mark.parametrize(
    "query",
    [
        "of the and", "???", "'", "''", "\\", "\\'", "-", ". , ;", "a & b | !c:*", "'a' <-> 'b':A*", "!", "(", "()",
        ":*",
        "back\\slash 'quoted'", "example.com/it's\\odd?a='b'&c=!d", "https://x.y/a'b\\c:*?q=%27", "/usr/lo'cal/b\\in",
        "💔🫀 👩🏽‍⚕️", "%_%", "NULL", "x" * 32768, "漢" * 32768, "word " * 6000, " ".join(f"w{i}" for i in range(3000)),
        "é" * 1500, "a\x01b\x7f", "user@exam'ple.org", "<b title='x'>&amp;</b>", "1e400 -0 +.5", "0x'1",
    ],
    ids=lambda query: ascii(query)[:30],
)  # fmt: skip
def test_any_text_is_answered_quietly(db: psycopg.Connection, query: str) -> None:
    notices: list[str] = []

    def keep(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(str(notice.message_primary))

    db.add_notice_handler(keep)
    try:
        for k in (1, 10, 400):
            found = search(db, query, k, ", include_invalid => true")
            assert len(found) == len(set(ids(found))) == min(k, len(CONCEPTS) + FILLERS)
    finally:
        db.remove_notice_handler(keep)
    assert notices == []


def test_a_configuration_bounds_what_letters_find(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    narrow = {"domains": ["Condition", "Drug"], "synonyms": False, "vocabularies": ["RxNorm", "SNOMED", "ICD10CM"]}
    configure(db, "narrow", {"api_base": shared_endpoint.url, **SETTINGS, **narrow})
    try:
        db.execute("SELECT omop_emb_index(config => 'narrow')")
        scoped = ", config => 'narrow', include_invalid => true"
        assert [row["lexical_rank"] for row in search(db, "g", 400, scoped) if row["matched_kind"] == "code"] == []
        found = search(db, "metformin", 400, scoped)
        assert ids(found)[:2] == [131, 135]
        assert 136 not in ids(found)
        assert {row["vocabulary_id"] for row in found} == {"RxNorm", "SNOMED", "ICD10CM"}
        assert {row["matched_kind"] for row in found} == {"name"}
        rows = {row["concept_id"]: row for row in search(db, "Ague", 400, scoped)}
        assert rows[141]["rank"] == rows[141]["lexical_rank"] == 1
        assert (rows[142]["matched_text"], rows[142]["lexical_rank"]) == ("Malaria", None)
    finally:
        db.execute("DELETE FROM omop_emb.config WHERE name = 'narrow'")


def test_fewer_rows_are_the_first_of_more(db: psycopg.Connection) -> None:
    for query in QUERIES:
        many = ids(search(db, query, POOL))
        assert len(many) == POOL
        for k in (1, 5):
            assert ids(search(db, query, k)) == many[:k]


def test_what_is_new_or_gone_is_found_by_its_letters_or_not(db: psycopg.Connection) -> None:
    """A word that no term had before, misspelt too, with the next index run; what is deleted at once."""
    db.execute(INSERT.encode() + b" VALUES (900, 'zolgensma kit', 'Drug', 'RxNorm', 'Odd', 'S', 'N1', NULL)")
    db.execute("SELECT omop_emb_index(concept_ids => '{900}')")
    for query in ("zolgensma kit", "zolgensma", "zolgensna", "kit zolgensna", "N-1"):
        assert [row["lexical_rank"] for row in search(db, query, 400) if row["concept_id"] == 900] == [1]
    db.execute("DELETE FROM cdm.concept WHERE concept_id = 900")
    for query in ("zolgensma", "N1"):
        assert 900 not in ids(search(db, query, 400))
