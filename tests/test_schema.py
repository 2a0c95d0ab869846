"""What is in the database after migrate: the objects of sql/ and no others, documented and safe to run."""

import re

import psycopg
import pytest

from omop_emb.resources import SQL

OURS = """
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE (n.nspname = 'omop_emb' OR (n.nspname = 'public' AND p.proname LIKE 'omop\\_emb\\_%'))"""

CREATED = r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE) ([a-z_]+\.[a-z_]+)"


def names(connection: psycopg.Connection, condition: str = "true") -> list[str]:
    """Return the functions of the package that meet a condition on pg_proc p."""
    statement = psycopg.sql.SQL("SELECT p.oid::regprocedure::text {} AND ({}) ORDER BY 1")
    cursor = connection.execute(statement.format(psycopg.sql.SQL(OURS), psycopg.sql.SQL(condition)))
    return [row[0] for row in cursor]


def test_the_functions_are_those_of_the_files(indexed: psycopg.Connection) -> None:
    written = []
    for path in (*SQL.glob("functions/*.sql"), *SQL.glob("triggers/*.sql")):
        written += re.findall(
            r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE) ([a-z_]+\.[a-z_]+)", path.read_text(encoding="utf-8")
        )
    installed = indexed.execute("SELECT n.nspname || '.' || p.proname " + OURS).fetchall()
    written += [f"omop_emb.{made}_1" for made in ("further", "hybrid", "nearest")]
    assert sorted(row[0] for row in installed) == sorted(written)


def test_every_file_of_functions_and_views_is_named_after_its_object(db: psycopg.Connection) -> None:
    for path in SQL.glob("functions/*.sql"):
        created = re.findall(
            r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE) [a-z_]+\.([a-z_]+)", path.read_text(encoding="utf-8")
        )
        assert created == [path.stem]
    views = db.execute("SELECT viewname FROM pg_views WHERE schemaname = 'omop_emb' ORDER BY 1").fetchall()
    assert [row[0] for row in views] == sorted(path.stem for path in SQL.glob("views/*.sql"))


def test_every_function_table_and_view_has_a_comment(indexed: psycopg.Connection) -> None:
    assert names(indexed, "obj_description(p.oid, 'pg_proc') IS NULL") == []
    tables = indexed.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'omop_emb'::regnamespace"
        " AND c.relkind IN ('r', 'v') AND obj_description(c.oid, 'pg_class') IS NULL"
    ).fetchall()
    assert tables == []


def test_only_what_migrate_itself_uses_belongs_to_a_superuser(indexed: psycopg.Connection) -> None:
    assert names(indexed, "p.proowner <> 'omop_emb_owner'::regrole") == []
    owners = indexed.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'omop_emb'::regnamespace AND c.relkind <> 'i'"
        " AND c.relowner <> 'omop_emb_owner'::regrole"
        " UNION SELECT nspname FROM pg_namespace WHERE nspname = 'omop_emb' AND nspowner <> 'omop_emb_owner'::regrole"
        " ORDER BY 1"
    ).fetchall()
    assert owners == [("alembic_version",), ("installation",), ("omop_emb",)]
    for table in ("alembic_version", "installation"):
        assert indexed.execute(
            "SELECT has_table_privilege('omop_emb_owner', %s, 'SELECT, INSERT, UPDATE, TRIGGER')", [f"omop_emb.{table}"]
        ).fetchone() == (False,)
    role = indexed.execute(
        "SELECT rolsuper, rolcanlogin, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication,"
        " (SELECT count(*) FROM pg_auth_members m WHERE m.member = r.oid OR m.roleid = r.oid)"
        " FROM pg_roles r WHERE rolname = 'omop_emb_owner'"
    ).fetchall()
    assert role == [(False, False, False, False, False, False, 0)]


def test_what_the_owner_may_do_to_the_vocabulary_is_read_it(db: psycopg.Connection) -> None:
    granted = db.execute(
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
        " WHERE grantee = 'omop_emb_owner' AND table_schema = 'cdm' ORDER BY 1"
    ).fetchall()
    tables = ["concept", "concept_ancestor", "concept_relationship", "concept_synonym"]
    assert granted == [(table, "SELECT") for table in tables]


def test_every_function_pins_its_search_path(indexed: psycopg.Connection) -> None:
    """A body in standard SQL is bound to its objects when it is created, and a procedure that commits may have none."""
    pinned = (
        """p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'] OR p.prosqlbody IS NOT NULL OR p.prokind = 'p'"""
    )
    assert names(indexed, f"({pinned}) IS NOT TRUE") == []


@pytest.mark.parametrize("role", ["omop_emb_owner", "omop_emb_reader", "omop_emb_admin"])
def test_no_role_can_log_in(db: psycopg.Connection, role: str) -> None:
    assert db.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [role]).fetchone() == (False,)


def test_definers_are_the_entry_points_and_triggers_alone(indexed: psycopg.Connection) -> None:
    entries = names(
        indexed,
        "p.prosecdef AND p.prorettype <> 'trigger'::regtype AND n.nspname = 'omop_emb'"
        " AND NOT has_function_privilege('omop_emb_admin', p.oid, 'EXECUTE')",
    )
    assert entries == ["omop_emb.enqueue(int8multirange)", "omop_emb.refresh_search_functions()"]


def test_public_may_call_nothing(indexed: psycopg.Connection) -> None:
    by_default = "p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0)"
    assert names(indexed, by_default) == []
    tables = indexed.execute(
        "SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a"
        " WHERE c.relnamespace = 'omop_emb'::regnamespace AND a.grantee = 0"
    ).fetchall()
    assert tables == []
