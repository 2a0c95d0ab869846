"""Install, upgrade and remove the database side of the package."""

import io
from dataclasses import dataclass

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from omop_emb import __version__
from omop_emb.database import connect, readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.rendering import Schemas, render, replaceable_files
from omop_emb.resources import MIGRATIONS, SQL

MINIMUM_POSTGRES = 150000
MINIMUM_PGVECTOR = (0, 8, 0)
EXTENSIONS = ("pg_trgm", "plpython3u", "vector")
LOCK = "SELECT pg_advisory_xact_lock(hashtext('omop_emb'), hashtext('migrate'))"


@dataclass(frozen=True)
class Installation:
    """What migrate did: for which vocabulary schema, and the schema revision before and after."""

    cdm_schema: str
    revision_before: str | None
    revision: str


def migrate(dsn: str | None, cdm_schema: str | None = None) -> Installation:
    """Install or upgrade everything in one transaction; several at once wait for each other.

    Without ``cdm_schema`` the schema of the last run is used, else the only one that has a ``concept`` table.
    Raises OmopEmbError, with nothing changed, when the server, the role or the vocabulary is not fit for it.
    """
    with readable_errors(), connect(dsn) as raw:
        check_server(raw)
        engine = create_engine("postgresql+psycopg://", creator=lambda: raw, poolclass=StaticPool)
        with engine.begin() as begun:
            connection = begun.execution_options(no_parameters=True)
            run(connection, LOCK)
            run(connection, render_guard())
            installed_schema = installed_cdm_schema(raw)
            schema = find_cdm_schema(raw, cdm_schema or installed_schema)
            before = current_revision(raw)
            if installed_schema not in (None, schema):
                drop_triggers(raw)
            created = [name for name in EXTENSIONS if create_extension(raw, name)]
            schemas = Schemas(schema, find_extension_schema(raw, "vector"), find_extension_schema(raw, "pg_trgm"))
            run(connection, render(SQL / "roles.sql", schemas))
            run(connection, "CREATE SCHEMA IF NOT EXISTS omop_emb")
            upgrade(connection)
            raw.execute(
                "INSERT INTO omop_emb.installation (cdm_schema, created_extensions) VALUES (%s, %s)"
                " ON CONFLICT (only_row) DO UPDATE SET cdm_schema = excluded.cdm_schema",
                [schema, created],
            )
            for path in replaceable_files():
                run(connection, render(path, schemas))
            if installed_schema not in (None, schema):
                run(connection, "SELECT omop_emb.enqueue('{(,)}')")
            return Installation(schema, before, str(current_revision(raw)))


def migration_script(
    cdm_schema: str, vector_schema: str = "public", trigram_schema: str = "public", from_revision: str = "base"
) -> str:
    """Return the SQL that ``migrate`` would run, for psql; no database is asked.

    ``vector_schema`` and ``trigram_schema`` are where the extensions vector and pg_trgm are, or are to be created.

    ``from_revision`` is the revision that the database has (``SELECT version_num FROM omop_emb.alembic_version``),
    ``base`` for one without the package.
    """
    schemas = Schemas(cdm_schema, vector_schema, trigram_schema)
    for name in (cdm_schema, vector_schema, trigram_schema):
        check_schema_name(name)
    extension_schemas = {"vector": vector_schema, "pg_trgm": trigram_schema}
    alembic_output = io.StringIO()
    config = alembic_config()
    config.output_buffer = alembic_output
    command.upgrade(config, f"{from_revision}:head", sql=True)
    parts = [
        r"\set ON_ERROR_STOP on",
        "BEGIN;",
        LOCK + ";",
        render_guard(),
        script_check(from_revision),
        *(script_extension(name, extension_schemas.get(name)) for name in EXTENSIONS),
        render(SQL / "roles.sql", schemas),
        "CREATE SCHEMA IF NOT EXISTS omop_emb;",
        alembic_output.getvalue(),
        sql.SQL(
            "INSERT INTO omop_emb.installation (cdm_schema, created_extensions)"
            " SELECT {}, ARRAY(SELECT extname::text FROM pg_extension"
            " WHERE xmin = pg_current_xact_id()::xid ORDER BY 1)"
            " ON CONFLICT (only_row) DO UPDATE SET cdm_schema = excluded.cdm_schema;"
        )
        .format(sql.Literal(cdm_schema))
        .as_string(None),
        *(render(path, schemas) for path in replaceable_files()),
        "COMMIT;",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def uninstall(dsn: str | None) -> list[str]:
    """Remove everything that migrate made, in one transaction; returns what had to stay and why."""
    warnings: list[str] = []
    with readable_errors(), connect(dsn) as raw:
        require_superuser(raw)
        raw.add_notice_handler(
            lambda notice: warnings.append(notice.message_primary or "") if notice.severity == "WARNING" else None
        )
        raw.execute(LOCK)
        raw.execute((SQL / "uninstall.sql").read_text(encoding="utf-8"))
    return warnings


def alembic_config() -> Config:
    """Return Alembic's configuration of the migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: Connection) -> None:
    """Apply the missing migrations on a connection whose transaction the caller owns."""
    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        raise error.orig or error from None


def run(connection: Connection, statements: str) -> None:
    """Run SQL as it is written: neither percent signs nor colons mean anything."""
    try:
        connection.exec_driver_sql(statements)
    except DBAPIError as error:
        raise error.orig or error from None


def check_server(raw: psycopg.Connection) -> None:
    """Raise OmopEmbError for a server that lacks what the package needs, or a role that may not install it."""
    if raw.info.server_version < MINIMUM_POSTGRES:
        raise OmopEmbError(
            f"the server runs PostgreSQL {raw.info.parameter_status('server_version')}, 15 or newer is needed"
        )
    major = raw.info.server_version // 10000
    packages = {
        "plpython3u": f"postgresql-plpython3-{major}",
        "vector": f"postgresql-{major}-pgvector",
        "pg_trgm": f"postgresql-{major}; elsewhere often postgresql-contrib",
    }
    available: dict[str, str] = dict(
        raw.execute("SELECT name, coalesce(installed_version, default_version) FROM pg_available_extensions").fetchall()
    )
    for name in EXTENSIONS:
        if name not in available:
            raise OmopEmbError(
                f"the server does not have the extension {name}",
                f"Install it on the database server (Debian and Ubuntu: package {packages[name]}).",
            )
    if tuple(int(part) for part in available["vector"].split(".")) < MINIMUM_PGVECTOR:
        raise OmopEmbError(
            f"the database has pgvector {available['vector']}, 0.8.0 or newer is needed",
            "Upgrade the package on the server, then run: ALTER EXTENSION vector UPDATE",
        )
    require_superuser(raw)


def require_superuser(raw: psycopg.Connection) -> None:
    """Raise OmopEmbError unless the connection's role is a superuser."""
    is_superuser = raw.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if is_superuser != (True,):
        raise OmopEmbError(
            f"{raw.info.user!r} is not a superuser, and only a superuser may install functions in plpython3u",
            "Connect as one, or hand the output of omop-emb-admin migrate --sql to your DBA.",
        )


def installed_cdm_schema(raw: psycopg.Connection) -> str | None:
    """Return the vocabulary schema of the installation, None when there is none."""
    if raw.execute("SELECT to_regclass('omop_emb.installation')").fetchone() == (None,):
        return None
    row = raw.execute("SELECT cdm_schema FROM omop_emb.installation").fetchone()
    return str(row[0]) if row else None


def current_revision(raw: psycopg.Connection) -> str | None:
    """Return the schema revision of the installation, None when there is none."""
    if raw.execute("SELECT to_regclass('omop_emb.alembic_version')").fetchone() == (None,):
        return None
    row = raw.execute("SELECT version_num FROM omop_emb.alembic_version").fetchone()
    return str(row[0]) if row else None


def require_schema(raw: psycopg.Connection) -> None:
    """Raise OmopEmbError unless the database has the schema revision that this version of the package works with."""
    found = current_revision(raw)
    wanted = str(ScriptDirectory.from_config(alembic_config()).get_current_head())
    if found is None:
        raise OmopEmbError("omop_emb is not installed in this database", "Run omop-emb-admin migrate first.")
    if found != wanted:
        advice = (
            "Run omop-emb-admin migrate to upgrade the database."
            if found < wanted
            else "Use the version of omop-emb-postgres that upgraded the database, or a later one."
        )
        raise OmopEmbError(
            f"the database has schema revision {found}, omop-emb-postgres {__version__} works with {wanted}", advice
        )


def attach_recreated(dsn: str | None) -> bool:
    """Run ``migrate`` when the vocabulary was dropped and created again and the user is a superuser; says whether."""
    with readable_errors(), connect(dsn) as raw:
        recreated = raw.execute(
            "SELECT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)"
            " AND to_regclass('omop_emb.installation') IS NOT NULL"
        ).fetchone() == (True,) and raw.execute(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN omop_emb.installation i ON i.cdm_schema = n.nspname"
            " WHERE c.relname IN ('concept', 'concept_synonym') AND NOT EXISTS ("
            "SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname LIKE 'omop\\_emb\\_%'))"
        ).fetchone() == (True,)
        if recreated:
            require_schema(raw)
    if recreated:
        migrate(dsn)
    return recreated


def find_cdm_schema(raw: psycopg.Connection, wanted: str | None) -> str:
    """Return the schema with the vocabulary; OmopEmbError unless it has a table ``concept`` with OMOP's columns."""
    rows = raw.execute(
        "SELECT n.nspname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'concept' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND n.nspname <> 'omop_emb' ORDER BY 1"
    ).fetchall()
    kinds: dict[str, str] = dict(rows)
    found = f"Schemas with one: {', '.join(kinds)}." if kinds else "No schema of this database has one."
    if wanted is None:
        if len(kinds) != 1:
            raise OmopEmbError(
                f"{len(kinds) or 'no'} schemas have a table concept: say which holds the OMOP vocabulary",
                f"Use --cdm-schema. {found}",
            )
        wanted = next(iter(kinds))
    check_schema_name(wanted)
    if wanted not in kinds:
        raise OmopEmbError(f"schema {wanted!r} has no table concept", f"Use --cdm-schema. {found}")
    if kinds[wanted] not in ("r", "p"):
        raise OmopEmbError(
            f"{wanted}.concept is not a table, and only a table can have the triggers that keep the index current",
            "Point --cdm-schema at the schema that holds the table itself.",
        )
    columns = raw.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [sql.Identifier(wanted, "concept").as_string(None)],
    ).fetchall()
    missing = {
        "concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_class_id", "concept_code",
        "standard_concept", "invalid_reason",
    } - {name for (name,) in columns}  # fmt: skip
    if missing:
        raise OmopEmbError(f"{wanted}.concept is not an OMOP concept table: it lacks {', '.join(sorted(missing))}")
    return wanted


def create_extension(raw: psycopg.Connection, name: str) -> bool:
    """Create an extension unless the database has it; returns whether it was created."""
    if raw.execute("SELECT 1 FROM pg_extension WHERE extname = %s", [name]).fetchone():
        return False
    schema = sql.SQL("") if name == "plpython3u" else sql.SQL(" SCHEMA public")
    raw.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)) + schema)
    return True


def find_extension_schema(raw: psycopg.Connection, name: str) -> str:
    """Return the schema that an extension is installed in."""
    row = raw.execute(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = %s",
        [name],
    ).fetchone()
    if row is None:
        raise OmopEmbError(f"the extension {name} is not installed in this database")
    check_schema_name(str(row[0]))
    return str(row[0])


def check_schema_name(name: str) -> None:
    """Raise OmopEmbError for a schema whose name cannot stand in a function body."""
    if any(character in name for character in "$%'\\"):
        raise OmopEmbError(f"the schema name {name!r} has a character that function bodies cannot hold: $ % ' or \\")


def render_guard() -> str:
    """Return SQL that stops an installation over objects of that name which are not this package's."""
    return render(SQL / "guard.sql", Schemas("", "", ""))


def drop_triggers(raw: psycopg.Connection) -> None:
    """Take the triggers off the vocabulary tables that the installation was for."""
    rows = raw.execute(
        "SELECT g.tgname, n.nspname, c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT g.tgisinternal"
        " AND g.tgname LIKE 'omop\\_emb\\_%' AND c.relname IN ('concept', 'concept_synonym')"
    ).fetchall()
    for trigger, schema, table in rows:
        raw.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), sql.Identifier(schema, table)))


def script_check(from_revision: str) -> str:
    """Return SQL that stops a script that is not for this database's revision."""
    expected = "NULL" if from_revision == "base" else sql.Literal(from_revision).as_string(None)
    return f"""DO $do$
DECLARE
    revision text;
BEGIN
    IF to_regclass('omop_emb.alembic_version') IS NOT NULL THEN
        SELECT version_num INTO revision FROM omop_emb.alembic_version;
    END IF;
    IF revision IS DISTINCT FROM {expected} THEN
        RAISE EXCEPTION 'this script starts from revision %, the database has %',
            {sql.Literal(from_revision).as_string(None)}, coalesce(revision, 'none')
            USING HINT = 'Print the script again with omop-emb-admin migrate --sql --from-revision.';
    END IF;
END
$do$;"""  # noqa: S608


def script_extension(name: str, schema: str | None) -> str:
    """Return SQL that creates an extension unless it is there."""
    placed = sql.SQL(" SCHEMA {}").format(sql.Identifier(schema)) if schema else sql.SQL("")
    statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)) + placed
    return statement.as_string(None) + ";"
