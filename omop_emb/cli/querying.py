"""The commands that search and show the state."""

import json
from typing import Any

import click
import psycopg
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from omop_emb import searching
from omop_emb.cli.options import as_json, search_arguments, search_options
from omop_emb.database import connect

LONGEST_CELL = 200


@click.command()
@click.argument("query")
@click.option("-k", type=int, default=10, show_default=True, help="Concepts to return.")
@search_options
@as_json
@click.pass_obj
def search(dsn: str | None, /, query: str, k: int, as_json: bool, **options: Any) -> None:
    """Show the concepts that QUERY means, nearest first."""
    with connect(dsn) as connection:
        connection.add_notice_handler(_say_warning)
        rows = searching.search(connection, query, k=k, **search_arguments(options))
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        click.echo("nothing found")
        return
    Console().print(_result_table(rows))


def _result_table(rows: list[dict[str, Any]]) -> Table:
    """Return one row per concept; what else than its name matched is said below the name."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("rank", "concept_id", "concept", "domain", "vocabulary", "std", "sim."):
        is_number = name in ("rank", "concept_id", "sim.")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in rows:
        concept = Text(_shortened(row["concept_name"] or ""))
        if row["matched_kind"] != "name":
            concept.append(f"\n{row['matched_kind']}: {_shortened(row['matched_text'])}", style="dim")
        table.add_row(
            str(row["rank"]),
            str(row["concept_id"]),
            concept,
            Text(row["domain_id"] or ""),
            Text(row["vocabulary_id"] or ""),
            row["standard_concept"],
            f"{row['similarity']:.3f}",
        )
    return table


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def _say_warning(notice: psycopg.errors.Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        click.echo(f"warning: {notice.message_primary}", err=True)


@click.command()
@as_json
@click.pass_obj
def status(dsn: str | None, as_json: bool) -> None:
    """Show, per configuration, what is indexed and what is pending, stale or failed."""
    with connect(dsn) as connection:
        rows = searching.status(connection)
    if as_json:
        click.echo(json.dumps(rows, default=str))
        return
    if not rows:
        click.echo("no configuration yet; add one with omop-emb-admin configure")
        return
    for row in rows:
        table = Table("setting", "value", title=f"configuration {row.pop('name')}", title_justify="left")
        for key, value in row.items():
            shown = (
                {True: "yes", False: "no", None: "-"}.get(value, str(value))
                if isinstance(value, bool | None)
                else value
            )
            table.add_row(key.replace("_", " "), str(shown))
        Console().print(table)
