"""The command: run the benchmarks, print their figures."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from omop_emb.demo.cluster import Cluster
from tests.benchmarks import indexing, quality, search, triggers
from tests.benchmarks.environment import LARGE_SETTINGS, SETTINGS, Options, create_template
from tests.benchmarks.figures import Figure, number, table
from tests.benchmarks.progress import Progress

BENCHMARKS: dict[str, Callable[[Cluster, Progress, Options], Iterator[Figure]]] = {
    "search": search.run,
    "index": indexing.run,
    "triggers": triggers.run,
    "quality": quality.run,
}
ONLY_WHEN_NAMED = "quality"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--large",
    is_flag=True,
    help="search: also with 1,000,000 concepts; two hours more, 20 GB of memory, 25 GB of disk.",
)
@click.option("--quick", is_flag=True, help="index: fewer texts and one round; a few minutes, to see that it runs.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="search: draw how the time grows with the number of concepts into this file (.png, .svg or .pdf).",
)
def main(names: tuple[str, ...], as_json: bool, large: bool, quick: bool, plot: Path | None) -> None:
    """Measure what the package costs on a throwaway server: all of it, or the benchmarks named.

    Every figure stands beside its limit; times are ratios to a baseline of the same run. A missed limit is reported,
    it is not an error.

    search takes half an hour, most of which builds the indexes of 256,000 concepts; index takes three quarters of
    an hour, for the same reason; triggers takes minutes.

    quality measures how well the modes of a search find what gold pairs want, and what the index finds among real
    vectors. It runs only when named: it embeds 39,000 names with the bundled model, which takes most of its quarter of
    an hour.
    """
    figures: list[Figure] = []
    chosen = dict.fromkeys(names or (name for name in BENCHMARKS if name != ONLY_WHEN_NAMED))
    with Progress() as progress:
        progress.step("starting a private PostgreSQL server")
        with Cluster(settings=LARGE_SETTINGS if large else SETTINGS) as cluster:
            create_template(cluster)
            for name in chosen:
                for figure in BENCHMARKS[name](cluster, progress.within(name), Options(large, quick, plot)):
                    # What comes next may take an hour, and may fail.
                    progress.say(f"{figure.what}: {number(figure.value, figure.unit)}; {figure.measured}")
                    figures.append(figure)
            progress.within("").step("stopping the server")
    if as_json:
        click.echo(json.dumps([{**asdict(figure), "met": figure.met} for figure in figures], indent=2))
    else:
        Console(highlight=False).print(table(figures))


if __name__ == "__main__":
    main()
