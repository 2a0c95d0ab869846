"""The two roles of a text, and the error of a client."""

from enum import StrEnum
from typing import Any

from omop_emb.errors import OmopEmbError
from omop_emb.server.embedding import DOCUMENT, QUERY


class EmbeddingRole(StrEnum):
    """What a text is embedded for: to be found (DOCUMENT) or to search with (QUERY)."""

    DOCUMENT = DOCUMENT
    QUERY = QUERY


class EmbeddingClientError(OmopEmbError):
    """The endpoint could not be reached or refused (``sqlstate`` OE003), or its answer makes no sense (OE004)."""

    def __init__(self, message: str, hint: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message, hint, sqlstate)
        if hint:
            self.add_note(hint)


def as_role(role: Any) -> EmbeddingRole:
    """Return the role for an EmbeddingRole or its value; ValueError for anything else."""
    try:
        return EmbeddingRole(role)
    except ValueError:
        known = " or ".join(repr(known.value) for known in EmbeddingRole)
        raise ValueError(f"the embedding role is {role!r}, it must be {known}") from None
