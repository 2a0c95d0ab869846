"""What others own in the same database gives them no way in, and a running index does not stand in their way."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from omop_emb.errors import OmopEmbError
from omop_emb.install import migrate
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint
from tests.installing import execute

EVIL = """
CREATE TABLE cdm.seen (who text);
GRANT INSERT ON cdm.seen TO PUBLIC;
GRANT USAGE ON SCHEMA cdm TO PUBLIC;
CREATE FUNCTION cdm.evil() RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN INSERT INTO cdm.seen VALUES (current_user); RETURN true; END';
"""


@pytest.fixture
def vocabulary_owner(indexed: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Give the connection of a superuser to an indexed database whose vocabulary belongs to a role of its own."""
    indexed.execute("CREATE ROLE cdm_owner LOGIN")
    indexed.execute("ALTER TABLE cdm.concept OWNER TO cdm_owner")
    indexed.execute("ALTER TABLE cdm.concept_ancestor OWNER TO cdm_owner")
    indexed.execute(sql.SQL(EVIL))
    yield indexed
    indexed.execute("DROP OWNED BY cdm_owner CASCADE")
    indexed.execute("DROP ROLE cdm_owner")


@pytest.mark.parametrize(
    "trap",
    [
        "ALTER TABLE cdm.concept ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON cdm.concept USING (cdm.evil())",
        """CREATE TYPE cdm.odd AS (x text);
           CREATE FUNCTION cdm.odd_text(cdm.odd) RETURNS text LANGUAGE sql AS $$SELECT cdm.evil()::text$$;
           CREATE CAST (cdm.odd AS text) WITH FUNCTION cdm.odd_text(cdm.odd);
           ALTER TABLE cdm.concept ALTER domain_id TYPE cdm.odd USING row(domain_id)::cdm.odd""",
        """ALTER TABLE cdm.concept RENAME TO hidden;
           CREATE VIEW cdm.concept AS SELECT * FROM cdm.hidden WHERE cdm.evil()""",
    ],
)
def test_code_of_the_vocabularys_owner_is_not_run(vocabulary_owner: psycopg.Connection, trap: str) -> None:
    vocabulary_owner.execute(sql.SQL(trap))
    with pytest.raises(psycopg.Error, match=r"may not read the vocabulary table cdm\.concept") as raised:
        vocabulary_owner.execute("SELECT * FROM omop_emb_index()")
    assert raised.value.diag.sqlstate == "OE005"
    assert vocabulary_owner.execute("SELECT concepts_in_scope FROM omop_emb.status").fetchall() == [(0,)]
    assert vocabulary_owner.execute("SELECT * FROM cdm.seen").fetchall() == []


def test_a_view_for_concept_ancestor_is_not_read(vocabulary_owner: psycopg.Connection) -> None:
    vocabulary_owner.execute(
        "ALTER TABLE cdm.concept_ancestor RENAME TO hidden;"
        "CREATE VIEW cdm.concept_ancestor AS SELECT * FROM cdm.hidden WHERE cdm.evil();"
        "GRANT SELECT ON cdm.concept_ancestor TO omop_emb_owner"
    )
    with pytest.raises(psycopg.Error, match="concept_ancestor"):
        vocabulary_owner.execute("SELECT * FROM omop_emb_search('x', ancestor_concept_id => 4329847)")
    assert vocabulary_owner.execute("SELECT * FROM cdm.seen").fetchall() == []


@pytest.mark.parametrize(
    "trap",
    [
        "CREATE SCHEMA omop_emb AUTHORIZATION squatter",
        "GRANT CREATE ON SCHEMA public TO squatter; SET ROLE squatter;"
        " CREATE FUNCTION public.omop_emb_version() RETURNS text LANGUAGE sql AS $$SELECT 'x'$$",
    ],
)
def test_objects_of_others_in_the_way_are_refused(vocabulary_dsn: str, trap: str) -> None:
    execute(vocabulary_dsn, "CREATE ROLE squatter")
    try:
        execute(vocabulary_dsn, trap)
        with pytest.raises(OmopEmbError, match="of role squatter is in the way") as raised:
            migrate(vocabulary_dsn)
        assert raised.value.hint
    finally:
        execute(vocabulary_dsn, "DROP OWNED BY squatter CASCADE; DROP ROLE squatter")


def test_functions_of_others_with_a_like_name_are_left_alone(dsn: str, db: psycopg.Connection) -> None:
    db.execute("CREATE FUNCTION public.omop_emb_my_report() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    migrate(dsn)
    owner = "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'omop_emb_my_report'"
    assert db.execute(owner).fetchone() == ("postgres",)


def test_migrate_takes_back_what_was_given_to_its_roles(dsn: str, db: psycopg.Connection) -> None:
    db.execute("ALTER ROLE omop_emb_owner LOGIN CREATEROLE")
    migrate(dsn)
    attributes = "SELECT rolcanlogin, rolcreaterole FROM pg_roles WHERE rolname = 'omop_emb_owner'"
    assert db.execute(attributes).fetchone() == (False, False)


def test_writers_neither_wait_for_a_running_index_nor_lose_a_change(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    indexed.execute("INSERT INTO cdm.concept VALUES (2000000001, 'slow', 'Condition', 'L', 'L', 'S', 'l')")
    called, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> Answer | None:
        called.set()
        go_on.wait(30)
        return None

    endpoint.respond = hold
    indexing = threading.Thread(target=lambda: connect().execute("SELECT * FROM omop_emb_index()"))
    indexing.start()
    assert called.wait(10)
    try:
        indexed.execute("SET lock_timeout = '500ms'")
        indexed.execute("DELETE FROM cdm.concept WHERE concept_id = 2000000001")
        indexed.execute("UPDATE cdm.concept SET domain_id = 'Observation' WHERE concept_id = 378253")
        indexed.execute("DELETE FROM cdm.concept_synonym WHERE concept_id = 320128")
    finally:
        go_on.set()
        indexing.join()
    jobs = indexed.execute(
        "SELECT range_agg(concept_ids) @> '{[2000000001,2000000001]}' FROM omop_emb.queue"
    ).fetchone()
    assert jobs == (True,)
    indexed.execute("SELECT * FROM omop_emb_index()")
    found: dict[int, str] = dict(
        indexed.execute(
            "SELECT concept_id, domain_id FROM omop_emb_search('x', 100, include_invalid => true)"
        ).fetchall()
    )
    assert 2000000001 not in found
    assert found[378253] == "Observation"


def test_search_goes_on_while_an_empty_configuration_is_filled(
    db: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    db.execute(
        "INSERT INTO omop_emb.config (name, api_base, model, query_prefix) VALUES ('test', %s, 'm', 'query: ')",
        [endpoint.url],
    )
    called, go_on = threading.Event(), threading.Event()

    def hold(request: dict[str, list[str]]) -> Answer | None:
        if not request["input"][0].startswith("query: "):
            called.set()
            go_on.wait(30)
        return None

    endpoint.respond = hold
    indexing = threading.Thread(target=lambda: connect().execute("SELECT * FROM omop_emb_index()"))
    indexing.start()
    assert called.wait(10)
    try:
        db.execute("SET statement_timeout = '5s'")
        assert db.execute("SELECT * FROM omop_emb_search('x')").fetchall() == []
        assert db.execute("SELECT indexed FROM omop_emb.status").fetchall() == [(0,)]
    finally:
        go_on.set()
        indexing.join()
    assert len(db.execute("SELECT * FROM omop_emb_search('x')").fetchall()) == 10


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_index_run_from_an_old_snapshot_is_refused(indexed: psycopg.Connection, level: str) -> None:
    with indexed.transaction():
        indexed.execute(sql.SQL(f"SET TRANSACTION ISOLATION LEVEL {level}"))
        with pytest.raises(psycopg.Error, match=level) as raised, indexed.transaction():
            indexed.execute("SELECT * FROM omop_emb_index()")
        assert raised.value.diag.sqlstate == "OE005"
        assert len(indexed.execute("SELECT * FROM omop_emb_search('x')").fetchall()) == 10


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM omop_emb_index()", "SELECT * FROM omop_emb_index('{378253,320128}')"]
)
def test_an_index_run_that_waits_for_a_refresh_sees_the_new_vocabulary(
    indexed: psycopg.Connection, connect: Connect, statement: str
) -> None:
    refresh = connect(autocommit=False)
    for table in ("concept", "concept_synonym"):
        refresh.execute(f"CREATE TEMP TABLE new_{table} ON COMMIT DROP AS SELECT * FROM cdm.{table}".encode())
        refresh.execute(f"TRUNCATE cdm.{table}".encode())
        refresh.execute(f"INSERT INTO cdm.{table} TABLE new_{table}".encode())
    indexing = connect()
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(indexing.execute(statement.encode()).fetchone()))
    thread.start()
    waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
    while indexed.execute(waits, [indexing.info.backend_pid]).fetchone() != ("Lock",):
        time.sleep(0.01)
    assert len(indexed.execute("SELECT * FROM omop_emb_search('x', 20)").fetchall()) == 10
    refresh.commit()
    thread.join()
    assert done == [(0, 0, 0, 0, 0)]
    assert len(indexed.execute("SELECT * FROM omop_emb_search('x', 20)").fetchall()) == 10
    assert indexed.execute("SELECT pending, stale FROM omop_emb.status").fetchone() == (0, 0)


def test_migrate_runs_beside_searches_and_index_runs(indexed: psycopg.Connection, connect: Connect, dsn: str) -> None:
    stop = threading.Event()
    failures: list[Exception] = []

    def repeat(statement: str) -> None:
        connection = connect()
        while not stop.is_set():
            try:
                connection.execute(statement.encode())
            except psycopg.Error as error:
                failures.append(error)

    update = "UPDATE cdm.concept SET concept_name = md5(random()::text) WHERE concept_id = 378253"
    statements = ("SELECT * FROM omop_emb_search('x')", "SELECT * FROM omop_emb_index()", update)
    threads = [threading.Thread(target=repeat, args=[statement]) for statement in statements]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            migrate(dsn)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
