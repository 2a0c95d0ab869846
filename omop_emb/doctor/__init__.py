"""What is wrong with a database: its server, the installation, the configurations, their endpoints."""

from collections.abc import Iterable, Iterator

import psycopg

from omop_emb.doctor.configurations import check_configurations, check_index, check_queue, read_configurations
from omop_emb.doctor.endpoint import check_endpoint
from omop_emb.doctor.finding import Finding
from omop_emb.doctor.installation import (
    check_extensions,
    check_privileges,
    check_revision,
    check_roles,
    check_server,
    check_triggers,
    check_vocabulary,
)
from omop_emb.errors import OmopEmbError

__all__ = ["Finding", "diagnose"]

PUT_RIGHT = "Run omop-emb-admin migrate: it puts functions, views and privileges in order."
CHECKS = (
    check_server,
    check_extensions,
    check_revision,
    check_vocabulary,
    check_triggers,
    check_roles,
    check_privileges,
    check_configurations,
    check_index,
    check_queue,
)


def diagnose(connection: psycopg.Connection, *, endpoint: bool = True) -> Iterator[Finding]:
    """Yield what there is to say, check by check; a check that fails is a problem of its own and hides no other.

    ``connection`` must be in autocommit mode and belong to a member of omop_emb_admin; OmopEmbError otherwise, and
    where the package is not installed. ``endpoint`` says whether the endpoints are asked.
    """
    require_admin(connection)
    for check in CHECKS:
        yield from guarded(check.__name__.removeprefix("check_"), None, check(connection))
    if not endpoint:
        return
    try:
        rows = read_configurations(connection)
    except psycopg.Error:
        # check_configurations failed too, and said so.
        return
    for row in rows:
        yield from guarded("endpoint", row["name"], check_endpoint(connection, row))


def guarded(check: str, config: str | None, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings of a check, and an error that ends it as one more."""
    try:
        yield from findings
    except psycopg.Error as error:
        message = error.diag.message_primary or " ".join(str(error).split())
        yield Finding("problem", check, message, error.diag.message_hint or PUT_RIGHT, config)


def require_admin(connection: psycopg.Connection) -> None:
    """Raise OmopEmbError unless the package is installed and the connection may look at all of it."""
    row = connection.execute(
        "SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'omop_emb' AND c.relname = 'config'"
    ).fetchone()
    if row is None:
        raise OmopEmbError("omop_emb is not installed in this database", "Run omop-emb-admin migrate first.")
    if row != (True,):
        raise OmopEmbError(
            f"{connection.info.user!r} may not look at the configurations of omop_emb",
            "Connect as a member of omop_emb_admin.",
        )
