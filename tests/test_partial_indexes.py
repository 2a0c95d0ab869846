"""HNSW indexes over the terms of one vocabulary: found right where the whole index would find nothing near."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from pgvector import Vector
from pgvector.psycopg import register_vector

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import new_database
from tests.endpoint import Endpoint, running_endpoint, vector_for
from tests.test_search_plans import plans

FAR, NEAR = 11_000, 12_000
SETTINGS = {
    "model": "recorded",
    "query_prefix": "query: ",
    "hnsw_m": 8,
    "hnsw_ef_construction": 32,
    "partial_indexes": ["domain_id", "vocabulary_id"],
}
NEAREST_FAR = "SELECT concept_id FROM omop_emb_search('home', 10, vocabularies => '{Far}', mode => 'semantic')"


@pytest.fixture(scope="module")
def clustered(cluster: Cluster, installed_template: str) -> Iterator[psycopg.Connection]:
    """Give 23,000 concepts: those of vocabulary Near all lie nearer to the query 'home' than those of Far."""
    with running_endpoint() as endpoint:
        for database in new_database(cluster, installed_template):
            with psycopg.connect(database, autocommit=True) as connection:
                fill(connection, endpoint)
                yield connection


def fill(connection: psycopg.Connection, endpoint: Endpoint) -> None:
    connection.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
    connection.execute(
        "INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id,"
        " standard_concept, concept_code) SELECT i, 'name ' || i, 'Condition',"
        " CASE WHEN i <= %s THEN 'Far' ELSE 'Near' END, 'Finding', 'S', i::text FROM generate_series(1, %s) i",
        [FAR, FAR + NEAR],
    )
    configure(connection, "clustered", {"api_base": endpoint.url, **SETTINGS})
    connection.execute("SELECT omop_emb.reconcile()")
    register_vector(connection)
    home = np.array(vector_for("query: home", 8))
    generator = np.random.default_rng(3)
    terms = connection.execute("SELECT text_hash, concept_id FROM omop_emb.term").fetchall()
    statement = "COPY omop_emb.embedding_1 (text_hash, embedding) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["bytea", "vector"])
        for text_hash, concept_id in terms:
            centre = -home if concept_id <= FAR else home
            copy.write_row((text_hash, Vector(centre + 0.5 * generator.standard_normal(8))))
    connection.execute("SELECT * FROM omop_emb_index()")


def partial_indexes(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """Return what partial indexes there are, by the catalog and by the package."""
    return connection.execute(
        "SELECT p.attribute, p.value, i.indisvalid FROM omop_emb.partial_index p"
        " LEFT JOIN pg_index i ON i.indexrelid = to_regclass('omop_emb.embedding_1_hnsw_' || p.index_no) ORDER BY 2"
    ).fetchall()


def exactly(connection: psycopg.Connection) -> list[tuple[int]]:
    """Return what the search for 'home' in vocabulary Far has to find."""
    return connection.execute(
        "SELECT t.concept_id FROM omop_emb.embedding_1 e JOIN omop_emb.term t USING (text_hash)"
        " WHERE t.concept_id <= %s ORDER BY e.embedding <=> omop_emb_embed_query('home'), 1 LIMIT 10",
        [FAR],
    ).fetchall()


def test_a_vocabulary_with_many_terms_has_an_index_of_its_own(clustered: psycopg.Connection) -> None:
    assert partial_indexes(clustered) == [("vocabulary_id", "Far", True)]
    assert "Index Scan using embedding_1_hnsw_1" in plans(clustered, NEAREST_FAR)
    found = clustered.execute(NEAREST_FAR).fetchall()
    assert len(found) == 10
    assert len(set(found) & set(exactly(clustered))) >= 9


def test_without_one_a_scan_that_finds_too_few_gives_way_to_a_comparison(clustered: psycopg.Connection) -> None:
    nearest = NEAREST_FAR.replace("{Far}", "{Far,None of these}")
    assert clustered.execute(nearest).fetchall() == exactly(clustered)
    # What is near is found by the index.
    near = plans(clustered, nearest.replace("Far", "Near"))
    assert "Index Scan using embedding_1_hnsw " in near
    assert "Hash Join" not in near


def test_a_changed_vocabulary_counts_at_once_and_is_filed_by_the_next_index_run(clustered: psycopg.Connection) -> None:
    nearest = "SELECT concept_id FROM omop_emb_search('home', 1, mode => 'semantic')"
    first = clustered.execute(nearest).fetchone()
    assert first is not None
    assert first[0] > FAR
    clustered.execute("UPDATE cdm.concept SET vocabulary_id = 'Far' WHERE concept_id = %s", first)
    assert clustered.execute(NEAREST_FAR).fetchone() == first
    assert "embedding_1_hnsw_1" not in plans(clustered, NEAREST_FAR)
    clustered.execute("SELECT * FROM omop_emb_index()")
    assert clustered.execute(NEAREST_FAR).fetchone() == first
    assert "Index Scan using embedding_1_hnsw_1" in plans(clustered, NEAREST_FAR)


def test_a_change_while_the_first_one_is_built_is_filed_too(clustered: psycopg.Connection) -> None:
    clustered.execute("UPDATE omop_emb.config SET partial_indexes = '{}'")
    clustered.execute("SELECT * FROM omop_emb_index()")
    clustered.execute("UPDATE omop_emb.config SET partial_indexes = '{domain_id,vocabulary_id}'")
    clustered.execute("SELECT omop_emb.begin_index('clustered')")
    with psycopg.connect(clustered.info.dsn) as builder:
        builder.execute("SELECT omop_emb.finish_index('clustered')")
        clustered.execute("UPDATE cdm.concept SET vocabulary_id = 'Far' WHERE concept_id = %s", [FAR + 7])
    clustered.execute("SELECT * FROM omop_emb_index()")
    row = clustered.execute(
        "SELECT e.vocabularies FROM omop_emb.embedding_1 e JOIN omop_emb.term t USING (text_hash)"
        " WHERE t.concept_id = %s",
        [FAR + 7],
    ).fetchone()
    assert row == (["Far"],)


def test_searches_go_on_while_one_transaction_files_everything_anew(clustered: psycopg.Connection) -> None:
    clustered.execute("UPDATE cdm.concept SET vocabulary_id = 'Other' WHERE concept_id % 5 = 0")
    with psycopg.connect(clustered.info.dsn) as indexing:
        indexing.execute("SELECT * FROM omop_emb_index()")
        clustered.execute("SET lock_timeout = '1s'")
        assert len(clustered.execute(NEAREST_FAR).fetchall()) == 10
        clustered.execute("RESET lock_timeout")
    clustered.execute(
        "UPDATE cdm.concept SET vocabulary_id = CASE WHEN concept_id <= %s THEN 'Far' ELSE 'Near' END"
        " WHERE vocabulary_id = 'Other'",
        [FAR],
    )
    clustered.execute("SELECT * FROM omop_emb_index()")


def test_the_setting_is_followed_by_the_next_index_run(clustered: psycopg.Connection) -> None:
    before = clustered.execute(NEAREST_FAR).fetchall()
    clustered.execute("UPDATE omop_emb.config SET partial_indexes = '{}'")
    clustered.execute("SELECT * FROM omop_emb_index()")
    assert partial_indexes(clustered) == []
    assert len(set(clustered.execute(NEAREST_FAR).fetchall()) & set(before)) >= 8
    assert clustered.execute("SELECT index_valid, pending FROM omop_emb.status").fetchall() == [(True, 0)]
    clustered.execute("UPDATE omop_emb.config SET partial_indexes = '{vocabulary_id}'")
    clustered.execute("SELECT * FROM omop_emb_index()")
    assert partial_indexes(clustered) == [("vocabulary_id", "Far", True)]
    assert len(set(clustered.execute(NEAREST_FAR).fetchall()) & set(before)) >= 8
