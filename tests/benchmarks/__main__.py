"""The command: run the benchmarks, print their figures."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click
from rich.console import Console

from omop_emb.demo.cluster import Cluster
from tests.benchmarks import index, search, triggers
from tests.benchmarks.environment import SETTINGS, create_template
from tests.benchmarks.figures import Figure, table
from tests.benchmarks.progress import Progress

BENCHMARKS: dict[str, Callable[[Cluster, Progress], Iterator[Figure]]] = {
    "search": search.run,
    "index": index.run,
    "triggers": triggers.run,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(names: tuple[str, ...], as_json: bool) -> None:
    """Measure what the package costs on a throwaway server: all of it, or the benchmarks named.

    Every figure is a ratio or a rate with its limit beside it. A missed limit is reported, it is not an error.
    """
    figures: list[Figure] = []
    with Progress() as progress:
        progress.step("starting a private PostgreSQL server")
        with Cluster(settings=SETTINGS) as cluster:
            create_template(cluster)
            for name in dict.fromkeys(names or BENCHMARKS):
                figures.extend(BENCHMARKS[name](cluster, progress.within(name)))
            progress.within("").step("stopping the server")
    if as_json:
        click.echo(json.dumps([{**asdict(figure), "met": figure.met} for figure in figures], indent=2))
    else:
        Console(highlight=False).print(table(figures))


if __name__ == "__main__":
    main()
