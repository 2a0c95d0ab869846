"""Options that several commands have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
config_option = click.option("--config", help="Configuration; default: the active one.")

_SEARCH_OPTIONS = (
    click.option("--domain", "domains", multiple=True, help="Only this domain; repeatable."),
    click.option("--vocabulary", "vocabularies", multiple=True, help="Only this vocabulary; repeatable."),
    click.option("--concept-class", "concept_classes", multiple=True, help="Only this concept class; repeatable."),
    click.option("--standard-only", is_flag=True, help="Only standard concepts."),
    click.option("--include-invalid", is_flag=True, help="Invalid concepts too."),
    click.option("--ancestor", "ancestor_concept_id", type=int, help="Only this concept and its descendants."),
    click.option(
        "--mode",
        type=click.Choice(["hybrid", "semantic"]),
        help="Rank by meaning and by letters, or by meaning alone; default: hybrid.",
    ),
    config_option,
)


def search_options(command: Function) -> Function:
    """Add the options that say where and how to search."""
    for option in reversed(_SEARCH_OPTIONS):
        command = option(command)
    return command


def search_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the database functions for these options; None is an option that was not given."""
    return {name: (list(value) or None) if isinstance(value, tuple) else value for name, value in options.items()}
