"""However the vocabulary is replaced, the next index run leaves what a fresh build has, and pays for new texts only."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from omop_emb.cli import main
from omop_emb.demo.cluster import Cluster
from tests.endpoint import Endpoint
from tests.installing import tool
from tests.test_index import searchable, status
from tests.test_random_changes import fresh

# A new vocabulary: one name changed, one concept gone, one new, one invalid, one synonym more.
NEW = """
    CREATE TEMP TABLE new_concept (LIKE cdm.concept INCLUDING DEFAULTS);
    INSERT INTO new_concept SELECT * FROM cdm.concept;
    CREATE TEMP TABLE new_synonym AS SELECT * FROM cdm.concept_synonym;
    UPDATE new_concept SET concept_name = 'Pain in the head' WHERE concept_id = 378253;
    UPDATE new_concept SET invalid_reason = 'D' WHERE concept_id = 4329847;
    DELETE FROM new_concept WHERE concept_id = 312327;
    INSERT INTO new_concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
        concept_code)
        VALUES (77, 'Itch', 'Condition', 'SNOMED', 'Clinical Finding', 'S', '77');
    INSERT INTO new_synonym VALUES (77, 'Pruritus', 4180186);
"""
INSERT = "INSERT INTO cdm.concept SELECT * FROM new_concept; INSERT INTO cdm.concept_synonym SELECT * FROM new_synonym"
NEW_TEXTS = {"doc: Pain in the head", "doc: Itch", "doc: Pruritus"}

WAYS = {
    "TRUNCATE and INSERT in one transaction": f"BEGIN; TRUNCATE cdm.concept, cdm.concept_synonym; {INSERT}; COMMIT",
    "TRUNCATE first": f"TRUNCATE cdm.concept; TRUNCATE cdm.concept_synonym; {INSERT}",
    "DELETE": f"DELETE FROM cdm.concept; DELETE FROM cdm.concept_synonym; {INSERT}",
    "triggers disabled": "ALTER TABLE cdm.concept DISABLE TRIGGER ALL;"
    " ALTER TABLE cdm.concept_synonym DISABLE TRIGGER ALL;"
    f" TRUNCATE cdm.concept, cdm.concept_synonym; {INSERT};"
    " ALTER TABLE cdm.concept ENABLE TRIGGER ALL; ALTER TABLE cdm.concept_synonym ENABLE TRIGGER ALL",
    "session_replication_role": "SET session_replication_role = replica; TRUNCATE cdm.concept, cdm.concept_synonym;"
    f" {INSERT}; RESET session_replication_role",
    "DROP and CREATE": "CREATE TABLE cdm.c (LIKE cdm.concept INCLUDING ALL);"
    " CREATE TABLE cdm.s (LIKE cdm.concept_synonym INCLUDING ALL); DROP TABLE cdm.concept, cdm.concept_synonym;"
    f" ALTER TABLE cdm.c RENAME TO concept; ALTER TABLE cdm.s RENAME TO concept_synonym; {INSERT}",
}


def index(dsn: str) -> None:
    """Run the command as a superuser."""
    result = CliRunner().invoke(main, ["--dsn", dsn, "index"])
    assert result.exit_code == 0, result.stderr


def check_like_fresh(connection: psycopg.Connection, cluster: Cluster, dsn: str) -> None:
    """Compare the state and all answers with those of a fresh build; closes the connection."""
    state = """
        SELECT 'concept', m::text FROM omop_emb.concept m
        UNION ALL SELECT 'term', concat_ws('|', t.text_hash, t.concept_id, t.kind, t.text) FROM omop_emb.term t
        UNION ALL SELECT 'vector', concat_ws('|', e.text_hash, e.embedding, e.domains, e.vocabularies)
            FROM omop_emb.embedding_1 e WHERE e.live
        UNION ALL SELECT 'job', j::text FROM omop_emb.job j
        UNION ALL SELECT 'queue', q::text FROM omop_emb.queue q
        ORDER BY 1, 2"""

    def everything(database: psycopg.Connection) -> tuple[object, ...]:
        return database.execute(state).fetchall(), searchable(database), status(database)

    found = everything(connection)
    connection.close()
    for copy in fresh(cluster, dsn):
        with psycopg.connect(copy, autocommit=True) as other:
            assert everything(other) == found


@pytest.mark.parametrize("way", list(WAYS))
def test_a_refresh(indexed: psycopg.Connection, cluster: Cluster, dsn: str, endpoint: Endpoint, way: str) -> None:
    indexed.execute(NEW)
    for statement in WAYS[way].split(";"):
        indexed.execute(statement)
        # Search answers whatever is going on.
        assert len(indexed.execute("SELECT FROM omop_emb_search('Headache', 3)").fetchall()) > 0 or "DELETE" in way
    pending, stale = status(indexed)[2:4]
    assert pending > 0 or way == "DROP and CREATE"
    assert stale > 0 or way in ("DELETE", "DROP and CREATE")
    endpoint.requests.clear()
    index(dsn)
    assert set(endpoint.texts) == NEW_TEXTS
    assert len(endpoint.texts) == len(NEW_TEXTS)
    assert status(indexed)[2:] == (0, 0, 0, True, True)
    endpoint.requests.clear()
    index(dsn)
    assert endpoint.requests == []
    check_like_fresh(indexed, cluster, dsn)


def test_a_restore_of_the_vocabulary(
    indexed: psycopg.Connection, cluster: Cluster, dsn: str, endpoint: Endpoint, tmp_path: Path
) -> None:
    """A data-only pg_restore with --disable-triggers tells nobody."""
    backup = str(tmp_path / "vocabulary.dump")
    indexed.execute(NEW)
    for statement in WAYS["TRUNCATE first"].split(";"):
        indexed.execute(statement)
    tables = ["--table=cdm.concept", "--table=cdm.concept_synonym"]
    tool("pg_dump", "--format=custom", "--data-only", *tables, "--file", backup, dsn)
    indexed.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
    index(dsn)
    assert status(indexed)[0] == 0
    tool("pg_restore", "--data-only", "--disable-triggers", "--dbname", dsn, backup)
    assert status(indexed)[2] > 0
    endpoint.requests.clear()
    index(dsn)
    assert set(endpoint.texts) == NEW_TEXTS
    check_like_fresh(indexed, cluster, dsn)


def test_who_may_not_attach_recreated_tables_is_told_what_to_do(indexed: psycopg.Connection, dsn: str) -> None:
    indexed.execute(NEW)
    for statement in WAYS["DROP and CREATE"].split(";"):
        indexed.execute(statement)
    try:
        indexed.execute("CREATE ROLE operator LOGIN IN ROLE omop_emb_admin")
        result = CliRunner().invoke(main, ["--dsn", f"{dsn} user=operator", "index"])
        assert result.exit_code == 1
        assert "omop_emb_owner may not read the vocabulary table cdm.concept" in result.stderr
        assert "omop-emb-admin migrate" in result.stderr
    finally:
        indexed.execute("DROP ROLE operator")
