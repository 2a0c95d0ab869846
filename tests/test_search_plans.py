"""Search on more than a handful: the HNSW index is used, no row is missing, the caller's session is left alone."""

import hashlib
import itertools
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from psycopg import sql

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import Connect, new_database
from tests.endpoint import Endpoint, running_endpoint, vector_for

CONCEPTS = 5000
WITH_SYNONYMS = 77
SYNONYMS = 300
SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
MANY_CONCEPTS = """
    INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
        concept_code, invalid_reason)
    SELECT i, 'name ' || i, CASE WHEN i %% 500 = 0 THEN 'Rare' ELSE 'Condition' END, 'SNOMED', 'Clinical Finding',
        CASE WHEN i %% 3 = 0 THEN 'S' END, i::text, CASE WHEN i %% 50 = 1 THEN 'D' END
    FROM generate_series(1, %s) i"""


@pytest.fixture(scope="module")
def many_endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def many(cluster: Cluster, installed_template: str, many_endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """Give a database with 5,000 indexed concepts, one of them with 300 synonyms."""
    for database in new_database(cluster, installed_template):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym, cdm.concept_ancestor")
            connection.execute(MANY_CONCEPTS, [CONCEPTS])
            connection.execute(
                "INSERT INTO cdm.concept_synonym (concept_id, concept_synonym_name)"
                " SELECT %s, 'synonym ' || i FROM generate_series(1, %s) i",
                [WITH_SYNONYMS, SYNONYMS],
            )
            connection.execute(
                "INSERT INTO cdm.concept_ancestor SELECT 5, i, 1, 1 FROM generate_series(5, %s, 250) i", [CONCEPTS]
            )
            configure(connection, "many", {"api_base": many_endpoint.url, "batch_size": 1000, **SETTINGS})
            connection.execute("SELECT omop_emb_index()")
            connection.execute("ANALYZE")
            yield connection


def plans(connection: psycopg.Connection, statement: str) -> str:
    """Run a statement and return the plans of everything that ran inside it."""
    logged: list[str] = []
    connection.add_notice_handler(lambda notice: logged.append(notice.message_primary or ""))
    connection.execute("LOAD 'auto_explain'")
    connection.execute("SET auto_explain.log_min_duration = 0")
    connection.execute("SET auto_explain.log_nested_statements = on")
    connection.execute("SET client_min_messages = log")
    connection.execute(statement)
    connection.execute("RESET client_min_messages")
    connection.execute("SET auto_explain.log_min_duration = -1")
    return "\n".join(logged)


def test_search_scans_the_hnsw_index(many: psycopg.Connection) -> None:
    assert "Index Scan using embedding_1_hnsw" in plans(many, "SELECT * FROM omop_emb_search('plan')")
    assert "Index Scan using embedding_1_hnsw" in plans(many, "SELECT * FROM omop_emb_similar(5)")
    found = plans(many, "SELECT * FROM omop_emb_search('plan', include_invalid => true)")
    assert "Index Scan using embedding_1_hnsw" in found


def test_a_filter_that_keeps_few_concepts_is_answered_exactly(many: psycopg.Connection) -> None:
    found = plans(many, "SELECT * FROM omop_emb_search('plan', domains => '{Rare}')")
    assert "_hnsw" not in found
    assert "embedding_1" in found


def test_own_sql_with_the_embedding_in_a_subquery_uses_the_index_and_asks_once(
    many: psycopg.Connection, many_endpoint: Endpoint
) -> None:
    statement = (
        "SELECT text_hash FROM omop_emb.embedding_1 WHERE live"
        " ORDER BY embedding <=> (SELECT omop_emb_embed_query('own sql')) LIMIT 5"
    )
    many_endpoint.requests.clear()
    plan = "\n".join(row[0] for row in many.execute("EXPLAIN " + statement).fetchall())
    assert "Index Scan using embedding_1_hnsw" in plan
    assert many_endpoint.requests == []
    assert len(many.execute(statement).fetchall()) == 5
    assert many_endpoint.texts == ["query: own sql"]


def test_explain_of_a_search_does_not_call_the_model(many: psycopg.Connection, many_endpoint: Endpoint) -> None:
    many_endpoint.requests.clear()
    many.execute("EXPLAIN SELECT * FROM omop_emb_search('only explained')")
    assert many_endpoint.requests == []


def test_the_index_scan_finds_what_an_exact_ranking_finds(many: psycopg.Connection) -> None:
    names = [number for number in range(1, CONCEPTS + 1) if number % 50 != 1]
    texts = [(number, f"doc: name {number}") for number in names]
    texts += [(WITH_SYNONYMS, f"doc: synonym {number}") for number in range(1, SYNONYMS + 1)]
    vectors = np.array([vector_for(text, 8) for _, text in texts])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hits = 0
    for number in range(20):
        query = np.array(vector_for(f"query: recall {number}", 8))
        best = dict.fromkeys(texts[position][0] for position in np.argsort(-(vectors @ query)))
        found = many.execute(
            "SELECT concept_id FROM omop_emb_search(%s, mode => 'semantic')", [f"recall {number}"]
        ).fetchall()
        assert len(found) == 10
        hits += len({row[0] for row in found} & set(list(best)[:10]))
    assert hits >= 190


@pytest.mark.parametrize(
    ("condition", "arguments"),
    [
        ("invalid_reason IS NULL", ""),
        ("true", ", include_invalid => true"),
        ("domain_id = 'Rare'", ", domains => '{Rare}', include_invalid => true"),
        ("standard_concept = 'S' AND invalid_reason IS NULL", ", standard_only => true"),
        ("concept_id % 250 = 5 AND invalid_reason IS NULL", ", ancestor_concept_id => 5"),
        ("concept_id % 750 = 255 AND invalid_reason IS NULL", ", ancestor_concept_id => 5, standard_only => true"),
    ],
)
def test_never_fewer_rows_than_exist(many: psycopg.Connection, condition: str, arguments: str) -> None:
    many.execute("UPDATE omop_emb.config SET include_invalid = true")
    many.execute("SELECT omop_emb_index()")
    condition_met = sql.SQL(condition.replace("%", "%%"))
    row = many.execute(sql.SQL("SELECT count(*) FROM cdm.concept WHERE {}").format(condition_met), []).fetchone()
    assert row is not None
    exist = row[0]
    for k, mode in itertools.product((1, 10, 400, 1000, 1001, 6000), ("semantic", "hybrid")):
        statement = sql.SQL("SELECT concept_id FROM omop_emb_search('how many', %s, mode => %s{})").format(
            sql.SQL(arguments)
        )
        ids = [found[0] for found in many.execute(statement, [k, mode]).fetchall()]
        assert len(ids) == len(set(ids)) == min(k, exist)
        held = sql.SQL("SELECT count(*) FROM cdm.concept WHERE concept_id = ANY (%s) AND {}").format(condition_met)
        assert many.execute(held, [ids]).fetchone() == (len(ids),)


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_many_near_synonyms_of_one_concept_do_not_crowd_others_out(many: psycopg.Connection, noise: float) -> None:
    """Every synonym of one concept is nearer to the query than anything else, with distances equal or not."""
    with many.transaction(force_rollback=True):
        query = np.array(vector_for("query: crowded", 8))
        for number in range(1, SYNONYMS + 1):
            vector = query + noise * np.array(vector_for(f"noise {number}", 8))
            many.execute(
                "UPDATE omop_emb.embedding_1 SET embedding = %s::real[]::vector"
                " WHERE text_hash = sha256(convert_to('synonym ' || %s, 'UTF8'))",
                [list(vector), number],
            )
        for k, mode in itertools.product((1, 10, 30), ("semantic", "hybrid")):
            found = many.execute(
                "SELECT concept_id FROM omop_emb_search('crowded', %s, mode => %s)", [k, mode]
            ).fetchall()
            assert len(found) == len(set(found)) == k
            assert found[0] == (WITH_SYNONYMS,)


def test_a_filter_for_what_is_farthest_away_still_fills_the_rows(
    cluster: Cluster, installed_template: str, many_endpoint: Endpoint
) -> None:
    """More concepts pass than are ranked exactly, and the index scan meets all the others first."""
    total, far = 32000, 10500
    query = np.array(vector_for("query: far away", 8))
    generator = np.random.default_rng(1)
    for database in new_database(cluster, installed_template):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
            cheap = {"hnsw_m": 4, "hnsw_ef_construction": 8}
            configure(connection, "far", {"api_base": many_endpoint.url, **SETTINGS, **cheap})
            connection.execute(MANY_CONCEPTS, [total])
            connection.execute("UPDATE cdm.concept SET invalid_reason = NULL, domain_id = 'Near'")
            connection.execute("UPDATE cdm.concept SET domain_id = 'Far' WHERE concept_id <= %s", [far])
            connection.execute("SELECT omop_emb.reconcile()")
            directions = np.where(np.arange(1, total + 1) <= far, -1.0, 1.0)[:, None]
            vectors = directions * query + 0.3 * generator.standard_normal((total, 8))
            with connection.cursor().copy("COPY omop_emb.embedding_1 (text_hash, embedding) FROM STDIN") as copy:
                for row in numbered_hashes(total):
                    copy.write_row((row[1], str(vectors[row[0] - 1].tolist())))
            connection.execute("SELECT omop_emb.finish_index('far')")
            connection.execute("ANALYZE")
            for k, mode in itertools.product((1, 10, 100, 1000), ("semantic", "hybrid")):
                found = connection.execute(
                    "SELECT domain_id FROM omop_emb_search('far away', %s, domains => '{Far}', mode => %s)", [k, mode]
                ).fetchall()
                assert found == [("Far",)] * k


def numbered_hashes(total: int) -> Iterator[tuple[int, bytes]]:
    """Yield each number with the key of the text 'name <number>'."""
    for number in range(1, total + 1):
        yield number, hashlib.sha256(f"name {number}".encode()).digest()


def all_settings(connection: psycopg.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())


def test_settings_of_the_caller_are_left_alone(indexed: psycopg.Connection, connect: Connect) -> None:
    session = connect(autocommit=False)
    # Loading a library adds its settings.
    session.execute("DO 'BEGIN PERFORM ''[1]''::vector, show_limit(); END'")
    session.execute("SET LOCAL hnsw.ef_search = 17")
    session.execute("SET LOCAL enable_seqscan = on")
    session.execute("SET LOCAL max_parallel_maintenance_workers = 1")
    before = all_settings(session)
    assert before["hnsw.ef_search"] == "17"
    session.execute("SELECT * FROM omop_emb_search('fever')")
    session.execute("SELECT * FROM omop_emb_search('fever', 3, domains => '{Drug}')")
    session.execute("SELECT * FROM omop_emb_similar(4329847)")
    session.execute("SELECT omop_emb_embed_query('x'), omop_emb_embed_document('x')")
    session.execute("UPDATE cdm.concept SET concept_name = concept_name || ' changed'")
    session.execute("SELECT * FROM omop_emb_index()")
    session.execute("UPDATE omop_emb.config SET hnsw_m = 8, hnsw_ef_search = 50")
    assert all_settings(session) == before
    for failing in (
        "SELECT * FROM omop_emb_search('')",
        "SELECT * FROM omop_emb_search('fever', 0)",
        "SELECT * FROM omop_emb_search('fever', config => 'none')",
        "SELECT * FROM omop_emb_similar(-1)",
    ):
        with pytest.raises(psycopg.Error), session.transaction():
            session.execute(failing)
        assert all_settings(session) == before
    session.rollback()


def test_search_works_in_a_read_only_transaction(indexed: psycopg.Connection) -> None:
    with indexed.transaction():
        indexed.execute("SET TRANSACTION READ ONLY")
        assert len(indexed.execute("SELECT * FROM omop_emb_search('fever')").fetchall()) == 10
        assert len(indexed.execute("SELECT * FROM omop_emb_similar(4329847, 4)").fetchall()) == 4
        indexed.execute("SELECT * FROM omop_emb_search('fever', ancestor_concept_id => 4329847)")
        assert indexed.execute("SELECT omop_emb_embed_query('x') IS NOT NULL").fetchone() == (True,)
        assert len(indexed.execute("SELECT * FROM omop_emb.status").fetchall()) == 1
        indexed.execute("SELECT * FROM omop_emb.failures")


def test_a_search_per_row_of_a_table(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    found = indexed.execute(
        "SELECT t.term, s.rank, s.concept_id FROM (VALUES ('one'), ('two'), ('one')) t (term),"
        " LATERAL omop_emb_search(t.term, 2) s ORDER BY t.term, s.rank"
    ).fetchall()
    assert [row[:2] for row in found] == [("one", 1), ("one", 1), ("one", 2), ("one", 2), ("two", 1), ("two", 2)]
    assert endpoint.texts == ["query: one", "query: two"]
    joined = indexed.execute(
        "SELECT count(*) FROM cdm.concept c, LATERAL omop_emb_similar(c.concept_id, 3) s WHERE c.invalid_reason IS NULL"
    ).fetchone()
    assert joined == (30,)


def test_prepared_statements_cursors_and_views(indexed: psycopg.Connection, connect: Connect) -> None:
    wanted = indexed.execute("SELECT concept_id FROM omop_emb_search('fever', 7)").fetchall()

    indexed.execute("PREPARE found (text, int) AS SELECT concept_id FROM omop_emb_search($1, $2)")
    for _ in range(8):
        assert indexed.execute("EXECUTE found ('fever', 7)").fetchall() == wanted
    with indexed.transaction(), indexed.cursor(name="held") as cursor:
        cursor.itersize = 2
        cursor.execute("SELECT concept_id FROM omop_emb_search('fever', 7)")
        assert list(cursor) == wanted

    indexed.execute("CREATE ROLE analyst LOGIN IN ROLE omop_emb_reader")
    try:
        indexed.execute("CREATE SCHEMA reports AUTHORIZATION analyst")
        analyst = connect(user="analyst")
        analyst.execute("CREATE VIEW reports.fever AS SELECT concept_id FROM omop_emb_search('fever', 7)")
        assert analyst.execute("SELECT concept_id FROM reports.fever").fetchall() == wanted
        analyst.execute("CREATE MATERIALIZED VIEW reports.kept AS SELECT concept_id FROM omop_emb_search('fever', 7)")
        assert sorted(analyst.execute("SELECT concept_id FROM reports.kept").fetchall()) == sorted(wanted)
        analyst.close()
    finally:
        indexed.execute("DROP OWNED BY analyst CASCADE")
        indexed.execute("DROP ROLE analyst")


def test_the_plan_of_an_open_session_follows_a_changed_configuration(
    indexed: psycopg.Connection, connect: Connect
) -> None:
    session = connect()
    for _ in range(7):
        session.execute("SELECT * FROM omop_emb_search('fever')")
    indexed.execute("UPDATE omop_emb.config SET hnsw_m = 8, hnsw_ef_search = 50")
    assert len(session.execute("SELECT * FROM omop_emb_search('fever')").fetchall()) == 10
    indexed.execute("SELECT omop_emb.discard('test')")
    assert session.execute("SELECT * FROM omop_emb_search('fever')").fetchall() == []
    indexed.execute("UPDATE omop_emb.config SET distance = 'l1', storage = 'halfvec'")
    indexed.execute("SELECT omop_emb_index()")
    found = session.execute("SELECT similarity FROM omop_emb_search('fever', mode => 'semantic')").fetchall()
    query, best = np.array(vector_for("query: fever", 8)), 0.0
    for (text,) in indexed.execute("SELECT text FROM omop_emb.term").fetchall():
        best = max(best, 1 / (1 + np.abs(query - np.array(vector_for("doc: " + text, 8))).sum()))
    assert found[0][0] == pytest.approx(best, abs=1e-3)
