"""The prefixes of a client: read from the environment, and said in the log."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from omop_emb.configuration import PREFIX_VARIABLES
from omop_emb.embeddings.roles import EmbeddingRole
from omop_emb.model_names import FAMILIES
from omop_emb.server.model_families import find_family, role_warnings

LOGGER = logging.getLogger("omop_emb.embeddings")
PURPOSE = {
    EmbeddingRole.DOCUMENT: "put before texts that are stored and searched in",
    EmbeddingRole.QUERY: "put before texts that are searched for",
}


def environment_prefixes() -> dict[str, str]:
    """Return the value of ``document_prefix`` and ``query_prefix`` by the environment, verbatim; unset is ''."""
    return {setting: os.environ.get(variable, "") for setting, variable in PREFIX_VARIABLES.items()}


def log_environment_prefixes(settings: Mapping[str, Any]) -> None:
    """Log the prefixes of a client at INFO, empty ones as one WARNING each, suspicious ones as WARNING too."""
    for role in EmbeddingRole:
        variable, prefix = PREFIX_VARIABLES[f"{role}_prefix"], settings[f"{role}_prefix"]
        warnings = role_warnings(settings, role, FAMILIES)
        if not prefix:
            LOGGER.warning("%s", empty_prefix_warning(settings, role, warnings))
            continue
        LOGGER.info("%s prefix %r, from %s", role, prefix, variable)
        for warning in warnings:
            LOGGER.warning("model %r: %s", settings["model"], warning)


def empty_prefix_warning(settings: Mapping[str, Any], role: EmbeddingRole, warnings: list[str]) -> str:
    """Return the one line about an empty prefix: the variable, what it is for, and what the model's family takes."""
    warning = f"{PREFIX_VARIABLES[f'{role}_prefix']} is empty; it is the {role} prefix, {PURPOSE[role]}. "
    family = find_family(settings["model"], FAMILIES)
    if family is None:
        return warning + (
            f"Many models need one (see the card of {settings['model']!r}); without it search gets worse and nothing"
            " else tells"
        )
    if warnings:
        return warning + f"Model {settings['model']!r}: " + "; ".join(warnings)
    return warning + f"That is right for {settings['model']!r}: {family['name']} models take none"


def log_configured_prefixes(settings: Mapping[str, Any]) -> None:
    """Log the prefixes that come from a configuration in the database, suspicious ones as WARNING too."""
    for role in EmbeddingRole:
        LOGGER.info("%s prefix %r, from the configuration", role, settings[f"{role}_prefix"])
        for warning in role_warnings(settings, role, FAMILIES):
            LOGGER.warning("model %r: %s", settings["model"], warning)
