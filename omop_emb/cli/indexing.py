"""The commands that bring the index up to date."""

import json
from dataclasses import asdict

import click
from rich.console import Console

from omop_emb import indexing
from omop_emb.cli.options import as_json, config_option
from omop_emb.cli.progress import step_bars
from omop_emb.database import connect

concurrency = click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=indexing.CONCURRENCY,
    show_default=True,
    help="Requests under way at a time.",
)


@click.command()
@config_option
@concurrency
@click.option("--retry-failed", is_flag=True, help="Also try texts at once that the endpoint rejected before.")
@as_json
@click.pass_obj
def index(dsn: str | None, config: str | None, concurrency: int, retry_failed: bool, as_json: bool) -> None:
    """Bring the index up to date with the vocabulary.

    Several of these, and workers, may run at the same time, on one machine or several: they share the work.
    """
    console = Console(stderr=True)
    with connect(dsn, autocommit=True) as connection, step_bars("texts", disable=as_json) as show:
        connection.add_notice_handler(lambda notice: console.print(f"{notice.severity}: {notice.message_primary}"))
        done = indexing.index(
            connection,
            config,
            show,
            concurrency=concurrency,
            retry_failed=retry_failed,
            warn=lambda message: console.print(f"warning: {message}", markup=False),
        )
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(
            f"{done.embedded} texts embedded, {done.reused} terms reused a vector, {done.removed} vectors removed,"
            f" {done.failed} failed, {done.remaining} remaining"
        )
    if done.failed or done.remaining:
        raise click.exceptions.Exit(1)
