"""What is known about embedding models before one is asked: their families, and which names do not pin a model."""

import json
import urllib.parse
from typing import Any

from omop_emb.resources import PACKAGE

FAMILIES: list[dict[str, Any]] = json.loads((PACKAGE / "model_families.json").read_text(encoding="utf-8"))
OLLAMA_PORT = 11434


def is_ollama(api_base: str, provider: str | None = None) -> bool:
    """Return whether an endpoint is surely Ollama, by what the caller says, its port or its host name."""
    if provider is not None:
        return provider == "ollama"
    parts = urllib.parse.urlsplit(api_base)
    return parts.port == OLLAMA_PORT or "ollama" in (parts.hostname or "").lower()


def moving_name_problem(model: str, api_base: str, provider: str | None = None) -> str | None:
    """Return why a model name does not pin a model, None when it does or cannot be told.

    ``provider`` is 'ollama', 'openai' or None for a guess from ``api_base``.
    """
    if provider == "openai":
        return None
    name, _, tag = model.strip().rsplit("/", 1)[-1].partition(":")
    reason = "what it stands for changes with the next pull, and with it all vectors, silently"
    if tag.strip().lower() == "latest":
        return (
            f"the model name {model!r} ends in the tag 'latest': {reason}. Name a tag that stays, such as {name}:v1.5"
        )
    if not tag.strip() and is_ollama(api_base, provider):
        return (
            f"the model name {model!r} has no tag, so Ollama takes 'latest': {reason}. Name a tag that stays,"
            f" such as {name}:v1.5 ('ollama list' shows those you have)"
        )
    return None
