"""The command that maps source codes."""

import functools
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import click

from omop_emb.cli.options import search_arguments, search_options
from omop_emb.cli.progress import step_bars
from omop_emb.database import connect
from omop_emb.files import replacing
from omop_emb.mapping import OUTPUTS, map_file
from omop_emb.mapping.source import Columns
from omop_emb.mapping.source_to_concept_map import LONGEST_VOCABULARY

NOTES_SHOWN = 20


@click.command("map")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--output", type=click.Choice(OUTPUTS), required=True, help="What to write.")
@click.option("--file", type=click.Path(path_type=Path), help="Where to write it; default: standard output.")
@click.option("--source-vocabulary-id", help="Name of your vocabulary, for source-to-concept-map.")
@click.option("--code-column", help="Header of the codes; default: source_code, code or concept_code.")
@click.option("--name-column", help="Header of the names; default: source_name, name, description or concept_name.")
@click.option("--frequency-column", help="Header of the frequencies; default: source_frequency, frequency or count.")
@search_options
@click.pass_obj
def map_(
    dsn: str | None,
    /,
    source: Path,
    output: str,
    file: Path | None,
    source_vocabulary_id: str | None,
    code_column: str | None,
    name_column: str | None,
    frequency_column: str | None,
    **options: Any,
) -> None:
    """Map the codes of SOURCE to standard concepts by their names.

    SOURCE is a CSV file in UTF-8 with a code and a name per line. For each name the nearest concept is found, and the
    standard concepts that it maps to are written for Usagi or for the table source_to_concept_map.
    """
    needs_vocabulary = output == "source-to-concept-map"
    if needs_vocabulary != (source_vocabulary_id is not None):
        raise click.UsageError("--source-vocabulary-id goes with --output source-to-concept-map, and only with it")
    if source_vocabulary_id is not None and not 0 < len(source_vocabulary_id.strip()) <= LONGEST_VOCABULARY:
        raise click.UsageError(f"--source-vocabulary-id must have 1 to {LONGEST_VOCABULARY} characters")
    if file is not None and file.resolve() == source.resolve():
        raise click.UsageError("--file must not be SOURCE")
    with ExitStack() as stack:
        connection = stack.enter_context(connect(dsn, autocommit=True))
        out: BinaryIO = stack.enter_context(replacing(file)) if file else sys.stdout.buffer
        show = stack.enter_context(step_bars("names"))
        done = map_file(
            connection,
            source,
            out,
            source_vocabulary_id=source_vocabulary_id,
            columns=Columns(code_column, name_column, frequency_column),
            arguments=search_arguments(options),
            progress=functools.partial(show, "mapping"),
        )
    for kind, messages in (("warning", done.warnings), ("note", done.notes)):
        for message in messages[:NOTES_SHOWN]:
            click.echo(f"{kind}: {message}", err=True)
        if len(messages) > NOTES_SHOWN:
            click.echo(f"{kind}: and {len(messages) - NOTES_SHOWN} more", err=True)
    click.echo(
        f"{done.codes} source codes in {done.rows} rows: {done.mapped} mapped, {done.without_standard} found without a"
        f" standard concept, {done.nothing_found} nothing found; {done.left_out} lines left out",
        err=True,
    )
    if done.left_out:
        raise click.exceptions.Exit(1)
