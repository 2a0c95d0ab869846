"""How the time of a warm search grows with the number of concepts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.figures import Figure, duration, in_turn
from tests.benchmarks.progress import Progress
from tests.benchmarks.search.database import QUERIES, Setup, search, times

ROUNDS = 5
LIMIT = 2.0
MODES = ("semantic", "hybrid")


def run(setup: Setup, progress: Progress, sizes: Sequence[int], plot: Path | None) -> Iterator[Figure]:
    """Compare the medians over the queries, those of all sizes in turn."""
    texts = setup.texts[:QUERIES]
    collected: dict[tuple[str, int], list[float]] = {}

    def p50(mode: str, size: int) -> Callable[[int], float]:
        def run_once(_: int) -> float:
            with setup.session(size) as connection:
                return median(times(connection, lambda text: search(text, mode), texts))

        return run_once

    for mode in MODES:
        progress.step(f"growth of the time, {mode}")
        taken = in_turn({str(size): p50(mode, size) for size in sizes}, ROUNDS)
        collected |= {(mode, size): taken[str(size)] for size in sizes}
    medians = {key: median(values) for key, values in collected.items()}
    first, last = sizes[0], sizes[-1]
    for mode in MODES:
        what = f"p50 of a warm {mode} search at {last:,} / at {first:,} concepts"
        measured = ", ".join(f"{duration(medians[mode, size])} at {size:,}" for size in sizes)
        yield Figure("search", what, medians[mode, last] / medians[mode, first], "x", measured, LIMIT)
    if plot:
        draw(plot, sizes, medians)
        progress.say(f"drawn into {plot}")


def draw(path: Path, sizes: Sequence[int], medians: Mapping[tuple[str, int], float]) -> None:
    """Draw a line per mode and its limit into a file; its name says in which format."""
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415

    drawing = Drawing(figsize=(7, 4.5), layout="constrained")
    axes = drawing.add_subplot()
    for mode in MODES:
        values = [1000 * medians[mode, size] for size in sizes]
        (line,) = axes.plot(sizes, values, marker="o", label=mode)
        limit = LIMIT * values[0]
        axes.axhline(limit, color=line.get_color(), linestyle=":", label=f"{mode}: limit, {LIMIT:g} x at {sizes[0]:,}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("concepts")
    axes.set_ylabel("p50 of a warm search, k 10 (ms)")
    axes.legend()
    drawing.savefig(path)
