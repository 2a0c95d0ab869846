"""The command that measures retrieval quality."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from omop_emb.cli.progress import step_bars
from omop_emb.database import connect
from omop_emb.evaluation import Evaluation, Options, page, read_icd10cm, read_pairs, report, terminal
from omop_emb.evaluation import evaluate as run
from omop_emb.evaluation.result import MODES
from omop_emb.files import replacing, writing_errors


@click.command()
@click.argument("pairs", required=False, type=click.Path(path_type=Path))
@click.option("--builtin", type=click.Choice(["icd10cm"]), help="A built-in set instead of a file of pairs.")
@click.option("--config", "configs", multiple=True, help="Configuration, repeatable; default: the active one.")
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice(MODES), help="Way to rank, repeatable; default: both, compared."
)
@click.option("--vocabulary", "vocabularies", multiple=True, help="Search only this vocabulary; repeatable.")
@click.option("--domain", "domains", multiple=True, help="Search only this domain; repeatable.")
@click.option("--standard-only", is_flag=True, help="Search standard concepts only.")
@click.option("--queries", type=click.IntRange(1), default=500, show_default=True, help="Queries to draw, at most.")
@click.option(
    "--concepts", type=click.IntRange(0), default=4000, show_default=True, help="Others to rank beside the wanted ones."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Decides what is drawn.")
@click.option("--controls/--no-controls", default=True, help="Also measure the wrong roles.")
@click.option("--skip-unknown", is_flag=True, help="Go on without concepts that are not in the index.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, allow_dash=True), help="Write JSON; - is stdout.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write one self-contained page.")
@click.pass_obj
def evaluate(
    dsn: str | None,
    pairs: Path | None,
    builtin: str | None,
    configs: tuple[str, ...],
    modes: tuple[str, ...],
    vocabularies: tuple[str, ...],
    domains: tuple[str, ...],
    standard_only: bool,
    queries: int,
    concepts: int,
    seed: int,
    controls: bool,
    skip_unknown: bool,
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """Measure how well searches find the concepts of PAIRS, and what the prefixes are worth.

    PAIRS is a CSV file in UTF-8 with the columns query and concept_id. A query on several lines is found with any of
    its concepts.
    """
    if (pairs is None) == (builtin is None):
        raise click.UsageError("give either PAIRS or --builtin")
    if builtin and (modes or vocabularies or domains or standard_only or skip_unknown):
        raise click.UsageError("--mode, --vocabulary, --domain, --standard-only and --skip-unknown need PAIRS")
    files = [path for path in (pairs, json_path, html_path) if path is not None]
    if len({path.resolve() for path in files}) < len(files):
        raise click.UsageError("PAIRS, --json and --html must be different files")
    options = Options(
        queries,
        concepts,
        seed,
        list(domains) or None,
        list(vocabularies) or None,
        standard_only,
        controls,
        skip_unknown,
        tuple(dict.fromkeys(modes)) or MODES,
    )
    if html_path is not None:
        page.require_packages()
    gold = read_pairs(pairs) if pairs is not None else read_icd10cm(options)
    with ExitStack() as stack:
        outputs: list[tuple[Path, BinaryIO, Callable[[Evaluation], str]]] = []
        if json_path is not None and str(json_path) != "-":
            outputs.append((json_path, stack.enter_context(replacing(json_path)), report.as_json))
        if html_path is not None:
            outputs.append((html_path, stack.enter_context(replacing(html_path)), page.as_html))
        connection = stack.enter_context(connect(dsn, autocommit=True))
        with step_bars("texts") as bars:
            result = run(connection, gold, configs, options, bars)
        if json_path is not None and str(json_path) == "-":
            click.echo(report.as_json(result))
        else:
            terminal.show(result)
        for path, file, made in outputs:
            with writing_errors(path):
                file.write(made(result).encode("utf-8"))
