"""Connections: where they go and what is said when they fail."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import DBAPIError

from omop_emb.errors import OmopEmbError


def connect(dsn: str | None, *, autocommit: bool = False) -> psycopg.Connection:
    """Return a connection to ``dsn`` (a libpq connection string or URL); without one the PG* variables decide."""
    try:
        conninfo_to_dict(dsn or "")
    except psycopg.ProgrammingError as error:
        # Then libpq repeats what it stumbled over, which is most often a part of the password.
        if "percent-encoded" in str(error):
            raise OmopEmbError(
                "the connection URL cannot be read: after a % must come two hexadecimal digits",
                "Write special characters of the password as %XX, a percent sign as %25.",
            ) from None
    try:
        return psycopg.connect(dsn or "", autocommit=autocommit, application_name="omop_emb")
    except psycopg.Error as error:
        raise OmopEmbError(
            f"cannot connect to PostgreSQL: {' '.join(str(error).split())}",
            "Give --dsn, or set OMOP_EMB_DSN or the PGHOST, PGPORT, PGUSER and PGDATABASE variables.",
        ) from error


def another(connection: psycopg.Connection) -> psycopg.Connection:
    """Return one more connection like this one, in autocommit mode."""
    info = connection.info
    return psycopg.connect(info.dsn, password=info.password or None, autocommit=True)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn an error of the database into one line and its hint."""
    try:
        yield
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.InvalidSchemaName,
    ) as error:
        message = str(error.diag.message_primary)
        if "omop_emb" not in message:
            raise OmopEmbError(message, error.diag.message_hint) from error
        if re.search(r"omop_emb\.(embedding|nearest|further|hybrid)_\d", message):
            raise OmopEmbError(
                "the configuration was deleted meanwhile", "omop-emb-admin status lists those that are there.", "OE002"
            ) from error
        if "function omop_emb." in message:
            raise OmopEmbError(
                "this database has another version of omop_emb", "Run omop-emb-admin migrate first."
            ) from error
        raise OmopEmbError("omop_emb is not installed in this database", "Run omop-emb-admin migrate first.") from error
    except psycopg.Error as error:
        message = error.diag.message_primary or " ".join(str(error).split())
        if error.diag.sqlstate == "42501":
            raise OmopEmbError(
                message, "Connect as a member of omop_emb_admin, or of omop_emb_reader to search.", "42501"
            ) from error
        raise OmopEmbError(message, error.diag.message_hint, error.diag.sqlstate) from error
    except UnicodeEncodeError:
        raise OmopEmbError("an argument is not valid text: it cannot be encoded as UTF-8") from None


@contextmanager
def heard_warnings(connection: psycopg.Connection) -> Iterator[list[str]]:
    """Give a list that gets the message of each WARNING as it comes."""
    messages: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            messages.append(str(notice.message_primary))

    connection.add_notice_handler(hear)
    try:
        yield messages
    finally:
        connection.remove_notice_handler(hear)


@contextmanager
def session_errors() -> Iterator[None]:
    """Do the same for an error that comes through SQLAlchemy."""
    with readable_errors():
        try:
            yield
        except DBAPIError as error:
            raise error.orig or error from None
