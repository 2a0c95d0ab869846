"""The result as one HTML page that holds all it shows."""

import json
from importlib import resources

from omop_emb import __version__
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation import charts
from omop_emb.evaluation.report import by_group, label, p_label, role_label, worst_misses
from omop_emb.evaluation.result import ConfigurationResult, Evaluation, Ranking
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
        compared_lines=charts.lines(
            [(label(e.name, mode), r.ranks) for e in evaluation.configurations for mode, r in e.compared.items()]
        ),
        role_lines={
            e.name: charts.lines([(role_label(r), r.ranking.ranks) for r in e.roles]) for e in evaluation.configurations
        },
        # In the first mode; charts and tables for each would only be long.
        shown={e.name: label(e.name, next(iter(e.compared))) for e in evaluation.configurations},
        groups={e.name: by_group(evaluation, _first(e)) for e in evaluation.configurations},
        misses={e.name: worst_misses(evaluation, _first(e)) for e in evaluation.configurations},
        settings={e.name: _settings(e) for e in evaluation.configurations},
        label=label,
        role_label=role_label,
        p_label=p_label,
        recall_chart=charts.recall_chart,
        group_chart=charts.group_chart,
    )


def _first(configuration: ConfigurationResult) -> Ranking:
    return next(iter(configuration.compared.values()))


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
