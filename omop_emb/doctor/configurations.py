"""Checks of the configurations and of what they have indexed."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from omop_emb.doctor.finding import Finding
from omop_emb.model_names import FAMILIES, moving_name_problem
from omop_emb.server.model_families import find_family, prefix_warnings

LONGEST_WAIT = timedelta(days=1)


def read_configurations(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Return the rows of ``omop_emb.config``, the active one first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM omop_emb.config ORDER BY is_active DESC, name").fetchall()


def check_configurations(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look at the settings."""
    rows = read_configurations(connection)
    if not rows:
        yield Finding(
            "problem", "configurations", "there is no configuration", "Add one with omop-emb-admin configure."
        )
    elif not rows[0]["is_active"]:
        yield Finding(
            "problem",
            "configurations",
            "no configuration is active, so a search that names none fails",
            f"Run omop-emb-admin activate with one of: {', '.join(row['name'] for row in rows)}.",
        )
    for row in rows:
        yield from check_settings(row)


def check_settings(row: dict[str, Any]) -> Iterator[Finding]:
    """Look at the settings of one configuration."""
    name, model = row["name"], row["model"]
    family = find_family(model, FAMILIES)
    yield Finding(
        "ok",
        "settings",
        f"{'active' if row['is_active'] else 'not active'}, model {model!r} ("
        f"{'family ' + family['name'] if family else 'of no known family'}) at {row['api_base']},"
        f" {row['dimensions']} dimensions, {row['distance']}, stored as {row['storage']};"
        f" document {role_settings(row, 'document')}, query {role_settings(row, 'query')}",
        config=name,
    )
    if problem := moving_name_problem(model, row["api_base"]):
        yield Finding("warning", "model", problem, config=name)
    for warning in prefix_warnings(row, FAMILIES):
        yield Finding(
            "warning",
            "prefixes",
            warning,
            "Change a query prefix with omop-emb-admin configure; for documents, add a configuration beside this one.",
            name,
        )


def role_settings(row: dict[str, Any], role: str) -> str:
    """Return what is done with texts in a role."""
    params = row[role + "_params"]
    return f"prefix {row[role + '_prefix']!r}" + (f" and parameters {params}" if params else "")


def check_index(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look at what is indexed, per configuration."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute("SELECT * FROM omop_emb.status ORDER BY is_active DESC, name").fetchall()
    for row in rows:
        yield from check_status(row)


def check_status(row: dict[str, Any]) -> Iterator[Finding]:
    """Look at a row of ``omop_emb.status``."""
    name = row["name"]
    run_index = f"Run omop-emb-admin index --config {shlex.quote(name)}."
    yield Finding(
        "ok",
        "index",
        f"{row['indexed']} of {row['concepts_in_scope']} concepts indexed; {row['matching_vectors']} vectors in use,"
        f" {row['orphaned_vectors']} orphaned (kept in case their texts come back)",
        config=name,
    )
    if not row["concepts_in_scope"]:
        yield Finding(
            "warning",
            "index",
            "no concept of the vocabulary is in the scope of this configuration",
            "Load the vocabulary, or look at standard_only, domains, vocabularies and concept_classes.",
            name,
        )
    if row["stale_vectors"]:
        yield Finding(
            "problem",
            "index",
            f"{row['stale_vectors']} vectors were made under other settings than the configuration has: search refuses"
            " them with OE001",
            f"Put the settings back, or run omop-emb-admin configure {shlex.quote(name)} --discard-vectors, then"
            " index.",
            name,
        )
    if row["pending"]:
        yield Finding("warning", "index", f"{row['pending']} concepts have texts that are not indexed", run_index, name)
    if row["stale"]:
        yield Finding(
            "warning",
            "index",
            f"{row['stale']} concepts are found by what the vocabulary no longer says",
            run_index,
            name,
        )
    if row["failed"]:
        yield Finding(
            "warning",
            "index",
            f"{row['failed']} concepts have texts that the endpoint rejected, last: {row['last_error']}",
            "See omop_emb.failures; index tries them again.",
            name,
        )
    if row["matching_vectors"] and not row["index_valid"]:
        yield Finding(
            "warning" if row["pending"] else "problem",
            "index",
            "there is no valid HNSW index, so every search reads all vectors",
            f"{run_index} It builds the index when nothing is pending.",
            name,
        )


def check_queue(connection: psycopg.Connection) -> Iterator[Finding]:
    """Look how long changes of the vocabulary have waited."""
    jobs, oldest = connection.execute("SELECT count(*), min(queued_at) FROM omop_emb.queue").fetchone() or (0, None)
    if oldest is None:
        yield Finding("ok", "queue", "no changes wait")
        return
    waited = datetime.now(UTC) - oldest
    message = f"{jobs} changes of the vocabulary wait to be indexed, the oldest since {oldest:%Y-%m-%d %H:%M %Z}"
    if waited > LONGEST_WAIT:
        yield Finding("warning", "queue", message, "Run omop-emb-admin worker as a service, or index regularly.")
    else:
        yield Finding("ok", "queue", message)
