"""Progress bars on stderr."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
    TimeRemainingColumn,
)
from rich.text import Text

from omop_emb.progress import Show


class Speed(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return it, once it is known."""
        speed = task.finished_speed or task.speed
        return Text(self._unit if speed is None else f"{speed:,.0f} {self._unit}/s")


@contextmanager
def step_bars(unit: str, *, disable: bool = False) -> Iterator[Show]:
    """Show a bar per step, counted in ``unit``, from the first sign of progress on: an error stands alone."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Speed(unit),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    bars = Progress(*columns, console=Console(stderr=True), disable=disable)
    steps: dict[str, TaskID] = {}
    with ExitStack() as shown:

        def show(step: str, done: int, total: int | None, note: str = "") -> None:
            if not steps:
                shown.enter_context(bars)
            if step not in steps:
                steps[step] = bars.add_task(step)
            bars.update(steps[step], completed=done, total=total, description=f"{step}{note and ': '}{note}")

        yield show
