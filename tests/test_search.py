"""Search answers what an exact ranking in numpy says: every filter, distance, storage, scope and tie."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import new_database
from tests.endpoint import Endpoint, running_endpoint, vector_for

DIMENSIONS = 8
DISTANCES = ("cosine", "l2", "l1", "inner_product")
STORAGES = ("vector", "halfvec")
COLUMNS = (
    "rank, concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code, standard_concept,"
    " similarity, matched_text, matched_kind, semantic_rank, lexical_rank"
)
SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Concept:
    concept_id: int
    name: str
    domain: str
    vocabulary: str
    concept_class: str
    standard: str | None
    valid: bool
    synonyms: tuple[str, ...] = ()

    @property
    def terms(self) -> list[tuple[str, str]]:
        return [("name", self.name), *(("synonym", text) for text in self.synonyms if text != self.name)]


@dataclass
class Scope:
    """What a configuration indexes, or the filters of a search."""

    domains: list[str] | None = None
    vocabularies: list[str] | None = None
    concept_classes: list[str] | None = None
    standard_only: bool = False
    include_invalid: bool = False
    synonyms: bool = True
    among: set[int] | None = field(default=None)

    def has(self, concept: Concept) -> bool:
        return (
            (self.domains is None or concept.domain in self.domains)
            and (self.vocabularies is None or concept.vocabulary in self.vocabularies)
            and (self.concept_classes is None or concept.concept_class in self.concept_classes)
            and (not self.standard_only or concept.standard == "S")
            and (self.include_invalid or concept.valid)
            and (self.among is None or concept.concept_id in self.among)
        )


def make_concepts(count: int) -> list[Concept]:
    generator = random.Random(1)
    # So few texts that concepts share names and synonyms, within and across every attribute.
    texts = [f"text {number}" for number in range(count)]
    return [
        Concept(
            concept_id=1000 + number * 7 % (count * 7),
            name=generator.choice(texts),
            domain=generator.choice(["Condition", "condition", "Drug", "Measurement"]),
            vocabulary=generator.choice(["SNOMED", "RxNorm", "ICD10CM"]),
            concept_class=generator.choice(["Clinical Finding", "Ingredient", "Lab Test"]),
            standard=generator.choice(["S", "S", "C", None]),
            valid=generator.random() > 0.2,
            synonyms=tuple(sorted(set(generator.choices(texts, k=generator.choice([0, 0, 1, 2, 5]))))),
        )
        for number in range(count)
    ]


CONCEPTS = make_concepts(80)
ANCESTORS = {ancestor.concept_id: random.Random(2).sample(CONCEPTS, 12) for ancestor in CONCEPTS[:5]}


def load(connection: psycopg.Connection) -> None:
    connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym, cdm.concept_ancestor")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id,"
            " standard_concept, concept_code, invalid_reason) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    c.concept_id, c.name, c.domain, c.vocabulary, c.concept_class, c.standard, f"code {c.concept_id}",
                    None if c.valid else "D",
                )
                for c in CONCEPTS
            ],
        )  # fmt: skip
        cursor.executemany(
            "INSERT INTO cdm.concept_synonym (concept_id, concept_synonym_name) VALUES (%s, %s)",
            [(c.concept_id, text) for c in CONCEPTS for text in c.synonyms],
        )
        cursor.executemany(
            "INSERT INTO cdm.concept_ancestor (ancestor_concept_id, descendant_concept_id) VALUES (%s, %s)",
            [(ancestor, c.concept_id) for ancestor, found in ANCESTORS.items() for c in found],
        )


@pytest.fixture(scope="module")
def shared_endpoint() -> Iterator[Endpoint]:
    with running_endpoint(dimensions=DIMENSIONS) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def searchable(cluster: Cluster, installed_template: str, shared_endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """Give a database with the concepts above, indexed by one configuration per distance and storage."""
    for database in new_database(cluster, installed_template):
        with psycopg.connect(database, autocommit=True) as connection:
            load(connection)
            for distance in DISTANCES:
                for storage in STORAGES:
                    name = f"{distance} {storage}"
                    add(connection, shared_endpoint, name, distance=distance, storage=storage, include_invalid=True)
            yield connection


def add(connection: psycopg.Connection, endpoint: Endpoint, name: str, **settings: Any) -> None:
    configure(connection, name, {"api_base": endpoint.url, **SETTINGS, **settings})
    remaining = connection.execute("SELECT remaining FROM omop_emb_index(config => %s)", [name]).fetchone()
    assert remaining == (0,)


def stored(text: str, distance: str, storage: str) -> Vector:
    sent = np.array(vector_for(text, DIMENSIONS), dtype=np.float32).astype(np.float64)
    length = np.linalg.norm(sent) if distance == "inner_product" else 1
    vector = (sent / length).astype(np.float32)
    return vector.astype(np.float16 if storage == "halfvec" else np.float32).astype(np.float64)


def similarity(a: Vector, b: Vector, distance: str) -> float:
    match distance:
        case "cosine":
            return float(1 - (1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)) / 2)
        case "l2":
            return float(1 / (1 + np.linalg.norm(a - b)))
        case "l1":
            return float(1 / (1 + np.abs(a - b).sum()))
    return float((1 + a @ b) / 2)


def expected(query: Vector, k: int, wanted: list[Concept], synonyms: bool, distance: str, storage: str) -> list[Any]:
    """Rank exactly: best term per concept, ties by name before other texts, S, C, other valid, invalid, concept_id."""
    best = []
    for concept in wanted:
        terms = [term for term in concept.terms if synonyms or term[0] == "name"]
        scored = [
            (-similarity(query, stored("doc: " + text, distance, storage), distance), kind, text)
            for kind, text in terms
        ]
        score, kind, text = min(scored)
        preference = {"S": 0, "C": 1}.get(concept.standard or "", 2 if concept.valid else 3)
        best.append((score, kind != "name", preference, concept.concept_id, concept, kind, text))
    best.sort(key=lambda row: row[:4])
    return [
        (
            rank, c.concept_id, c.name, c.domain, c.vocabulary, c.concept_class, f"code {c.concept_id}", c.standard,
            pytest.approx(-score, abs=2e-6), text, kind, rank, None,
        )
        for rank, (score, _, _, _, c, kind, text) in enumerate(best[:k], 1)
    ]  # fmt: skip


def random_filter(generator: random.Random) -> tuple[dict[str, Any], Scope]:
    scope = Scope(include_invalid=generator.random() < 0.5, standard_only=generator.random() < 0.2)
    arguments: dict[str, Any] = {"include_invalid": scope.include_invalid, "standard_only": scope.standard_only}
    for name, values in (
        ("domains", ["Condition", "condition", "DRUG", "Drug", "no such"]),
        ("vocabularies", ["SNOMED", "RxNorm", "snomed"]),
        ("concept_classes", ["Clinical Finding", "Ingredient", ""]),
    ):
        if generator.random() < 0.4:
            arguments[name] = generator.sample(values, generator.choice([0, 1, 2, 2, 3]))
            setattr(scope, name, arguments[name])
    if generator.random() < 0.3:
        ancestor = generator.choice([*ANCESTORS, -5])
        arguments["ancestor_concept_id"] = ancestor
        scope.among = {ancestor} | {c.concept_id for c in ANCESTORS.get(ancestor, [])}
    return arguments, scope


def search(connection: psycopg.Connection, function: str, subject: str | int, **arguments: Any) -> list[Any]:
    """Search by meaning alone, which is what an exact ranking in numpy can be compared with."""
    if function == "omop_emb_search":
        arguments["mode"] = "semantic"
    named = psycopg.sql.SQL("").join(
        psycopg.sql.SQL(", {} => {}").format(psycopg.sql.Identifier(name), psycopg.sql.Placeholder(name))
        for name in arguments
    )
    statement = psycopg.sql.SQL("SELECT " + COLUMNS + " FROM {}(%(subject)s{})")
    return connection.execute(
        statement.format(psycopg.sql.Identifier(function), named), {"subject": subject, **arguments}
    ).fetchall()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("distance", DISTANCES)
def test_ranking_equals_an_exact_one_under_random_filters(
    searchable: psycopg.Connection, distance: str, storage: str
) -> None:
    generator = random.Random(f"{distance}{storage}")
    found_any = 0
    for number in range(40):
        query, k = f"question {number % 9}", generator.choice([1, 3, 10, 500])
        arguments, scope = random_filter(generator)
        vector = stored("query: " + query, distance, storage)
        wanted = expected(vector, k, [c for c in CONCEPTS if scope.has(c)], True, distance, storage)
        found = search(searchable, "omop_emb_search", query, k=k, config=f"{distance} {storage}", **arguments)
        assert found == wanted, arguments
        found_any += bool(found)
    assert found_any > 10


@pytest.mark.parametrize("distance", DISTANCES)
def test_similar_equals_an_exact_ranking_and_leaves_itself_out(
    searchable: psycopg.Connection, distance: str, shared_endpoint: Endpoint
) -> None:
    generator = random.Random(distance)
    asked = len(shared_endpoint.requests)
    for concept in generator.sample(CONCEPTS, 15):
        arguments, scope = random_filter(generator)
        others = [c for c in CONCEPTS if scope.has(c) and c != concept]
        wanted = expected(stored("doc: " + concept.name, distance, "vector"), 10, others, True, distance, "vector")
        found = search(searchable, "omop_emb_similar", concept.concept_id, config=f"{distance} vector", **arguments)
        assert found == wanted
    assert len(shared_endpoint.requests) == asked


def test_a_search_for_a_stored_text_in_the_same_words_has_similarity_1(
    indexed: psycopg.Connection,
) -> None:
    indexed.execute("UPDATE omop_emb.config SET query_prefix = document_prefix")
    found = indexed.execute(
        "SELECT rank, concept_id, similarity, matched_text, matched_kind FROM omop_emb_search('Heart attack', 1)"
    ).fetchall()
    assert found == [(1, 4329847, pytest.approx(1), "Heart attack", "synonym")]


def test_equal_texts_of_two_concepts_are_both_found_and_embedded_once(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    indexed.execute("UPDATE omop_emb.config SET query_prefix = document_prefix")
    found = indexed.execute(
        "SELECT concept_id, standard_concept, similarity FROM omop_emb_search('Acute myocardial infarction', 2)"
    ).fetchall()
    assert found == [(312327, "S", pytest.approx(1)), (35207668, None, pytest.approx(1))]


def test_ties_are_broken_by_standard_validity_and_id(indexed: psycopg.Connection) -> None:
    indexed.execute(
        """INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id,
                standard_concept, concept_code, invalid_reason)
            SELECT id, 'the same', 'Condition', 'SNOMED', 'Clinical Finding', standard, '', invalid
            FROM (VALUES (9, NULL, NULL), (8, '', 'U'), (7, 'C', NULL), (6, 'C', NULL), (5, NULL, NULL), (4, 'S', 'D'),
                (13, 'S', NULL), (12, 'X', NULL), (11, 'S', '')) t (id, standard, invalid)"""
    )
    indexed.execute("UPDATE omop_emb.config SET query_prefix = document_prefix, include_invalid = true")
    indexed.execute("SELECT omop_emb_index()")
    for k in (9, 3, 1):
        found = indexed.execute(
            "SELECT concept_id FROM omop_emb_search('the same', %s, include_invalid => true)", [k]
        ).fetchall()
        assert [row[0] for row in found] == [4, 11, 13, 6, 7, 5, 9, 12, 8][:k]
        exactly = indexed.execute(
            "SELECT r.concept_id FROM omop_emb.config c,"
            " omop_emb.search_exactly(c, omop_emb_embed_query('the same'), %s,"
            " omop_emb.search_filter(c, 1, NULL, NULL, NULL, false, true, NULL, NULL)) r ORDER BY r.rank",
            [k],
        ).fetchall()
        assert exactly == found


def test_more_asked_for_than_there_is(indexed: psycopg.Connection) -> None:
    for k in (10, 11, 1000, 1001, 10_000_000, 2_147_483_647):
        assert len(indexed.execute("SELECT FROM omop_emb_search('fever', %s)", [k]).fetchall()) == 10
        assert len(indexed.execute("SELECT FROM omop_emb_similar(378253, %s)", [k]).fetchall()) == 9


@pytest.mark.parametrize(
    "scope",
    [
        Scope(standard_only=True),
        Scope(domains=["Condition", "Drug"]),
        Scope(vocabularies=["RxNorm"]),
        Scope(concept_classes=["Ingredient", "Lab Test"]),
        Scope(include_invalid=True),
        Scope(synonyms=False),
        Scope(domains=["Drug"], vocabularies=["SNOMED", "RxNorm"], standard_only=True, synonyms=False),
        Scope(domains=[]),
    ],
    ids=str,
)
def test_the_scope_of_a_configuration_bounds_every_search(
    searchable: psycopg.Connection, shared_endpoint: Endpoint, scope: Scope
) -> None:
    """Concepts outside share names and synonyms with concepts inside; other configurations index them all."""
    settings = {name: value for name, value in vars(scope).items() if name != "among"}
    sent_before = len(shared_endpoint.texts)
    add(searchable, shared_endpoint, "scoped", **settings)
    inside = [c for c in CONCEPTS if scope.has(c)]
    try:
        texts = {text for c in inside for kind, text in c.terms if scope.synonyms or kind == "name"}
        sent = [text for text in shared_endpoint.texts[sent_before:] if text != "doc: diabetes"]
        assert sorted(sent) == sorted("doc: " + text for text in texts)
        vector = stored("query: anything", "cosine", "vector")
        for include_invalid in (True, False):
            wanted = [c for c in inside if include_invalid or c.valid]
            assert search(
                searchable, "omop_emb_search", "anything", k=500, config="scoped", include_invalid=include_invalid
            ) == expected(vector, 500, wanted, scope.synonyms, "cosine", "vector")
        condition = search(searchable, "omop_emb_search", "anything", k=500, config="scoped", domains=["Condition"])
        wanted = [c for c in inside if c.domain == "Condition" and c.valid]
        assert condition == expected(vector, 500, wanted, scope.synonyms, "cosine", "vector")
        for concept in set(CONCEPTS) - set(inside):
            with pytest.raises(psycopg.Error, match="is not indexed in configuration 'scoped'") as raised:
                search(searchable, "omop_emb_similar", concept.concept_id, config="scoped")
            assert raised.value.diag.sqlstate == "OE005"
    finally:
        searchable.execute("DELETE FROM omop_emb.config WHERE name = 'scoped'")
    tables = searchable.execute("SELECT FROM pg_tables WHERE tablename LIKE 'embedding\\_%'").fetchall()
    assert len(tables) == len(DISTANCES) * len(STORAGES)


def test_two_configurations_and_activation(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    add(indexed, endpoint, "l2 beside", distance="l2", query_prefix="other: ")
    states = "SELECT name, is_active FROM omop_emb.config ORDER BY name"
    assert indexed.execute(states).fetchall() == [("l2 beside", False), ("test", True)]
    endpoint.requests.clear()

    by_default = indexed.execute("SELECT similarity FROM omop_emb_search('fever', mode => 'semantic')").fetchall()
    by_name = search(indexed, "omop_emb_search", "fever", config="l2 beside")
    assert [row[8] for row in by_name] != [row[0] for row in by_default]
    indexed.execute("UPDATE omop_emb.config SET is_active = true WHERE name = 'l2 beside'")
    assert indexed.execute(states).fetchall() == [("l2 beside", True), ("test", False)]
    assert search(indexed, "omop_emb_search", "fever") == by_name
    assert [row[8] for row in search(indexed, "omop_emb_search", "fever", config="test")] == [r[0] for r in by_default]
    assert endpoint.texts == ["query: fever", "other: fever"]

    indexed.execute("DELETE FROM omop_emb.config WHERE is_active")
    with pytest.raises(psycopg.Error, match="no embedding configuration is active") as raised:
        search(indexed, "omop_emb_search", "fever")
    assert raised.value.diag.sqlstate == "OE002"
    assert "'test'" in (raised.value.diag.message_hint or "")
