"""What is looked at in a vocabulary when its files are in the tables, before that counts."""

from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql

from omop_emb.errors import OmopEmbError
from omop_emb.vocabulary import tables
from omop_emb.vocabulary.download import NAMELESS_CPT4, VocabularyFile

# OMOP leaves the ids from here on to the sites.
FIRST_LOCAL_CONCEPT = 2_000_000_000


def local_concepts(connection: psycopg.Connection, schema: str) -> list[int]:
    """Return the ids of the site's own concepts."""
    rows = connection.execute(
        sql.SQL("SELECT concept_id FROM {} WHERE concept_id >= %s").format(sql.Identifier(schema, "concept")),
        [FIRST_LOCAL_CONCEPT],
    )
    return [concept_id for (concept_id,) in rows]


def check_concepts(
    connection: psycopg.Connection, schema: str, file: VocabularyFile, rows: int, local: list[int]
) -> None:
    """Raise OmopEmbError when there are no concepts, one comes twice, or local ones would be lost."""
    if rows == 0:
        raise OmopEmbError(f"{file.name} holds no concepts", "Nothing was changed. Download it again.")
    table = sql.Identifier(schema, "concept")
    twice = connection.execute(
        sql.SQL("SELECT concept_id FROM {} GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1").format(table)
    ).fetchone()
    if twice:
        raise OmopEmbError(
            f"{file.name} has concept_id {twice[0]} more than once", "Nothing was changed. Download it again."
        )
    lost = connection.execute(
        sql.SQL("SELECT unnest(%s::bigint[]) EXCEPT SELECT concept_id FROM {} ORDER BY 1").format(table),
        [local],
    ).fetchall()
    if lost:
        raise OmopEmbError(
            f"local concepts (ids from {FIRST_LOCAL_CONCEPT} on) of {schema}.concept that are not in the download and"
            f" would be lost: {len(lost)}, such as {lost[0][0]}",
            "Save them and what refers to them, load with --drop-local-concepts, and put them back. Nothing was"
            " changed.",
        )


def left_as_they_were(
    connection: psycopg.Connection, schema: str, loaded: Mapping[str, VocabularyFile]
) -> Iterator[str]:
    """Yield a warning for tables of a vocabulary that the download has no file for."""
    missing = tables.missing_tables(connection, schema)
    for table in tables.TABLES:
        if table in loaded or table in missing or table == "source_to_concept_map":
            continue
        if tables.holds_rows(connection, schema, table):
            yield f"{schema}.{table} keeps its old rows: the download has no {table.upper()}.csv"


def nameless(connection: psycopg.Connection, schema: str, files: Mapping[str, VocabularyFile]) -> Iterator[str]:
    """Yield a warning per vocabulary whose concepts have empty names, and one for CPT4 concepts that are missing."""
    concept = sql.Identifier(schema, "concept")
    advice = "run cpt4.jar of the download, as its readme says, and load again"
    rows = connection.execute(
        sql.SQL(
            "SELECT vocabulary_id, count(*) FROM {} WHERE coalesce(concept_name, '') !~ '\\S' GROUP BY 1 ORDER BY 1"
        ).format(concept)
    ).fetchall()
    for vocabulary, count in rows:
        more = f"; {advice}" if vocabulary == "CPT4" else ""
        yield f"concepts of {vocabulary} without a name: {count}{more}"
    if NAMELESS_CPT4 in files:
        listed = sum(block.count(b"\n") for block in files[NAMELESS_CPT4].blocks()) - 1
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE vocabulary_id = 'CPT4'").format(concept)
        ).fetchone()
        there = row[0] if row else 0
        if there < listed:
            yield (
                f"concepts of CPT4 in {files[NAMELESS_CPT4].name}: {listed}, in {files['concept'].name}: {there};"
                f" {advice}"
            )
