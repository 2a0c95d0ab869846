"""The command that measures retrieval quality."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from omop_emb.database import connect
from omop_emb.evaluation import Evaluation, Options, page, read_icd10cm, read_pairs, report, terminal
from omop_emb.evaluation import evaluate as run
from omop_emb.evaluation.output import OutputFile, output_file


class TextsPerSecond(ProgressColumn):
    """The speed of a step."""

    def render(self, task: Task) -> Text:
        """Return it, once it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} texts/s")


class Bars:
    """A progress bar per step, on stderr."""

    def __init__(self, bars: Progress, stack: ExitStack) -> None:
        self._bars = bars
        self._stack = stack
        self._steps: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show how far a step is."""
        # Not before there is something to show: an error stands alone on stderr.
        if not self._steps:
            self._stack.enter_context(self._bars)
        if step not in self._steps:
            self._steps[step] = self._bars.add_task(step)
        self._bars.update(self._steps[step], completed=done, total=total)


@contextmanager
def step_bars() -> Iterator[Bars]:
    """Show what is told to the result as bars on stderr, from the first time on."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextsPerSecond(),
        TimeElapsedColumn(),
    )  # fmt: skip
    with ExitStack() as shown:
        yield Bars(Progress(*columns, console=Console(stderr=True)), shown)


@click.command()
@click.argument("pairs", required=False, type=click.Path(path_type=Path))
@click.option("--builtin", type=click.Choice(["icd10cm"]), help="A built-in set instead of a file of pairs.")
@click.option("--config", "configs", multiple=True, help="Configuration, repeatable; default: the active one.")
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
    if builtin and (vocabularies or domains or standard_only or skip_unknown):
        raise click.UsageError("--vocabulary, --domain, --standard-only and --skip-unknown need PAIRS")
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
    )
    if html_path is not None:
        page.require_packages()
    gold = read_pairs(pairs) if pairs is not None else read_icd10cm(options)
    with ExitStack() as stack:
        outputs: list[tuple[OutputFile, Callable[[Evaluation], str]]] = []
        if json_path is not None and str(json_path) != "-":
            outputs.append((stack.enter_context(output_file(json_path)), report.as_json))
        if html_path is not None:
            outputs.append((stack.enter_context(output_file(html_path)), page.as_html))
        connection = stack.enter_context(connect(dsn, autocommit=True))
        with step_bars() as bars:
            result = run(connection, gold, configs, options, bars)
        if json_path is not None and str(json_path) == "-":
            click.echo(report.as_json(result))
        else:
            width = None if sys.stdout.isatty() else 100
            terminal.show(result, Console(width=width, highlight=False, markup=False, emoji=False))
        for file, made in outputs:
            file.write(made(result))
