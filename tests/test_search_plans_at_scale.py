"""Searches among 100,000 concepts: each leg and each path reads its index, and none of them a whole table."""

import hashlib
import re
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import Connect, new_database
from tests.endpoint import Endpoint, running_endpoint
from tests.test_search_plans import plans

CONCEPTS = 100_000
SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: ", "dimensions": 8}
# Every name has a word of its own and two that thousands have.
FILL = """
    INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
        concept_code)
    SELECT i, 'word' || i || (ARRAY[' of heart', ' of lung', ' of liver'])[1 + i %% 3] || ' disease',
        CASE WHEN i %% 100 = 0 THEN 'Rare' WHEN i %% 2 = 0 THEN 'Half' ELSE 'Most' END, 'V' || i %% 20, 'C' || i %% 2,
        CASE WHEN i %% 2 = 0 THEN 'S' END, 'K' || i || '.1'
    FROM generate_series(1, %s) i"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def dsn(cluster: Cluster, installed_template: str, endpoint: Endpoint) -> Iterator[str]:
    """Give a database with so many concepts, their vectors loaded and no model asked."""
    for database in new_database(cluster, installed_template):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym, cdm.concept_ancestor")
            cheap = {"hnsw_m": 6, "hnsw_ef_construction": 16, "partial_indexes": []}
            configure(connection, "large", {"api_base": endpoint.url, **SETTINGS, **cheap})
            connection.execute(FILL, [CONCEPTS])
            connection.execute("INSERT INTO cdm.concept_ancestor SELECT 7, i, 1, 1 FROM generate_series(7, 7000, 7) i")
            connection.execute("INSERT INTO cdm.concept_ancestor SELECT i, i, 0, 0 FROM generate_series(8, 50000) i")
            connection.execute("CREATE INDEX ON cdm.concept_ancestor (ancestor_concept_id)")
            connection.execute("SELECT omop_emb.reconcile()")
            vectors = np.random.default_rng(1).standard_normal((CONCEPTS, 8)).round(4)
            texts = connection.execute("SELECT text FROM omop_emb.term").fetchall()
            with connection.cursor().copy("COPY omop_emb.embedding_1 (text_hash, embedding) FROM STDIN") as copy:
                for (text,), vector in zip(texts, vectors.tolist(), strict=True):
                    copy.write_row((hashlib.sha256(text.encode()).digest(), str(vector)))
            connection.execute("SELECT omop_emb.finish_index('large')")
            connection.execute("ANALYZE cdm.concept_ancestor")
        yield database


def scans(db: psycopg.Connection, statement: str, runs: int = 1) -> set[tuple[str, str]]:
    """Return (kind of scan, index or table) of all that a statement runs; more runs show generic plans too."""
    found: set[tuple[str, str]] = set()
    for _ in range(runs):
        text = plans(db, statement)
        found |= set(re.findall(r"(Seq Scan|Index Scan|Index Only Scan) (?:Backward )?(?:using|on) (\w+)", text))
        found |= {("Index Scan", name) for name in re.findall(r"Bitmap Index Scan on (\w+)", text)}
    return found


LARGE = ("concept", "term", "embedding_1", "word", "concept_ancestor", "query_vector")
NEAREST = {"embedding_1_hnsw"}
LETTERS = {"term_lexemes", "term_compact", "concept_code", "word_pkey"}
PATHS = [
    ("omop_emb_search('word17 heart', mode => 'semantic')", NEAREST, LETTERS),
    ("omop_emb_search('word17 heart', domains => '{Half}', mode => 'semantic')", NEAREST, LETTERS),
    ("omop_emb_search('word17 heart', standard_only => true, mode => 'semantic')", NEAREST, LETTERS),
    ("omop_emb_search('word17 heart', domains => '{Rare}', mode => 'semantic')", {"concept_domain_id"}, NEAREST),
    ("omop_emb_search('word17 heart', ancestor_concept_id => 7, mode => 'semantic')", {"concept_pkey"}, NEAREST),
    ("omop_emb_similar(17)", NEAREST, LETTERS),
    ("omop_emb_similar(17, domains => '{Half}')", NEAREST, LETTERS),
    ("omop_emb_search('word17 heart')", NEAREST | LETTERS, set()),
    ("omop_emb_search('wrod17 haert disease')", NEAREST | LETTERS | {"word_trigrams"}, set()),
    ("omop_emb_search('K17.1')", NEAREST | LETTERS, set()),
    ("omop_emb_search('heart disease')", NEAREST | LETTERS, set()),
    ("omop_emb_search('word18 heart', domains => '{Half}')", NEAREST | LETTERS, set()),
    ("omop_emb_search('word100 heart', domains => '{Rare}')", {"concept_domain_id"} | LETTERS, NEAREST),
    ("omop_emb_search('word14 heart', ancestor_concept_id => 7)", {"concept_pkey"} | LETTERS, NEAREST),
    ("omop_emb_search_batch('{word1,lung,word2 liver}')", NEAREST | LETTERS, set()),
    ("omop_emb_search_batch('{word1,lung,word2 liver}', mode => 'semantic')", NEAREST, LETTERS),
    ("omop_emb_map('{word1,lung}')", NEAREST | LETTERS, set()),
]  # fmt: skip


@pytest.mark.parametrize(("call", "used", "unused"), PATHS, ids=[path[0] for path in PATHS])
def test_each_path_reads_its_index_and_no_table(connect: Connect, call: str, used: set[str], unused: set[str]) -> None:
    db = connect()
    # A session may have settings that suit its own queries.
    db.execute("SET random_page_cost = 4")
    db.execute("SET default_transaction_read_only = on")
    found = scans(db, f"SELECT * FROM {call}", runs=2)
    names = {name for _, name in found}
    assert used <= names, call
    assert not unused & names, call
    assert {name for kind, name in found if kind == "Seq Scan"} & set(LARGE) == set(), call


def test_a_search_per_row_of_a_table(connect: Connect, endpoint: Endpoint) -> None:
    db = connect()
    db.execute(
        "CREATE TABLE public.source AS SELECT i AS id, 'lateral ' || i % 20 AS term FROM generate_series(1, 60) i"
    )
    db.execute("ANALYZE public.source")
    for mode in ("hybrid", "semantic"):
        endpoint.requests.clear()
        statement = (
            f"SELECT s.id, f.rank, f.concept_id FROM public.source s,"
            f" LATERAL omop_emb_search('{mode} ' || s.term, 3, mode => '{mode}') f ORDER BY s.id, f.rank"
        )
        found = db.execute(statement.encode()).fetchall()
        assert [row[:2] for row in found] == [(i, rank) for i in range(1, 61) for rank in (1, 2, 3)]
        assert sorted(endpoint.texts) == sorted(f"query: {mode} lateral {number}" for number in range(20))
        by_term: dict[int, set[tuple[int, ...]]] = {}
        for i in range(1, 61):
            by_term.setdefault(i % 20, set()).add(tuple(row[2] for row in found if row[0] == i))
        assert {len(answers) for answers in by_term.values()} == {1}
        joined = db.execute(
            f"SELECT count(*), count(DISTINCT s.id) FROM public.source s LEFT JOIN LATERAL"
            f" omop_emb_search('{mode} ' || s.term, 2, domains => '{{Rare}}', mode => '{mode}') f ON true".encode()
        ).fetchone()
        assert joined == (120, 60)
    db.execute("DROP TABLE public.source")


LEAKING = (
    "hnsw.%",
    "enable_%",
    "jit%",
    "pg_trgm.%",
    "plan_cache_mode",
    "search_path",
    "random_page_cost",
)
SHOWN = "SELECT name, setting FROM pg_settings WHERE name LIKE ANY (%s)"
SETS = (
    "SET LOCAL hnsw.ef_search = 33",
    "SET LOCAL hnsw.iterative_scan = strict_order",
    "SET LOCAL hnsw.max_scan_tuples = 4321",
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL enable_hashjoin = on",
    "SET LOCAL jit = on",
    "SET LOCAL pg_trgm.similarity_threshold = 0.9",
    "SET LOCAL plan_cache_mode = force_custom_plan",
)
RAISING = (
    "SELECT omop_emb_search('word1', 0)",
    "SELECT omop_emb_search('')",
    "SELECT omop_emb_search('word1', mode => 'none')",
    "SELECT omop_emb_search_batch('{a}', domains => '{NULL}')",
    "SELECT omop_emb_similar(-1)",
    # In the middle of a search.
    "SELECT 1 / (s.rank - 3) FROM omop_emb_search('word1', 5, domains => '{Half}') s",
)


@pytest.mark.parametrize("preset", [False, True])
def test_no_setting_of_a_search_outlives_it(connect: Connect, endpoint: Endpoint, preset: bool) -> None:
    """In the caller's transaction, after an error that plpgsql caught too, in sessions with settings and without."""
    db = connect(autocommit=False)
    # Loading a library adds its settings.
    db.execute("DO 'BEGIN PERFORM ''[1]''::vector; PERFORM show_limit(); END'")
    for statement in SETS if preset else ():
        db.execute(statement.encode())
    before: dict[str, str] = dict(db.execute(SHOWN, [list(LEAKING)]).fetchall())
    assert before["hnsw.ef_search"] == ("33" if preset else "40")
    for call, _, _ in PATHS:
        db.execute(f"SELECT * FROM {call}".encode())
        assert dict(db.execute(SHOWN, [list(LEAKING)]).fetchall()) == before, call
    for statement in RAISING:
        db.execute(
            f"DO $block$ DECLARE r record; BEGIN FOR r IN {statement} LOOP END LOOP; RAISE 'no error';"
            " EXCEPTION WHEN SQLSTATE 'OE005' OR division_by_zero THEN NULL; END $block$".encode()
        )
        assert dict(db.execute(SHOWN, [list(LEAKING)]).fetchall()) == before, statement
    db.rollback()
    assert ("hnsw.ef_search", "40") in db.execute(SHOWN, [list(LEAKING)]).fetchall()
    db.rollback()
