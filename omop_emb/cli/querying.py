"""The commands that index, search and show the state."""

import functools
import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from omop_emb import indexing, searching
from omop_emb.cli.progress import step_bars
from omop_emb.database import connect

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
config_option = click.option("--config", help="Configuration; default: the active one.")


@click.command()
@config_option
@as_json
@click.pass_obj
def index(dsn: str | None, config: str | None, as_json: bool) -> None:
    """Bring the index up to date with the vocabulary."""
    console = Console(stderr=True)
    with connect(dsn, autocommit=True) as connection, step_bars("texts", disable=as_json) as show:
        connection.add_notice_handler(lambda notice: console.print(f"{notice.severity}: {notice.message_primary}"))
        done = indexing.index(connection, config, functools.partial(show, "embedding"))
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(
            f"{done.embedded} texts embedded, {done.reused} terms reused a vector, {done.removed} vectors removed,"
            f" {done.failed} failed, {done.remaining} remaining"
        )
    if done.failed or done.remaining:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("query")
@click.option("-k", type=int, default=10, show_default=True, help="Concepts to return.")
@click.option("--domain", "domains", multiple=True)
@click.option("--vocabulary", "vocabularies", multiple=True)
@click.option("--concept-class", "concept_classes", multiple=True)
@click.option("--standard-only", is_flag=True)
@click.option("--include-invalid", is_flag=True)
@click.option("--ancestor", "ancestor_concept_id", type=int, help="Only this concept and its descendants.")
@config_option
@as_json
@click.pass_obj
def search(
    dsn: str | None,
    query: str,
    k: int,
    domains: tuple[str, ...],
    vocabularies: tuple[str, ...],
    concept_classes: tuple[str, ...],
    standard_only: bool,
    include_invalid: bool,
    ancestor_concept_id: int | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Show the concepts nearest in meaning to QUERY."""
    with connect(dsn) as connection:
        rows = searching.search(
            connection,
            query,
            k=k,
            domains=list(domains) or None,
            vocabularies=list(vocabularies) or None,
            concept_classes=list(concept_classes) or None,
            standard_only=standard_only,
            include_invalid=include_invalid,
            ancestor_concept_id=ancestor_concept_id,
            config=config,
        )
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table()
    for name in ("rank", "concept_id", "concept_name", "domain", "vocabulary", "std", "similarity", "matched text"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            str(row["rank"]),
            str(row["concept_id"]),
            row["concept_name"],
            row["domain_id"],
            row["vocabulary_id"],
            row["standard_concept"],
            f"{row['similarity']:.3f}",
            row["matched_text"],
        )
    Console().print(table)


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
