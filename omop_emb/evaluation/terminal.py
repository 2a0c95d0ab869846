"""The result as tables in the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from omop_emb.evaluation.report import label, p_label, role_label
from omop_emb.evaluation.result import ConfigurationResult, Evaluation, Latency
from omop_emb.evaluation.statistics import Estimate, Measures

NEEDED_WIDTH = 80
FILE_WIDTH = 100
MEASURES = ("hit@1", "hit@5", "hit@10", "MRR")


def show(evaluation: Evaluation) -> None:
    """Print the tables that the result has rows for, and its notes."""
    console = Console(highlight=False, markup=False, emoji=False)
    # Figures that a narrow terminal would cut off are worse than lines that it breaks.
    console.width = max(NEEDED_WIDTH, console.width) if console.is_terminal else FILE_WIDTH
    console.print(
        f"{len(evaluation.queries):,} queries of {evaluation.source}, {evaluation.seconds:.0f} s;"
        " below each figure its 95 % bootstrap interval"
    )
    tables = [("Search: omop_emb_search in the whole index", _search(evaluation))]
    tables += [
        (
            f"What the prefixes are worth, {each.name}: {each.pool_concepts:,} concepts, {each.pool_texts:,} texts,"
            " ranked exactly",
            _roles(each),
        )
        for each in evaluation.configurations
    ]
    tables += [("Latency", _latency(evaluation)), ("Compared, query by query", _compared(evaluation))]
    for title, table in tables:
        if table.row_count:
            console.print()
            console.print(title, style="bold")
            console.print(table)
    for note in evaluation.notes:
        console.print(f"note: {note}")


def _search(evaluation: Evaluation) -> Table:
    table = _table("configuration,\nmode", *MEASURES, "p50", "p95")
    for each in evaluation.configurations:
        for search in each.searches:
            name = Text.assemble(each.name, "\n", (search.mode, "dim"))
            table.add_row(name, *_cells(search.ranking.measures), *_times(search.latency))
    return table


def _roles(configuration: ConfigurationResult) -> Table:
    table = _table("documents / queries as", *MEASURES, "MRR - right", "p (Holm)")
    for role in configuration.roles:
        test = (_difference(role.test.difference), p_label(role.test.p_holm)) if role.test else ()
        table.add_row(role_label(role), *_cells(role.ranking.measures), *test)
    return table


def _latency(evaluation: Evaluation) -> Table:
    table = _table("configuration", "of", "calls", "p50", "p95")
    for each in evaluation.configurations:
        if latency := each.embedding:
            table.add_row(Text(each.name), latency.what, f"{latency.calls}", *_times(latency))
    return table


def _compared(evaluation: Evaluation) -> Table:
    table = _table("first - second", "MRR difference", "better", "worse", "p", "p (Holm)")
    for pair in evaluation.comparisons:
        test = pair.test
        names = f"{label(pair.first, pair.first_mode)} - {label(pair.second, pair.second_mode)}"
        table.add_row(
            Text(names), _difference(test.difference), f"{test.better:,}", f"{test.worse:,}",
            p_label(test.p_value), p_label(test.p_holm),
        )  # fmt: skip
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="right" if number else "left",
            overflow="fold",
            min_width=None if number else 11,
            no_wrap=number > 0,
        )
    return table


def _cells(measures: Measures) -> list[Text]:
    return [
        Text.assemble(f"{estimate.value:.3f}\n", (f"{estimate.low:.2f} {estimate.high:.2f}", "dim"))
        for estimate in (measures.hit_at_1, measures.hit_at_5, measures.hit_at_10, measures.mrr)
    ]


def _difference(estimate: Estimate) -> Text:
    low, high = (f"{end:+.3f}".replace("0.", ".", 1) for end in (estimate.low, estimate.high))
    return Text.assemble(f"{estimate.value:+.3f}\n", (f"{low} {high}", "dim"))


def _times(latency: Latency) -> tuple[str, str]:
    return f"{latency.p50_ms:.1f} ms", f"{latency.p95_ms:.1f} ms"
