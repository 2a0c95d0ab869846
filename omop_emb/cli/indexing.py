"""The commands that bring the index up to date."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.console import Console

from omop_emb import indexing
from omop_emb.cli.options import as_json, config_option
from omop_emb.cli.progress import step_bars
from omop_emb.database import connect
from omop_emb.install import attach_recreated
from omop_emb.progress import Show

SECONDS_PER_LINE = 5.0

concurrency = click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=indexing.CONCURRENCY,
    show_default=True,
    help="Requests under way at a time.",
)
api_base = click.option(
    "--api-base", help="Address of the endpoint as seen from here, where it differs from that in the configuration."
)


@click.command()
@config_option
@concurrency
@api_base
@click.option("--retry-failed", is_flag=True, help="Also try texts at once that the endpoint rejected before.")
@as_json
@click.pass_obj
def index(
    dsn: str | None, config: str | None, concurrency: int, api_base: str | None, retry_failed: bool, as_json: bool
) -> None:
    """Bring the index up to date with the vocabulary.

    Several of these, and workers, may run at the same time, on one machine or several: they share the work. The
    endpoint is asked from here, not from the database server.
    """
    console = Console(stderr=True)
    if attach_recreated(dsn):
        console.print("the vocabulary tables were created again: their triggers and privileges are back", markup=False)
    shown = json_lines() if as_json else step_bars("texts")
    with connect(dsn, autocommit=True) as connection, shown as show:
        connection.add_notice_handler(
            lambda notice: console.print(f"{notice.severity}: {notice.message_primary}", markup=False, soft_wrap=True)
        )
        done = indexing.index(
            connection,
            config,
            show,
            concurrency=concurrency,
            retry_failed=retry_failed,
            api_base=api_base,
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


@contextmanager
def json_lines() -> Iterator[Show]:
    """Print a line of JSON per step every few seconds."""
    said: dict[str, float] = {}

    def show(step: str, done: int, total: int | None, note: str = "") -> None:
        now = time.monotonic()
        if now - said.setdefault(step, now) >= SECONDS_PER_LINE:
            said[step] = now
            click.echo(json.dumps({"step": step, "done": done, "total": total, "note": note}))

    yield show


@click.command()
@click.option("--config", "configs", multiple=True, help="Configuration, repeatable; default: all.")
@concurrency
@api_base
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
    api_base: str | None,
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

    options = indexing.WorkerOptions(configs, api_base, concurrency, lease_seconds, poll_seconds, compare_seconds)
    indexing.Worker(dsn, options, log).run()
