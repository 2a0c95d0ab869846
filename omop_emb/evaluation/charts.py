"""Charts as inline SVG, without anything fetched from elsewhere."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omop_emb.evaluation.report import GroupFigures
from omop_emb.evaluation.statistics import LAST_RANK, recall_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by the colour-blind too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("solid", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_LABEL_LENGTH = 48


@dataclass(frozen=True)
class Line:
    """One line of a chart: its label, its ranks, and how it is drawn."""

    label: str
    ranks: Sequence[int | None]
    colour: str


def lines(labelled: Sequence[tuple[str, Sequence[int | None]]]) -> list[Line]:
    """Give each series its colour."""
    return [Line(label, ranks, COLOURS[i % len(COLOURS)]) for i, (label, ranks) in enumerate(labelled)]


def recall_chart(series: Sequence[Line], name: str) -> str:
    """Draw recall@k for k = 1 to 100; the legend is left to the page.

    ``name`` keeps the parts of several charts in one page apart.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  an optional dependency

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, line in enumerate(series):
        style = _DASHES[number % len(_DASHES)]
        axes.plot(range(1, LAST_RANK + 1), recall_curve(line.ranks), color=line.colour, linestyle=style, clip_on=False)
    axes.set(xscale="log", xlim=(1, LAST_RANK), ylim=(0, 1), xlabel="k", ylabel="recall@k")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.set_xticks([], minor=True)
    axes.grid(visible=True, color="#dddddd")
    return _svg(figure, name)


def group_chart(groups: Sequence[GroupFigures], name: str) -> str:
    """Draw hit@10 per vocabulary or chapter as bars, with the number of queries.

    ``name`` keeps the parts of several charts in one page apart.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  an optional dependency

    figure = Figure(figsize=(9, 0.7 + 0.26 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    positions = range(len(groups))
    axes.barh(positions, [group.hit_at_10 for group in groups], color=COLOURS[0], height=0.7)
    labels = [f"{_cut(group.name)} ({group.queries:,})" for group in groups]
    # A dollar sign in a name is not a formula.
    axes.set_yticks(positions, labels, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="hit@10")
    axes.grid(visible=True, axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    return _svg(figure, name)


def _cut(text: str) -> str:
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"


def _svg(figure: "Figure", name: str) -> str:
    from matplotlib import rc_context  # noqa: PLC0415  an optional dependency

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}), warnings.catch_warnings():
        # The browser draws the letters; matplotlib only measures them, and has no font for some scripts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    drawn = buffer.getvalue()
    return drawn[drawn.index("<svg") :]
