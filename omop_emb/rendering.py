"""The replaceable SQL: files of ``sql/`` with their placeholders filled in, in the order in which they are applied."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from omop_emb import __version__
from omop_emb.resources import PACKAGE, SQL

PLACEHOLDER = re.compile(r"\{\{ (include )?([^ ]+) \}\}")


@dataclass(frozen=True)
class Schemas:
    """Where the vocabulary and the objects of the extensions vector and pg_trgm are."""

    cdm: str
    vector: str = "public"
    trigram: str = "public"


def quote_identifier(name: str) -> str:
    """Return an SQL identifier, quoted as PostgreSQL does it for a psql script or a dump."""
    return sql.Identifier(name).as_string(None)


def render(path: Path, schemas: Schemas) -> str:
    """Return the text of an SQL file.

    ``{{ cdm }}``, ``{{ vector }}`` and ``{{ trigram }}`` become the quoted schemas of the vocabulary, of pgvector and
    of pg_trgm, ``{{ cdm_name }}`` the name of the first as a string, ``{{ public_functions }}`` the names of the
    functions in schema public, ``{{ version }}`` the version of this package, and ``{{ include omop_emb/... }}`` the
    text of that file of it.
    """
    values = {
        "cdm": quote_identifier(schemas.cdm),
        "cdm_name": sql.Literal(schemas.cdm).as_string(None),
        "vector": quote_identifier(schemas.vector),
        "trigram": quote_identifier(schemas.trigram),
        "public_functions": ", ".join(f"'{name}'" for name in public_functions()),
        "version": __version__,
    }

    def replacement(match: re.Match[str]) -> str:
        if match[1]:
            return (PACKAGE.parent / match[2]).read_text(encoding="utf-8")
        return values[match[2]]

    return PLACEHOLDER.sub(replacement, path.read_text(encoding="utf-8"))


def public_functions() -> list[str]:
    """Return the names of the functions that go into schema public."""
    return sorted(path.stem for path in (SQL / "functions").glob("omop_emb_*.sql"))


def replaceable_files() -> Iterator[Path]:
    """Yield the files that follow the migrations: functions, views, triggers, then who may use them."""
    for folder in ("functions", "views", "triggers"):
        yield from sorted((SQL / folder).glob("*.sql"))
    yield SQL / "privileges.sql"
    yield SQL / "search_functions.sql"
