"""What each role may do, and that query text is kept nowhere."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint

READER_FUNCTIONS = {
    "omop_emb_search",
    "omop_emb_search_batch",
    "omop_emb_map",
    "standard_targets",
    "omop_emb_similar",
    "omop_emb_embed_query",
    "omop_emb_version",
    "config_status",
    "failed_terms",
    "nearest_concepts",
    "concept_embeddings",
    "concepts_without_embedding",
    "require_settings",
    "has_model",
    "has_vectors",
}
ADMIN_FUNCTIONS = READER_FUNCTIONS | {
    "omop_emb_index",
    "omop_emb_embed_document",
    "discard",
    "begin_index",
    *("catch_up", "worker_settings", "session_worker", "retry_failed", "texts_without_vector"),
    *("lease_jobs", "lease_for_session", "jobs_left", "renew_lease", "release_jobs", "embed_jobs"),
    *("open_staging", "merge_staged", "omop_emb_index_pending"),
    *("hnsw_to_build", "may_build_in_parallel", "adopt_built"),
    "count_for_searches",
    "finish_index",
    "activate",
    "rollback",
    "drop_config",
    "require_built",
    "require_indexed",
    "store_documents",
    "embed_texts",
    "evaluation_pool",
    "provenance_of",
    "stored_sample",
    "export_vectors",
    "prepare_import",
    "import_vectors",
}


@pytest.fixture(scope="module")
def people(cluster: Cluster) -> Iterator[None]:
    """Make a login role per role of the package, and one that has none of them."""
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE a_reader LOGIN")
        connection.execute("CREATE ROLE an_admin LOGIN")
        connection.execute("CREATE ROLE a_stranger LOGIN")
        yield
        connection.execute("DROP ROLE a_reader, an_admin, a_stranger")


@pytest.fixture
def granted(people: None, indexed: psycopg.Connection) -> psycopg.Connection:
    """Give a connection to an indexed database whose roles have their members."""
    indexed.execute("GRANT omop_emb_reader TO a_reader")
    indexed.execute("GRANT omop_emb_admin TO an_admin")
    return indexed


def callable_by(connection: psycopg.Connection, role: str) -> set[str]:
    """Return the functions of the package that a role may execute."""
    cursor = connection.execute(
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE (n.nspname = 'omop_emb' OR p.proname ~ '^omop_emb_') AND has_function_privilege(%s, p.oid, 'EXECUTE')",
        [role],
    )
    return {row[0] for row in cursor}


def relations_of(connection: psycopg.Connection, role: str, *privileges: str) -> set[str]:
    """Return the tables, views and sequences in schema omop_emb on which a role has one of the privileges."""
    cursor = connection.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'omop_emb'::regnamespace AND c.relkind IN ('r', 'v')"
        " AND has_table_privilege(%s, c.oid, %s)",
        [role, ", ".join(privileges)],
    )
    return {row[0] for row in cursor}


WRITING = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def test_the_catalog_gives_each_role_what_it_needs_and_no_more(granted: psycopg.Connection) -> None:
    assert callable_by(granted, "a_reader") == READER_FUNCTIONS
    assert relations_of(granted, "a_reader", "SELECT") == {"status", "failures"}
    assert relations_of(granted, "a_reader", *WRITING) == set()
    assert callable_by(granted, "an_admin") == ADMIN_FUNCTIONS
    assert relations_of(granted, "an_admin", "SELECT") == {
        *("status", "failures", "config", "queue", "job", "installation", "alembic_version")
    }
    assert relations_of(granted, "an_admin", *WRITING) == {"config"}
    assert callable_by(granted, "a_stranger") == set()
    assert relations_of(granted, "a_stranger", "SELECT", *WRITING) == set()
    schema = "SELECT has_schema_privilege(%s, 'omop_emb', 'USAGE'), has_schema_privilege(%s, 'omop_emb', 'CREATE')"
    for role, usage in (("a_reader", True), ("an_admin", True), ("a_stranger", False)):
        assert granted.execute(schema, [role, role]).fetchone() == (usage, False)


def test_a_second_configuration_and_an_upgrade_open_nothing(granted: psycopg.Connection, endpoint: Endpoint) -> None:
    configure(granted, "second", {"api_base": endpoint.url, "model": "recorded"})
    granted.execute("SELECT omop_emb.discard('test')")
    granted.execute("UPDATE omop_emb.config SET hnsw_ef_search = 50")
    assert callable_by(granted, "a_reader") == READER_FUNCTIONS
    assert callable_by(granted, "a_stranger") == set()
    assert relations_of(granted, "a_reader", "SELECT") == {"status", "failures"}


def test_a_reader_can_search(granted: psycopg.Connection, connect: Connect) -> None:
    reader = connect(user="a_reader")
    assert len(reader.execute("SELECT * FROM omop_emb_search('x', ancestor_concept_id => 4329847)").fetchall()) == 2
    assert len(reader.execute("SELECT * FROM omop_emb_search('x', 100, domains => '{Drug}')").fetchall()) == 3
    assert len(reader.execute("SELECT * FROM omop_emb_similar(4329847, 3)").fetchall()) == 3
    assert reader.execute("SELECT vector_dims(omop_emb_embed_query('x'))").fetchone() == (8,)
    assert reader.execute("SELECT omop_emb_version() IS NOT NULL").fetchone() == (True,)
    assert reader.execute("SELECT name, indexed FROM omop_emb.status").fetchall() == [("test", 10)]
    assert reader.execute("SELECT * FROM omop_emb.failures").fetchall() == []


READER_MAY_NOT = [
    "SELECT * FROM omop_emb_index()",
    "SELECT omop_emb_embed_document('x')",
    "SELECT omop_emb.discard('test')",
    "SELECT * FROM omop_emb.begin_index(NULL)",
    "SELECT * FROM omop_emb.config",
    "SELECT api_base FROM omop_emb.config",
    "INSERT INTO omop_emb.config (name, api_base, model, dimensions) VALUES ('x', 'http://127.0.0.1:1', 'x', 1)",
    "UPDATE omop_emb.config SET api_base = 'http://127.0.0.1:1'",
    "DELETE FROM omop_emb.config",
    "SELECT * FROM omop_emb.queue",
    "DELETE FROM omop_emb.queue",
    "SELECT * FROM omop_emb.term",
    "SELECT * FROM omop_emb.embedding_1",
    "SELECT * FROM omop_emb.query_vector",
    "SELECT omop_emb.remember_queries(NULL, NULL)",
    "SELECT * FROM omop_emb.config_for(NULL)",
    "SELECT omop_emb.enqueue('{(,)}')",
    "SELECT omop_emb.reconcile()",
    "SELECT omop_emb.refresh_search_functions()",
    "SELECT omop_emb.nearest_1('[1,2,3,4,5,6,7,8]', 1, NULL)",
    "CREATE TABLE omop_emb.mine ()",
    "SELECT * FROM cdm.concept",
    "SET ROLE omop_emb_owner",
]
# Settings that an attacker would like to choose: the server would send a request anywhere.
FORGED = 'jsonb_populate_record(NULL::omop_emb.config, \'{"api_base": "http://127.0.0.1:1", "model": "x"}\')'


@pytest.mark.parametrize(
    "statement",
    [
        *READER_MAY_NOT,
        f"SELECT omop_emb.request_query({FORGED}, 'x', 'x')",
        f"SELECT * FROM omop_emb.embed_queries({FORGED}, '{{x}}')",
        f"SELECT omop_emb.embed_query({FORGED}, 'x')",
        f"SELECT omop_emb.request_embeddings({FORGED}, 'document', '{{x}}')",
        f"SELECT omop_emb.embed_documents({FORGED}, '{{x}}')",
        f"SELECT omop_emb.search_exactly({FORGED}, '[1]', 1, NULL)",
    ],
)
def test_a_reader_can_do_nothing_else(granted: psycopg.Connection, connect: Connect, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connect(user="a_reader").execute(sql.SQL(statement))


@pytest.mark.parametrize(
    "function", ["request_query", "embed_query", "embed_queries", "request_embeddings", "embed_documents"]
)
def test_an_admin_cannot_send_requests_anywhere_either(
    granted: psycopg.Connection, connect: Connect, function: str
) -> None:
    arguments = {"request_query": "'x', 'x'", "embed_query": "'x'", "request_embeddings": "'document', '{x}'"}
    argument = arguments.get(function, "'{x}'")
    statement = f"SELECT omop_emb.{function}({FORGED}, {argument})"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connect(user="an_admin").execute(sql.SQL(statement))


def test_an_admin_runs_the_package(granted: psycopg.Connection, connect: Connect, endpoint: Endpoint) -> None:
    admin = connect(user="an_admin")
    configure(admin, "mine", {"api_base": endpoint.url, "model": "recorded", "document_prefix": "mine: "})
    assert admin.execute("SELECT embedded FROM omop_emb_index(config => 'mine')").fetchone() == (16,)
    admin.execute("UPDATE omop_emb.config SET is_active = true WHERE name = 'mine'")
    assert len(admin.execute("SELECT * FROM omop_emb_search('x', 100)").fetchall()) == 10
    admin.execute("UPDATE omop_emb.config SET hnsw_m = 8, hnsw_ef_search = 50 WHERE name = 'mine'")
    assert admin.execute("SELECT vector_dims(omop_emb_embed_document('x'))").fetchone() == (8,)
    assert admin.execute("SELECT * FROM omop_emb.queue").fetchall() == []
    assert admin.execute("SELECT omop_emb.discard('test')").fetchone() == (16,)
    admin.execute("DELETE FROM omop_emb.config WHERE name = 'test'")
    assert admin.execute("SELECT to_regclass('omop_emb.embedding_1')").fetchone() == (None,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        admin.execute("SELECT * FROM omop_emb.embedding_2")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM omop_emb_search('x')",
        "SELECT * FROM omop_emb_similar(4329847)",
        "SELECT omop_emb_embed_query('x')",
        "SELECT omop_emb_version()",
        "SELECT * FROM omop_emb.status",
        "SELECT * FROM omop_emb.failures",
        "SELECT * FROM omop_emb_index()",
    ],
)
def test_public_may_do_nothing(granted: psycopg.Connection, connect: Connect, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connect(user="a_stranger").execute(sql.SQL(statement))


def test_objects_of_the_caller_do_not_get_into_what_runs_as_the_owner(
    granted: psycopg.Connection, connect: Connect
) -> None:
    reader = connect(user="a_reader")
    reader.execute("CREATE TEMP TABLE config AS SELECT 'mine' AS name")
    reader.execute("CREATE FUNCTION pg_temp.unnest(anyarray) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1 / 0'")
    reader.execute("SET search_path = pg_temp, public")
    assert len(reader.execute("SELECT * FROM omop_emb_search('x', 100)").fetchall()) == 10


MARKER = "unmistakable patient words 7391"


def test_query_text_is_stored_nowhere(granted: psycopg.Connection, connect: Connect, endpoint: Endpoint) -> None:
    reader = connect(user="a_reader")
    reader.execute("SELECT * FROM omop_emb_search(%s)", [MARKER])
    reader.execute("SELECT omop_emb_embed_query(%s)", [MARKER])
    assert any(MARKER in text for text in endpoint.texts)
    tables = granted.execute(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('information_schema')"
        " UNION SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname = 'omop_emb'"
    ).fetchall()
    assert len(tables) > 70
    for (table,) in tables:
        statement = sql.SQL("SELECT count(*) FROM {} t WHERE t::text LIKE %s").format(sql.SQL(table))
        assert granted.execute(statement, [f"%{MARKER}%"]).fetchone() == (0,), table


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=400, body=b'{"error": {"message": "cannot embed: query: ' + MARKER.encode() + b'"}}'),
        Answer(status=200, body=b"not JSON: query: " + MARKER.encode()),
    ],
)
def test_query_text_is_not_in_an_error_nor_in_the_servers_log(
    granted: psycopg.Connection, connect: Connect, endpoint: Endpoint, cluster: Cluster, answer: Answer
) -> None:
    """An endpoint that echoes the text, and a client that passes the text as a parameter, as it should."""
    endpoint.respond = lambda _: answer
    reader = connect(user="a_reader")
    statements = ("SELECT * FROM omop_emb_search(%s)", "SELECT omop_emb_embed_query(%s)")
    for statement in statements:
        with pytest.raises(psycopg.Error) as raised:
            reader.execute(statement, [MARKER])
        assert raised.value.diag.sqlstate in ("OE003", "OE004")
        diag = raised.value.diag
        said = [diag.message_primary, diag.message_detail, diag.message_hint, diag.context, diag.internal_query]
        assert MARKER not in " ".join(part or "" for part in said)
    log = cluster.log.read_text(errors="replace")
    assert "omop_emb_search($1)" in log
    assert MARKER not in log
