"""What a request to the embedder must be, and what is answered when it is not."""

import json
from http import HTTPStatus
from typing import Any

from omop_emb.embedder.model import DIMENSIONS, DOCUMENT_PREFIX, MODEL, QUERY_PREFIX

MAX_TEXT_LENGTH = 8_192
MAX_INPUTS = 2_048
MAX_BODY_BYTES = 32 * 1024 * 1024


class RequestError(Exception):
    """The request is wrong; answered with ``status`` and an OpenAI-shaped error body."""

    def __init__(self, status: HTTPStatus, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "message": message,
                "type": "server_error" if status >= 500 else "invalid_request_error",
                "param": param,
                "code": code,
            }
        }


def bad_request(message: str, param: str | None = None) -> RequestError:
    """Return the error for a request that is wrong in itself."""
    return RequestError(HTTPStatus.BAD_REQUEST, message, param=param)


def _checked_texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise bad_request("'input' must be a string or a list of strings.", "input")
    if not texts:
        raise bad_request("'input' must not be an empty list.", "input")
    if len(texts) > MAX_INPUTS:
        raise bad_request(f"'input' has {len(texts):,} texts; at most {MAX_INPUTS:,} are allowed.", "input")
    for number, text in enumerate(texts, start=1):
        problem = _problem(text)
        if problem:
            raise bad_request(f"Text {number} of {len(texts)} in 'input' {problem}.", "input")
    return texts


def _problem(text: Any) -> str | None:
    if not isinstance(text, str):
        return "is not a string"
    if len(text) > MAX_TEXT_LENGTH:
        return f"has {len(text):,} characters; at most {MAX_TEXT_LENGTH:,} are allowed"
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains an unpaired surrogate"
    if not text.startswith((DOCUMENT_PREFIX, QUERY_PREFIX)):
        return (
            f"starts with neither of the two prefixes that {MODEL} was trained with: '{DOCUMENT_PREFIX}' for "
            f"documents, '{QUERY_PREFIX}' for queries, each with its trailing space. Set document_prefix to "
            f"'{DOCUMENT_PREFIX}' and query_prefix to '{QUERY_PREFIX}'"
        )
    return None


def checked_request(body: bytes) -> tuple[list[str], bool]:
    """Return the texts of a request body and whether base64 was asked for; RequestError when it is not acceptable."""
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise bad_request("The request body is not valid JSON in UTF-8.") from None
    if not isinstance(request, dict):
        raise bad_request("The request body must be a JSON object.")
    model = request.get("model")
    if not isinstance(model, str):
        raise bad_request(f"'model' must be the string '{MODEL}'.", "model")
    if model != MODEL:
        raise RequestError(
            HTTPStatus.NOT_FOUND,
            f"The model that was asked for does not exist here. This server has '{MODEL}'.",
            code="model_not_found",
            param="model",
        )
    if request.get("dimensions") not in (None, DIMENSIONS):
        raise bad_request(f"'dimensions' can only be {DIMENSIONS} for this model.", "dimensions")
    encoding = request.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise bad_request("'encoding_format' must be 'float' or 'base64'.", "encoding_format")
    if "input" not in request:
        raise bad_request("'input' is missing.", "input")
    return _checked_texts(request["input"]), encoding == "base64"
