"""The result as one HTML page that holds all it shows."""

import json
from importlib import resources

from omop_emb import __version__
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation import charts
from omop_emb.evaluation.report import by_group, p_label, role_label, worst_misses
from omop_emb.evaluation.result import ConfigurationResult, Evaluation
from omop_emb.evaluation.statistics import LAST_RANK


def require_packages() -> None:
    """Raise OmopEmbError when a package that the page needs is missing."""
    try:
        import jinja2  # noqa: F401, PLC0415  an optional dependency
        import matplotlib.figure  # noqa: F401, PLC0415
    except ImportError as error:
        raise OmopEmbError(
            f"the HTML report needs package {error.name}", "pip install 'omop-emb-postgres[evaluate]'"
        ) from error


def as_html(evaluation: Evaluation) -> str:
    """Return the page: no script, and nothing that a browser would fetch."""
    import jinja2  # noqa: PLC0415  an optional dependency

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("omop_emb.evaluation").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        evaluation=evaluation,
        version=__version__,
        rank_limit=LAST_RANK,
        options=_options(evaluation),
        search_lines=charts.lines([(e.name, e.search.ranks) for e in evaluation.configurations if e.search]),
        compared_lines=charts.lines([(e.name, e.best_known.ranks) for e in evaluation.configurations])
        if evaluation.builtin and len(evaluation.configurations) > 1
        else [],
        role_lines={
            e.name: charts.lines([(role_label(r), r.ranking.ranks) for r in e.roles]) for e in evaluation.configurations
        },
        groups={e.name: by_group(evaluation, e.best_known) for e in evaluation.configurations},
        misses={e.name: worst_misses(evaluation, e.best_known) for e in evaluation.configurations},
        settings={e.name: _settings(e) for e in evaluation.configurations},
        role_label=role_label,
        p_label=p_label,
        recall_chart=charts.recall_chart,
        group_chart=charts.group_chart,
    )


def _options(evaluation: Evaluation) -> str:
    options = evaluation.options
    said = [f"seed {options.seed}"]
    for name in ("domains", "vocabularies"):
        if chosen := getattr(options, name):
            said.append(f"{name} {', '.join(chosen)}")
    if options.standard_only:
        said.append("standard concepts only")
    return "; ".join(said)


def _settings(configuration: ConfigurationResult) -> list[tuple[str, str]]:
    return [
        (key.replace("_", " "), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in configuration.settings.items()
    ]
