"""What callers pass to a client, checked before anything is sent."""

import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from omop_emb.model_names import moving_name_problem
from omop_emb.server.embedding import RESERVED_PARAMS, EmbeddingError, check_text

PROVIDERS = ("ollama", "openai")


def checked_texts(text: Any) -> list[str]:
    """Return the texts of a str, list or tuple; ValueError for others and for texts that cannot be embedded."""
    if isinstance(text, str):
        return checked_texts([text])
    if not isinstance(text, list | tuple):
        raise ValueError(f"the texts are a {type(text).__name__}; pass a str, or a list or tuple of str")
    for number, each in enumerate(text):
        if not isinstance(each, str):
            raise ValueError(f"text {number} is a {type(each).__name__}, not a str")
        try:
            check_text(each)
        except EmbeddingError as error:
            raise ValueError(f"text {number}: {error.message}. {error.hint}") from None
    return list(text)


def checked_count(name: str, value: Any) -> int:
    """Return a whole number of at least 1; ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}, it must be a whole number of at least 1")
    return value


def checked_api_base(api_base: Any) -> str:
    """Return a base URL without white space around it; ValueError unless it is http or https with nothing secret."""
    wanted = "an http or https base URL such as http://localhost:11434/v1"
    if not isinstance(api_base, str):
        raise ValueError(f"api_base is a {type(api_base).__name__}, not {wanted}")
    url = api_base.strip()
    if "@" in url:
        raise ValueError(f"api_base holds a user name or password, it must be {wanted}; pass a key as api_key")
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s?#]", url):
        # What stands behind a question mark may be a key.
        raise ValueError(f"api_base is {url.partition('?')[0]!r}{' and more' * ('?' in url)}, not {wanted}")
    return url


def checked_model(model: Any, api_base: str, provider: str | None) -> str:
    """Return the model name without white space around it; ValueError for an empty one and for one that moves."""
    if not isinstance(model, str) or not model.strip():
        raise ValueError(f"the model name is {model!r}, it must be a text")
    if problem := moving_name_problem(model, api_base, provider):
        raise ValueError(problem)
    return model.strip()


def checked_provider(provider: Any) -> str | None:
    """Return the provider; ValueError unless it is None or one that is known."""
    if provider is not None and provider not in PROVIDERS:
        raise ValueError(f"provider is {provider!r}, it must be None (a guess), 'ollama' or 'openai'")
    return provider  # type: ignore[no-any-return]


def checked_key(api_key: Any) -> str:
    """Return the key, '' for None; ValueError for one that a header cannot carry. No message holds it."""
    if api_key is None:
        return ""
    if not isinstance(api_key, str) or re.search(r"[^!-~]", api_key):
        raise ValueError("api_key must be a text without blanks, line ends or other characters a header cannot carry")
    return api_key


def checked_params(name: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a deep copy of request parameters; ValueError unless they are a JSON object without what a client sets."""
    if params is not None and not isinstance(params, Mapping):
        raise ValueError(f"{name} is a {type(params).__name__}, it must be a mapping or None")
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(params or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be sent as JSON: {error}") from None
    if reserved := [key for key in RESERVED_PARAMS if key in copied]:
        raise ValueError(f"{name} must not set {' or '.join(map(repr, reserved))}")
    return copied
