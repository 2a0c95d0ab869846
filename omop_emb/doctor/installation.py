"""Checks of the server and of what migrate installed."""

import shlex
from collections.abc import Iterator

import psycopg
from alembic.script import ScriptDirectory

from omop_emb import __version__
from omop_emb.doctor.finding import Finding
from omop_emb.install import EXTENSIONS, MINIMUM_PGVECTOR, MINIMUM_POSTGRES, alembic_config
from omop_emb.rendering import public_functions

# The first with parallel HNSW builds that stay within their buffer.
SAFE_PARALLEL_BUILDS = (0, 8, 2)
# What does not work without a table of the vocabulary.
LOST = {
    "concept_synonym": "synonyms are not indexed",
    "concept_ancestor": "search by ancestor does not work",
    "concept_relationship": "omop_emb_map does not work",
}
ROLES = ("omop_emb_owner", "omop_emb_reader", "omop_emb_admin")
MIGRATE = "Run omop-emb-admin migrate."
UPGRADE = "Upgrade this package where you run the command: the database was installed by a newer one."


def check_server(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look at the version of PostgreSQL."""
    version = connection.info.parameter_status("server_version")
    if connection.info.server_version < MINIMUM_POSTGRES:
        yield Finding("problem", "server", f"PostgreSQL {version}, 15 or newer is needed", "Upgrade the server.")
    else:
        yield Finding("ok", "server", f"PostgreSQL {version}")


def check_extensions(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look at what the package needs of extensions, and at their versions."""
    versions = {
        name: (installed, default)
        for name, installed, default in connection.execute(
            "SELECT w.name, e.extversion, a.default_version FROM unnest(%s::text[]) w (name)"
            " LEFT JOIN pg_extension e ON e.extname = w.name LEFT JOIN pg_available_extensions a ON a.name = w.name",
            [list(EXTENSIONS)],
        )
    }
    for name, (installed, default) in versions.items():
        if installed is None:
            yield Finding("problem", "extensions", f"the extension {name} is not in this database", MIGRATE)
        elif default is None:
            major = connection.info.server_version // 10000
            yield Finding(
                "problem",
                "extensions",
                f"the server has no files of the extension {name} {installed}",
                f"Install its package for PostgreSQL {major} on the database server.",
            )
        else:
            yield Finding("ok", "extensions", f"{name} {installed}")
    vector, offered = (version_number(version) for version in versions["vector"])
    if vector and vector < MINIMUM_PGVECTOR:
        yield Finding(
            "problem",
            "extensions",
            f"pgvector {versions['vector'][0]}, 0.8.0 or newer is needed",
            "Upgrade the package on the server, then run: ALTER EXTENSION vector UPDATE",
        )
    elif vector and vector < SAFE_PARALLEL_BUILDS:
        yield Finding(
            "note",
            "extensions",
            f"HNSW indexes are built without parallel workers, since parallel builds of pgvector"
            f" {versions['vector'][0]} can overflow a buffer",
            "With pgvector 0.8.2 or newer they are built faster.",
        )
    if vector and offered and vector < offered:
        yield Finding(
            "note",
            "extensions",
            f"the server has files of pgvector {versions['vector'][1]}, the database uses {versions['vector'][0]}",
            "Run: ALTER EXTENSION vector UPDATE",
        )


def version_number(version: str | None) -> tuple[int, ...]:
    """Return a version as numbers that compare, none for no version."""
    return tuple(int(part) for part in version.split(".") if part.isdigit()) if version else ()


def check_revision(connection: psycopg.Connection) -> Iterator[Finding]:
    """Compare what is installed with what this package would install."""
    script = ScriptDirectory.from_config(alembic_config())
    head = script.get_current_head()
    known = {revision.revision for revision in script.walk_revisions()}
    readable = connection.execute(
        "SELECT has_table_privilege(c.oid, 'SELECT') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'omop_emb' AND c.relname = 'alembic_version'"
    ).fetchone()
    if readable == (True,):
        row = connection.execute("SELECT version_num FROM omop_emb.alembic_version").fetchone()
        installed = row[0] if row else None
        if installed == head:
            yield Finding("ok", "revision", f"schema revision {head}")
        elif installed is None or installed in known:
            yield Finding(
                "problem",
                "revision",
                f"schema revision {installed}, this package has {head}",
                f"{MIGRATE} It upgrades.",
            )
        else:
            yield Finding("problem", "revision", f"schema revision {installed}, this package ends at {head}", UPGRADE)
    elif readable is not None:
        yield Finding("note", "revision", "the schema revision is not shown to this role", "Ask a superuser to look.")
    else:
        yield Finding("problem", "revision", "the table omop_emb.alembic_version is gone", "Restore it from a backup.")
    (version,) = connection.execute("SELECT public.omop_emb_version()").fetchone() or (None,)
    if version == __version__:
        yield Finding("ok", "revision", f"functions of version {version}")
    else:
        newer = version_number(version) > version_number(__version__)
        yield Finding(
            "warning",
            "revision",
            f"the functions are of version {version}, this package is {__version__}",
            UPGRADE if newer else MIGRATE,
        )


def check_vocabulary(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look whether the vocabulary's tables are there and the package may read them."""
    rows = connection.execute(
        "SELECT i.cdm_schema, t.name, c.oid IS NOT NULL, coalesce(c.relkind IN ('r', 'p'), false),"
        " coalesce(c.relrowsecurity, false),"
        " EXISTS (SELECT FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = c.oid"
        " AND a.attnum > 0 AND NOT a.attisdropped AND y.typnamespace <> 'pg_catalog'::regnamespace),"
        " coalesce(has_schema_privilege(o.oid, n.oid, 'USAGE') AND has_table_privilege(o.oid, c.oid, 'SELECT'), false)"
        " FROM omop_emb.installation i CROSS JOIN unnest(%s::text[]) t (name)"
        " LEFT JOIN pg_namespace n ON n.nspname = i.cdm_schema"
        " LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name"
        " LEFT JOIN pg_roles o ON o.rolname = 'omop_emb_owner'",
        [["concept", *LOST]],
    ).fetchall()
    readable = set()
    for schema, name, exists, is_table, has_policies, has_own_types, may_read in rows:
        table = f"{schema}.{name}"
        if not exists and name in LOST:
            yield Finding("warning", "vocabulary", f"there is no table {table}: {LOST[name]}")
        elif not exists:
            yield Finding(
                "problem",
                "vocabulary",
                f"there is no table {table}",
                "Restore it, or run omop-emb-admin migrate --cdm-schema with the schema that holds it now.",
            )
        elif reason := next(
            (
                reason
                for applies, reason in (
                    (not is_table, "it is not a plain table"),
                    (has_policies, "it has row security"),
                    (has_own_types, "it has columns that are not of built-in types"),
                )
                if applies
            ),
            None,
        ):
            yield Finding("problem", "vocabulary", f"{table} cannot be read: {reason}", "Make it a plain table.")
        elif not may_read:
            yield Finding("problem", "vocabulary", f"omop_emb_owner may not read {table}", f"{MIGRATE} It grants that.")
        else:
            yield Finding("ok", "vocabulary", f"{table} is there and can be read")
            readable.add(name)
    if "concept_relationship" not in readable:
        yield from check_mapped_terms(connection)


def check_mapped_terms(connection: psycopg.Connection) -> Iterator[Finding]:
    """Say which configurations miss their mapped terms, where concept_relationship cannot be read."""
    for (config,) in connection.execute("SELECT name FROM omop_emb.config WHERE mapped_terms ORDER BY name"):
        yield Finding(
            "warning",
            "vocabulary",
            "mapped terms are not indexed: the table concept_relationship cannot be read",
            f"Restore it, then run omop-emb-admin migrate and index, or: omop-emb-admin configure {shlex.quote(config)}"
            " --no-mapped-terms",
            config,
        )


def check_triggers(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look whether changes of the vocabulary are noticed."""
    rows = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname), count(g.oid),"
        " count(g.oid) FILTER (WHERE g.tgenabled IN ('O', 'A'))"
        " FROM omop_emb.installation i JOIN pg_namespace n ON n.nspname = i.cdm_schema"
        " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname IN ('concept', 'concept_synonym')"
        " LEFT JOIN pg_trigger g ON g.tgrelid = c.oid AND g.tgname LIKE 'omop\\_emb\\_%'"
        " GROUP BY 1 ORDER BY 1"
    ).fetchall()
    for table, installed, enabled in rows:
        if installed < 4:
            yield Finding("problem", "triggers", f"{table} lacks {4 - installed} of the 4 triggers", MIGRATE)
        elif enabled < 4:
            yield Finding(
                "problem",
                "triggers",
                f"{4 - enabled} of the 4 triggers on {table} are switched off: its changes are not noticed",
                f"{MIGRATE} It switches them on. Then run omop-emb-admin index.",
            )
        else:
            yield Finding("ok", "triggers", f"on {table}")


def check_roles(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look whether the package's roles are there and can do no more than they should."""
    rows = connection.execute(
        "SELECT w.name, r.oid IS NOT NULL, coalesce(r.rolcanlogin OR r.rolsuper OR r.rolcreatedb OR r.rolcreaterole"
        " OR r.rolreplication OR r.rolbypassrls, false) FROM unnest(%s::text[]) w (name)"
        " LEFT JOIN pg_roles r ON r.rolname = w.name",
        [list(ROLES)],
    ).fetchall()
    for name, exists, powerful in rows:
        if not exists:
            yield Finding("problem", "roles", f"there is no role {name}", MIGRATE)
        elif powerful:
            yield Finding("problem", "roles", f"the role {name} may log in or has other powers", MIGRATE)
        else:
            yield Finding("ok", "roles", name)


def check_privileges(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look for what a restore without owners or privileges leaves behind."""
    (strangers, public, unsearchable) = connection.execute(
        "WITH own AS (SELECT p.oid, p.proowner AS owner, p.proname FROM pg_proc p"
        " JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'omop_emb' OR (n.nspname = 'public' AND p.proname = ANY (%s)))"
        " SELECT count(*) FILTER (WHERE r.rolname <> 'omop_emb_owner'),"
        " count(*) FILTER (WHERE has_function_privilege('public', o.oid, 'EXECUTE')),"
        " count(*) FILTER (WHERE o.proname = 'omop_emb_search' AND NOT coalesce("
        " (SELECT has_function_privilege(d.oid, o.oid, 'EXECUTE') FROM pg_roles d WHERE d.rolname = 'omop_emb_reader'),"
        " true)) FROM own o JOIN pg_roles r ON r.oid = o.owner",
        [public_functions()],
    ).fetchone() or (0, 0, 0)
    if strangers:
        yield Finding("problem", "privileges", f"{strangers} functions do not belong to omop_emb_owner", MIGRATE)
    if public:
        yield Finding("problem", "privileges", f"everybody may call {public} functions of the package", MIGRATE)
    if unsearchable:
        yield Finding("problem", "privileges", "omop_emb_reader may not call omop_emb_search", MIGRATE)
    if not (strangers or public or unsearchable):
        yield Finding("ok", "privileges", "as migrate grants them")
