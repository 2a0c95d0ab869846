"""The command that loads a vocabulary."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from omop_emb.cli.options import as_json
from omop_emb.cli.progress import step_bars
from omop_emb.database import connect
from omop_emb.vocabulary import load_vocabulary


@click.command("load-vocabulary")
@click.argument("download", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--cdm-schema", help="Schema to load into; default: the installed one, else the only one, else cdm.")
@click.option("--replace", is_flag=True, help="Empty the tables first that DIR has files for.")
@click.option("--drop-local-concepts", is_flag=True, help="With --replace: also concepts with ids from 2000000000 on.")
@as_json
@click.pass_obj
def load_vocabulary_(
    dsn: str | None,
    download: Path,
    cdm_schema: str | None,
    replace: bool,
    drop_local_concepts: bool,
    as_json: bool,
) -> None:
    """Load the OMOP vocabulary from DIR, a download from Athena or its zip file.

    All or nothing, in one transaction. Tables that are missing are created. Needs no superuser, only rights on the
    tables.
    """
    with connect(dsn) as connection, step_bars("MB", disable=as_json) as show:
        done = load_vocabulary(
            connection,
            download,
            cdm_schema,
            replace=replace,
            drop_local_concepts=drop_local_concepts,
            progress=show,
        )
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    for table, rows in done.rows.items():
        click.echo(f"{rows:>13,} rows in {done.cdm_schema}.{table}")
    click.echo(f"next: {done.next_command}")
