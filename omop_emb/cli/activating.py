"""The commands that choose which configuration search uses."""

import sys
from pathlib import Path

import click

from omop_emb import activation
from omop_emb.cli.progress import step_bars
from omop_emb.database import connect


@click.command()
@click.argument("name")
@click.option("--if-not-worse-than", "reference", help="Evaluate both first; refuse when NAME is worse than this one.")
@click.option("--pairs", type=click.Path(path_type=Path), help="The gold pairs for it, see evaluate.")
@click.option("--skip-unknown", is_flag=True, help="Compare without pairs whose concepts are not in the index.")
@click.option("--incomplete", is_flag=True, help="Even if texts in its scope have no vector yet.")
@click.pass_obj
def activate(
    dsn: str | None, name: str, reference: str | None, pairs: Path | None, skip_unknown: bool, incomplete: bool
) -> None:
    """Let search use the configuration NAME from now on, in one short transaction.

    With --if-not-worse-than the MRR of both is measured on the same pairs, and the cutover is refused when the 95 %
    interval of the difference lies below zero.
    """
    if (reference is None) != (pairs is None):
        raise click.UsageError("--if-not-worse-than and --pairs belong together")
    with connect(dsn, autocommit=True) as connection:
        if reference is not None and pairs is not None:
            with step_bars("texts") as bars:
                comparison = activation.require_not_worse(
                    connection, name, reference, pairs, skip_unknown=skip_unknown, progress=bars
                )
            click.echo(f"{name!r} against {reference!r}: {activation.difference_in_words(comparison)}")
        formerly = activation.activate(connection, name, incomplete=incomplete)
    if formerly == name:
        click.echo(f"configuration {name!r} was active already")
    else:
        click.echo(f"configuration {name!r} is active" + (f", {formerly!r} was before" if formerly else ""))


@click.command()
@click.pass_obj
def rollback(dsn: str | None) -> None:
    """Let search use the configuration that it used before the present one."""
    with connect(dsn) as connection:
        connection.add_notice_handler(lambda notice: click.echo(f"warning: {notice.message_primary}", err=True))
        name = activation.rollback(connection)
    click.echo(f"configuration {name!r} is active again")


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def drop(dsn: str | None, name: str, yes: bool) -> None:
    """Remove the configuration NAME with its vectors and index."""
    with connect(dsn) as connection:
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("nobody can be asked here: use --yes")
            click.confirm(f"This removes configuration {name!r} and every vector it has. Continue?", abort=True)
        was_active = activation.drop(connection, name)
    click.echo(f"configuration {name!r} removed" + ("; search has none now" if was_active else ""))
