"""The commands that bring the index up to date."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

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
        connection.add_notice_handler(
            lambda notice: console.print(f"{notice.severity}: {notice.message_primary}", markup=False, soft_wrap=True)
        )
        done = indexing.index(
            connection,
            config,
            show,
            concurrency=concurrency,
            retry_failed=retry_failed,
            warn=lambda message: console.print(f"warning: {message}", markup=False, soft_wrap=True),
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


@click.command()
@click.option("--config", "configs", multiple=True, help="Configuration, repeatable; default: all.")
@concurrency
@click.option(
    "--lease", "lease_seconds", type=click.FloatRange(min=1), default=indexing.LEASE_SECONDS, show_default=True,
    help="Seconds after which others may take over what this worker has, should it die.",
)  # fmt: skip
@click.option(
    "--poll", "poll_seconds", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
    help="Look for work at least every so many seconds, notified or not.",
)  # fmt: skip
@click.option(
    "--compare", "compare_seconds", type=click.FloatRange(min=1), default=3600.0, show_default=True,
    help="Compare the index with the whole vocabulary every so many seconds.",
)  # fmt: skip
@as_json
@click.pass_obj
def worker(
    dsn: str | None,
    configs: tuple[str, ...],
    concurrency: int,
    lease_seconds: float,
    poll_seconds: float,
    compare_seconds: float,
    as_json: bool,
) -> None:
    """Keep the index up to date for ever; ends on SIGTERM or Ctrl-C, with everything that is embedded stored.

    It is woken by changes of the vocabulary and survives restarts of the database and of the endpoints. As many as
    wanted may run, on one machine or several. Prints a line per event.
    """

    def log(event: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if as_json:
            click.echo(json.dumps({"time": now, "event": event, **fields}, ensure_ascii=False))
        else:
            shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
            click.echo(f"{now} {event}" + (f": {shown}" if shown else ""))

    options = indexing.WorkerOptions(configs, concurrency, lease_seconds, poll_seconds, compare_seconds)
    indexing.Worker(dsn, options, log).run()
