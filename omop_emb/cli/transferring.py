"""The commands that take vectors to another database."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from omop_emb import transfer
from omop_emb.cli.options import as_json, config_option
from omop_emb.cli.progress import step_bars
from omop_emb.database import connect

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.command("export")
@file_argument
@config_option
@as_json
@click.pass_obj
def export(dsn: str | None, file: Path, config: str | None, as_json: bool) -> None:
    """Write vectors to FILE (Parquet) for another database.

    The file holds vectors, hashes of the texts they belong to and the settings that made them, but no texts.
    """
    with connect(dsn) as connection, step_bars("vectors", disable=as_json) as show:
        done = transfer.export_vectors(connection, file, config, show)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(
            f"{done.vectors} vectors of configuration {done.config!r} exported to {done.file} ({done.bytes} bytes,"
            f" content SHA-256 {done.sha256})"
        )


@click.command("import")
@file_argument
@config_option
@as_json
@click.pass_obj
def import_(dsn: str | None, file: Path, config: str | None, as_json: bool) -> None:
    """Add the vectors of FILE, written by export.

    All or nothing: the file must be whole, and its settings those of the configuration.
    """
    console = Console(stderr=True)
    with connect(dsn, autocommit=True) as connection, step_bars("vectors", disable=as_json) as show:
        connection.add_notice_handler(lambda notice: console.print(f"{notice.severity}: {notice.message_primary}"))
        done = transfer.import_vectors(connection, file, config, show)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(
        f"configuration {done.config!r}: {done.added} vectors added, {done.known} known already, {done.unused} of texts"
        f" that are not in this vocabulary; {done.pending} texts remain to be embedded"
    )
