"""Evaluation on a real database: ranks, roles, what is sent to the model, comparisons, unknown concepts."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation import Evaluation, GoldPairs, GoldQuery, Options, compare, evaluate
from omop_emb.evaluation.ranking import Ranker
from omop_emb.evaluation.result import MODES
from tests.endpoint import Answer, Endpoint, vector_for

PAIRS = GoldPairs(
    "pairs.csv",
    (
        GoldQuery("heart attack", (4329847, 312327)),
        GoldQuery("broken bone", (4237458,)),
        GoldQuery("sore head", (378253,)),
        GoldQuery("fever pill", (1127433, 1112807)),
        GoldQuery("pressure", (3004249, 320128)),
    ),
)
TEXTS = "SELECT concept_id, text FROM omop_emb.term JOIN omop_emb.concept USING (concept_id) WHERE is_valid"


def expected_ranks(db: psycopg.Connection, document: str, query: str) -> list[int]:
    """Rank the indexed concepts of the test vocabulary for PAIRS by the cosine of the endpoint's vectors."""
    terms = db.execute(TEXTS).fetchall()
    ranks = []
    for gold in PAIRS.queries:
        vector = np.array(vector_for(query + gold.text, 8))
        best: dict[int, float] = {}
        for concept_id, text in terms:
            other = np.array(vector_for(document + text, 8))
            cosine = float(vector @ other / np.linalg.norm(vector) / np.linalg.norm(other))
            best[concept_id] = max(cosine, best.get(concept_id, -1.0))
        order = sorted(best, key=lambda key: (-best[key], key))
        ranks.append(1 + min(order.index(int(key)) for key in gold.wanted))
    return ranks


def roles_of(evaluation: Evaluation) -> dict[tuple[str, str], list[int | None]]:
    return {(role.documents, role.queries): role.ranking.ranks for role in evaluation.configurations[0].roles}


def test_every_role_is_embedded_with_its_prefix_and_ranked_exactly(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    result = evaluate(indexed, PAIRS, options=Options(modes=("semantic",)))
    right = expected_ranks(indexed, "doc: ", "query: ")
    assert [search.ranking.ranks for search in result.configurations[0].searches] == [right]
    assert roles_of(result) == {
        ("document", "query"): right,
        ("document", "document"): expected_ranks(indexed, "doc: ", "doc: "),
        ("query", "query"): expected_ranks(indexed, "query: ", "query: "),
        ("query", "document"): expected_ranks(indexed, "query: ", "doc: "),
    }
    assert [role.test is None for role in result.configurations[0].roles] == [True, False, False, False]
    assert (result.configurations[0].pool_concepts, result.configurations[0].pool_texts) == (10, 16)
    # Each query once for the search, then in either role; no indexed text in the DOCUMENT role, which is stored.
    queries = [query.text for query in PAIRS.queries]
    texts = {text for _, text in indexed.execute(TEXTS).fetchall()}
    sent = [text for text in endpoint.texts if "first call of this session" not in text]
    assert sorted(sent) == sorted(
        [f"query: {q}" for q in queries] * 2 + [f"doc: {q}" for q in queries] + [f"query: {t}" for t in texts]
    )
    assert max(len(request["input"]) for request in endpoint.requests) <= 64


@pytest.mark.parametrize(
    ("distance", "storage"), [("cosine", "vector"), ("l2", "vector"), ("l1", "halfvec"), ("inner_product", "halfvec")]
)
def test_the_exact_ranking_is_that_of_the_search(
    db: psycopg.Connection, endpoint: Endpoint, distance: str, storage: str
) -> None:
    settings = {"model": "m", "document_prefix": "doc: ", "distance": distance, "storage": storage}
    configure(db, "other", {"api_base": endpoint.url, **settings})
    db.execute("SELECT * FROM omop_emb_index()")
    found = evaluate(db, PAIRS, options=Options(modes=("semantic",))).configurations[0]
    search = found.searches[0].ranking
    assert search.ranks == found.roles[0].ranking.ranks
    for searched, exact in zip(search.first, found.roles[0].ranking.first, strict=True):
        assert searched is not None
        assert exact is not None
        assert (searched.key, searched.name) == (exact.key, exact.name)
        assert searched.similarity == pytest.approx(exact.similarity, abs=1e-3)


def test_ties_go_to_the_smaller_id_and_the_best_text_counts() -> None:
    ranker = Ranker([1, 2, 3], {1: "a", 2: "b", 3: "c"}, [(1, 0), (2, 0), (2, 1), (0, 2)], "cosine")
    documents = np.array([[1, 0], [0, 3], [0, -1]], dtype=np.float32)
    gold = [GoldQuery("x", (3,)), GoldQuery("y", (3, 9)), GoldQuery("z", (2,)), GoldQuery("z", (1,))]
    queries = np.array([[2, 0], [0, 1], [0, 1], [1, 0]], dtype=np.float32)
    found = ranker.rank(gold, queries, documents, seed=1)
    assert found.ranks == [2, 1, 2, 3]
    assert [(first.key, first.similarity) for first in found.first if first] == [(2, 1.0), (3, 1.0), (3, 1.0), (2, 1.0)]


def test_two_configurations_are_timed_with_their_own_model_calls_and_tested(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    settings = {"document_prefix": "doc: ", "query_prefix": "query: ", "synonyms": False}
    configure(indexed, "names", {"api_base": endpoint.url, "model": "recorded", **settings})
    indexed.execute("SELECT * FROM omop_emb_index(config => 'names')")
    endpoint.requests.clear()
    steps: list[tuple[str, int, int]] = []
    result = evaluate(
        indexed, PAIRS, ["test", "names", "test"], Options(controls=False), lambda *step: steps.append(step)
    )
    assert [each.name for each in result.configurations] == ["test", "names"]
    # A model call for each search that is timed, whatever was asked before it.
    assert endpoint.texts.count("query: heart attack") == 4
    assert indexed.execute("SELECT count(*) FROM omop_emb.query_vector").fetchone() == (0,)
    assert {search.latency.calls for each in result.configurations for search in each.searches} == {5}
    assert [(pair.first, pair.first_mode, pair.second, pair.second_mode) for pair in result.comparisons] == [
        ("test", "hybrid", "test", "semantic"),
        ("names", "hybrid", "names", "semantic"),
        ("test", "hybrid", "names", "hybrid"),
        ("test", "semantic", "names", "semantic"),
    ]
    assert (steps[0], steps[-1]) == (("searching, test, hybrid", 0, 5), ("searching, names, semantic", 5, 5))
    assert json.loads(json.dumps(result.configurations[0].settings))["query_prefix"] == "query: "


def test_modes_are_compared_on_the_same_queries(indexed: psycopg.Connection) -> None:
    row = indexed.execute("SELECT pg_get_function_arguments('public.omop_emb_search'::regproc)").fetchone()
    assert row is not None
    assert f"mode text DEFAULT '{MODES[0]}'::text" in row[0]
    # Vectors of the recording endpoint mean nothing, letters do.
    pairs = GoldPairs(
        "p",
        tuple(
            GoldQuery(text, (key,))
            for text, key in (
                ("myocardial infarct", 4329847),
                ("fracture clavicle", 4237458),
                ("headaches", 378253),
                ("asprin", 1112807),
                ("hypertension essential", 320128),
            )
        ),
    )
    both = evaluate(indexed, pairs, options=Options(controls=False))
    hybrid, semantic = both.configurations[0].searches
    assert (hybrid.mode, semantic.mode) == MODES
    assert hybrid.ranking.measures.hit_at_1.value == 1.0
    assert semantic.ranking.measures.hit_at_1.value < 1.0
    (found,) = both.comparisons
    assert (found.first_mode, found.second_mode, found.test.worse) == ("hybrid", "semantic", 0)
    difference = hybrid.ranking.measures.mrr.value - semantic.ranking.measures.mrr.value
    assert found.test.difference.value == pytest.approx(difference)


def test_answers_from_words_alone_are_no_figures(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("UPDATE omop_emb.config SET lexical_fallback = true, max_retries = 0")
    endpoint.respond = lambda request: Answer(status=500) if "query: sore head" in request["input"] else None
    with pytest.raises(OmopEmbError, match=r"no figures of 'test' while it answers without its model: .*HTTP 500"):
        evaluate(indexed, PAIRS, options=Options(controls=False))


def without_prefix(endpoint: Endpoint) -> Callable[[dict[str, Any]], Answer | None]:
    """Let model 'good' give a query and a document of the same letters, in whatever order, the same vector."""

    def respond(request: dict[str, Any]) -> Answer | None:
        if request["model"] != "good":
            return None
        vectors = [
            vector_for(str(sorted(text.removeprefix("doc: "))), endpoint.dimensions) for text in request["input"]
        ]
        data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        return Answer(body=json.dumps({"data": data}).encode())

    return respond


def test_compare_tells_which_of_two_configurations_is_worse(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    endpoint.respond = without_prefix(endpoint)
    configure(indexed, "good", {"api_base": endpoint.url, "model": "good", "document_prefix": "doc: "})
    indexed.execute("SELECT * FROM omop_emb_index(config => 'good')")
    rows = indexed.execute(TEXTS).fetchall()
    pairs = GoldPairs("names", tuple(GoldQuery(text[::-1], (concept_id,)) for concept_id, text in rows))
    worse = compare(indexed, pairs, "test", "good").test
    assert worse.difference.high < 0
    assert (worse.better, worse.p_value < 0.01) == (0, True)
    better = compare(indexed, pairs, "good", "test").test
    assert better.difference.low == pytest.approx(-worse.difference.high, abs=0.02)
    with pytest.raises(OmopEmbError, match="'good' cannot be compared with itself"):
        compare(indexed, pairs, "good", "good")


def test_filters_and_a_sample(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    pairs = GoldPairs("p", tuple(GoldQuery(f"query {n}", (1112807,)) for n in range(40)))
    options = Options(queries=10, concepts=1, domains=["Drug"], vocabularies=["RxNorm"], standard_only=True, seed=3)
    result = evaluate(indexed, pairs, options=options)
    assert len(result.queries) == 10
    assert result.queries == evaluate(indexed, pairs, options=options).queries
    assert result.queries != evaluate(indexed, pairs, options=Options(queries=10, seed=4)).queries
    configuration = result.configurations[0]
    assert configuration.pool_concepts == 2
    for search in configuration.searches:
        assert {first.key for first in search.ranking.first if first} <= {1112807, 1127433}
    assert result.notes == ["10 of 40 queries were drawn (seed 3)"]


def test_notes_on_what_makes_figures_look_better_than_they_are(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    configure(indexed, "alike", {"api_base": endpoint.url, "model": "m", "synonyms": False})
    indexed.execute("SELECT * FROM omop_emb_index(config => 'alike')")
    queries = (GoldQuery("HEART attack", (4329847,)), GoldQuery("headache", (378253,)), GoldQuery("aspirin", (320128,)))
    result = evaluate(indexed, GoldPairs("p.csv", queries, merged=1), ["test", "alike"])
    assert result.notes == [
        "1 line of p.csv repeated a pair and was left out",
        "2 of 3 queries are themselves indexed in 'test', as a text of a wanted concept: they test equality, not"
        " meaning; if they come from synonyms, evaluate a configuration with synonyms off",
        "1 of 3 queries are themselves indexed in 'alike', as a text of a wanted concept: they test equality, not"
        " meaning",
        "'alike' embeds documents and queries alike: there are no wrong roles to compare with",
    ]
    assert [len(each.roles) for each in result.configurations] == [4, 0]


def test_concepts_that_are_not_in_the_index(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    queries = [GoldQuery(f"q{n}", (n,)) for n in range(7)] + [GoldQuery("x", (5, 378253)), GoldQuery("y", (45571652,))]
    pairs = GoldPairs("p.csv", tuple(queries))
    endpoint.requests.clear()
    with pytest.raises(
        OmopEmbError, match=r"8 concept ids of p.csv are not in the index of 'test': 0, 1, 2, 3, 4, \.{3}"
    ):
        evaluate(indexed, pairs)
    assert len(endpoint.texts) == 1
    result = evaluate(indexed, pairs, options=Options(skip_unknown=True, controls=False))
    assert result.queries == [GoldQuery("x", (378253,))]
    assert result.notes == [
        "8 concept ids were left out, not in the index of 'test': 0, 1, 2, 3, 4, ...",
        "8 queries were left out with them",
    ]
    drug = GoldPairs("p", (GoldQuery("x", (378253,)),))
    with pytest.raises(
        OmopEmbError, match="1 concept id is not in the index of 'test' or kept out by the filters: 3782"
    ):
        evaluate(indexed, drug, options=Options(domains=["Drug"]))
    with pytest.raises(OmopEmbError, match=r"none of the concept ids of p.csv is in the index of 'test'"):
        evaluate(indexed, GoldPairs("p.csv", tuple(queries[:7])), options=Options(skip_unknown=True))


def test_configurations_that_cannot_be_evaluated(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    with pytest.raises(OmopEmbError, match="there is no embedding configuration 'nosuch'"):
        evaluate(indexed, PAIRS, ["test", "nosuch"])
    configure(indexed, "empty", {"api_base": endpoint.url, "model": "m"})
    with pytest.raises(OmopEmbError, match="nothing is indexed in configuration 'empty'") as raised:
        evaluate(indexed, PAIRS, ["empty"])
    assert raised.value.hint == "Run omop-emb-admin index --config 'empty' first."
    endpoint.respond = lambda request: Answer(status=400, body=b"broken")
    with pytest.raises(OmopEmbError, match="answered HTTP 400"):
        evaluate(indexed, PAIRS)
    endpoint.respond = lambda request: None

    def delete_it(step: str, done: int, total: int) -> None:
        if step.startswith("documents as query"):
            indexed.execute("DELETE FROM omop_emb.config WHERE name = 'test'")

    with pytest.raises(OmopEmbError, match="there is no embedding configuration 'test'"):
        evaluate(indexed, PAIRS, ["test"], progress=delete_it)
    indexed.execute("UPDATE omop_emb.config SET is_active = false")
    with pytest.raises(OmopEmbError, match="active"):
        evaluate(indexed, PAIRS)
