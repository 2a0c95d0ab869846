"""The command group: options that all commands share, and how errors are shown."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click

from omop_emb import __version__
from omop_emb.cli import (
    activating,
    configuring,
    diagnosing,
    evaluating,
    indexing,
    installing,
    loading,
    local,
    mapping,
    querying,
    transferring,
)
from omop_emb.errors import OmopEmbError


class Terminated(KeyboardInterrupt):
    """A signal came that ends the program; psycopg cancels the statement it waits for, as it does on Ctrl-C only."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def leaving_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, so that nothing half-written stays."""

    def leave(number: int, _: FrameType | None) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class AdminGroup(click.Group):
    """Shows an OmopEmbError as one line on stderr, with its hint below, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            if sys.stdout is None:
                raise OmopEmbError("standard output is closed", "Send it to a file, or to /dev/null.")
            with leaving_in_order():
                result = super().invoke(ctx)
                sys.stdout.flush()
                return result
        except Terminated as terminated:
            sys.exit(128 + terminated.number)
        except BrokenPipeError:
            raise
        except OSError as error:
            click.echo(f"error: {error.filename or 'output'}: {error.strerror or error}", err=True)
            # Else the interpreter tries to write it once more when it ends.
            with suppress(OSError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            sys.exit(1)
        except OmopEmbError as error:
            click.echo(f"error: {error.message}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            sys.exit(1)


@click.group(cls=AdminGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="omop-emb-admin")
@click.option(
    "--dsn", envvar="OMOP_EMB_DSN", show_envvar=True, help="Connection string or URL; default: PG* variables."
)
@click.pass_context
def main(ctx: click.Context, dsn: str | None) -> None:
    """Semantic search over OMOP concepts inside PostgreSQL."""
    ctx.obj = dsn


for command in (
    loading.load_vocabulary_,
    installing.migrate,
    configuring.configure,
    activating.activate,
    activating.rollback,
    activating.drop,
    indexing.index,
    indexing.worker,
    querying.search,
    mapping.map_,
    querying.status,
    diagnosing.doctor,
    evaluating.evaluate,
    transferring.export,
    transferring.import_,
    local.embedder,
    local.demo,
    installing.uninstall,
):
    main.add_command(command)
