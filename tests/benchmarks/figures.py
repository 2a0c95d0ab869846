"""Times taken in turn, and the figures made from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich import box
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One result: a value in ``unit`` ("x" for a ratio), what it was made from, and its limit if it has one."""

    benchmark: str
    what: str
    value: float
    unit: str
    measured: str
    limit: float | None = None
    more_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.more_is_better else self.value <= self.limit


def in_turn(
    variants: Mapping[str, Callable[[int], float]], rounds: int, report: Callable[[int], None] = lambda _: None
) -> dict[str, list[float]]:
    """Return the seconds that each variant says it took, round by round.

    The variants of a round follow each other at once, so that noise of the machine hits all of them, and each
    round starts with another one, so that none has the advantage of warm caches.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds):
        report(number)
        start = number % len(names)
        for name in names[start:] + names[:start]:
            times[name].append(variants[name](number))
    return times


def ratio(
    benchmark: str, what: str, times: Sequence[float], baseline: Sequence[float], limit: float | None = None
) -> Figure:
    """Return the ratio of two medians."""
    measured = f"{duration(median(times))} against {duration(median(baseline))}"
    return Figure(benchmark, what, median(times) / median(baseline), "x", measured, limit)


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.3f} ms"


def table(figures: Sequence[Figure]) -> Table:
    """Return the figures as a table for the terminal."""
    result = Table(box=box.SIMPLE_HEAD)
    for heading in ("benchmark", "figure", "value", "limit", "", "measured"):
        result.add_column(heading, justify="right" if heading in ("value", "limit") else "left")
    for figure in figures:
        sign = ">=" if figure.more_is_better else "<="
        result.add_row(
            figure.benchmark,
            figure.what,
            number(figure.value, figure.unit),
            "" if figure.limit is None else f"{sign} {number(figure.limit, figure.unit)}",
            {None: "", True: "[green]pass[/]", False: "[bold red]MISSED[/]"}[figure.met],
            figure.measured,
        )
    return result


def number(value: float, unit: str) -> str:
    """Return a value with its unit, in the digits that it deserves."""
    if unit == "x":
        return f"{value:.2f} x"
    if unit == "s":
        return duration(value)
    if not unit:
        return f"{value:.3f}"
    return f"{value:,.0f}{unit if unit.startswith('/') else ' ' + unit}"
