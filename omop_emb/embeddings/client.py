"""Texts to vectors, over an OpenAI-compatible endpoint."""

import copy
import json
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from omop_emb.embeddings import arguments
from omop_emb.embeddings.configured import read_settings
from omop_emb.embeddings.prefixes import environment_prefixes, log_configured_prefixes, log_environment_prefixes
from omop_emb.embeddings.roles import EmbeddingClientError, EmbeddingRole, as_role
from omop_emb.embeddings.similarity import as_rows, cosine
from omop_emb.model_names import is_ollama
from omop_emb.server.embedding import PLACEHOLDER_KEY, PROBE_TEXT, EmbeddingError, embed, request_headers
from omop_emb.server.transport import close_kept, make_post

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

DEFAULT_BATCH_SIZE = 32
LIMITS = {"timeout_ms": 30000, "max_retries": 3}
SHOW_TIMEOUT = 5.0
COMPARED_SETTINGS = ("model", "document_prefix", "query_prefix", "document_params", "query_params")
# Vectors are handed out as the endpoint gives them: no distance that normalises, no storage that rounds.
AS_THEY_ARE = {"distance": "l2", "storage": "vector"}

Texts = str | list[str] | tuple[str, ...]


class EmbeddingClient:
    """Embeds texts in one of two roles, each with its prefix and request parameters.

    The prefixes are read once, now, from OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX and OMOP_EMB_QUERY_EMBEDDING_PREFIX, and
    put before each text verbatim. ``document_params`` and ``query_params`` are merged into the requests, for models
    whose role is a parameter. ``provider`` is 'ollama', 'openai' or None for a guess from ``api_base``.

    Requests of one client go one after the other; threads that should not wait for each other need a client each.
    ValueError for arguments that cannot be right, among them a model name of Ollama without a tag or with 'latest':
    it stands for another model after the next pull. EmbeddingClientError when the endpoint fails.
    """

    def __init__(
        self,
        model: str,
        api_base: str,
        api_key: str | None = PLACEHOLDER_KEY,
        embedding_batch_size: int = DEFAULT_BATCH_SIZE,
        provider: str | None = None,
        *,
        document_params: Mapping[str, Any] | None = None,
        query_params: Mapping[str, Any] | None = None,
    ) -> None:
        settings = {
            "model": model,
            "api_base": api_base,
            **environment_prefixes(),
            "document_params": document_params,
            "query_params": query_params,
            "batch_size": embedding_batch_size,
        }
        self._set_up(settings, api_key, provider)
        log_environment_prefixes(self.settings())

    @classmethod
    def for_configuration(
        cls,
        session: "Session",
        config: str | None = None,
        *,
        api_base: str | None = None,
        api_key: str | None = PLACEHOLDER_KEY,
        provider: str | None = None,
    ) -> Self:
        """Return a client with the settings of a configuration, the active one by default; no variable is read.

        ``api_base`` is for an endpoint that has another address here than for the database server. The database holds
        no key: pass it as ``api_key``. OmopEmbError when there is no such configuration or it may not be read.
        """
        settings = read_settings(session, config)
        if api_base is not None:
            settings["api_base"] = api_base
        client = cls.__new__(cls)
        client._set_up(settings, api_key, provider)
        log_configured_prefixes(client.settings())
        return client

    def _set_up(self, settings: Mapping[str, Any], api_key: str | None, provider: str | None) -> None:
        self._provider = arguments.checked_provider(provider)
        api_base = arguments.checked_api_base(settings["api_base"])
        self._settings: dict[str, Any] = {
            **LIMITS,
            **settings,
            **AS_THEY_ARE,
            "api_base": api_base,
            "model": arguments.checked_model(settings["model"], api_base, self._provider),
            "document_params": arguments.checked_params("document_params", settings["document_params"]),
            "query_params": arguments.checked_params("query_params", settings["query_params"]),
            "batch_size": arguments.checked_count("embedding_batch_size", settings["batch_size"]),
            "api_key": arguments.checked_key(api_key),
            "api_key_name": None,
        }
        self._dimensions: int | None = settings.get("dimensions")
        # Not what replies are checked against: the first of them knows better.
        self._shown_length: int | None = None
        self._connections: dict[Any, Any] = {}
        self._post = make_post(self._connections, lambda: None)
        self._lock = threading.Lock()
        self._process = os.getpid()
        weakref.finalize(self, close_kept, self._connections)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.canonical_model_name!r}, api_base={self.api_base!r})"

    @property
    def canonical_model_name(self) -> str:
        """The model name as it is sent, without white space around it."""
        return str(self._settings["model"])

    @property
    def api_base(self) -> str:
        """The base URL of the endpoint."""
        return str(self._settings["api_base"])

    @property
    def embedding_batch_size(self) -> int:
        """How many texts go into one request."""
        return int(self._settings["batch_size"])

    @property
    def document_params(self) -> dict[str, Any]:
        """A copy of what is merged into requests in the DOCUMENT role."""
        return dict(copy.deepcopy(self._settings["document_params"]))

    @property
    def query_params(self) -> dict[str, Any]:
        """A copy of what is merged into requests in the QUERY role."""
        return dict(copy.deepcopy(self._settings["query_params"]))

    def embedding_role_prefixes(self) -> dict[EmbeddingRole, str]:
        """Return a copy of the prefixes by role."""
        return {role: self._settings[f"{role}_prefix"] for role in EmbeddingRole}

    def settings(self) -> dict[str, Any]:
        """Return a copy of what a configuration must agree with: model, and prefix and params of both roles."""
        return {name: copy.deepcopy(self._settings[name]) for name in COMPARED_SETTINGS}

    @property
    def embedding_dim(self) -> int:
        """The length of the vectors: known from a reply, else asked of Ollama, else of a probe in the DOCUMENT role."""
        if self._dimensions is None and self._shown_length is None:
            self._shown_length = self._length_by_ollama()
        if self._dimensions is None and self._shown_length is None:
            self._embed(EmbeddingRole.DOCUMENT, [PROBE_TEXT])
        return self._dimensions or self._shown_length or 0

    def embeddings(
        self, text: Texts, embedding_role: EmbeddingRole | str, batch_size: int | None = None
    ) -> NDArray[np.float32]:
        """Return one float32 vector per text as (n, D), (1, D) for a str; no texts give (0, D) without a request.

        ``batch_size`` replaces the client's for this call. D of an empty result is 0 while it is not known.
        """
        role = as_role(embedding_role)
        size = self.embedding_batch_size if batch_size is None else arguments.checked_count("batch_size", batch_size)
        texts = arguments.checked_texts(text)
        if not texts:
            return np.empty((0, self._dimensions or self._shown_length or 0), dtype=np.float32)
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        return np.concatenate([self._embed(role, batch) for batch in batches])

    def similarity(
        self,
        terms: Texts | NDArray[Any],
        terms_to_match: Texts | NDArray[Any],
        terms_role: EmbeddingRole | str,
        terms_to_match_role: EmbeddingRole | str,
    ) -> NDArray[np.float32]:
        """Return the cosine of each of M terms with each of N, in [-1, 1], as float32 (M, N).

        Texts are embedded in their role; an array (n, D) or (D,) of vectors is taken as it is, without a request. A
        vector of zeros has cosine 0 with everything.
        """
        roles = as_role(terms_role), as_role(terms_to_match_role)
        # Both are checked before the first request.
        sides = [
            as_rows(side) if isinstance(side, np.ndarray) else arguments.checked_texts(side)
            for side in (terms, terms_to_match)
        ]
        left, right = (
            self.embeddings(side, role) if isinstance(side, list) else side
            for side, role in zip(sides, roles, strict=True)
        )
        return cosine(left, right)

    def close(self) -> None:
        """Close the connection to the endpoint; the next request opens another."""
        with self._lock:
            close_kept(self._connections)

    def _embed(self, role: EmbeddingRole, batch: list[str]) -> NDArray[np.float32]:
        """Return the vectors (n, D) of one request; every request must give the same D."""
        self._leave_the_parents_connection()
        with self._lock:
            settings = {**self._settings, "dimensions": self._dimensions, "batch_size": len(batch)}
            try:
                vectors = embed(settings, role, batch, self._post, time.sleep, time.monotonic)
            except EmbeddingError as error:
                if error.sqlstate == "OE005":
                    raise ValueError(f"{error.message}. {error.hint}") from None
                raise EmbeddingClientError(error.message, error.hint, error.sqlstate) from None
            self._dimensions = len(vectors[0])
        return np.array(vectors, dtype=np.float32)

    def _length_by_ollama(self) -> int | None:
        """Return the length of the model's vectors as Ollama's /api/show says, None where that does not answer."""
        asks_for_a_length = any("dimensions" in self._settings[f"{role}_params"] for role in EmbeddingRole)
        may_be_ollama = is_ollama(self.api_base, self._provider) or (
            self._settings["api_key"] == PLACEHOLDER_KEY and self._provider is None
        )
        if asks_for_a_length or not may_be_ollama:
            return None
        self._leave_the_parents_connection()
        url = self.api_base.rstrip("/").removesuffix("/v1").rstrip("/") + "/api/show"
        body = json.dumps({"model": self.canonical_model_name}).encode()
        with self._lock:
            try:
                status, _, reply = self._post(url, request_headers(self._settings), body, SHOW_TIMEOUT)
                return shown_length(json.loads(reply)) if status == 200 else None
            # Whatever keeps this from answering, the probe will tell better.
            except Exception:
                return None

    def _leave_the_parents_connection(self) -> None:
        """Give a forked process connections of its own, since two that read from one get each other's replies."""
        if self._process != os.getpid():
            self._process, self._lock = os.getpid(), threading.Lock()
            close_kept(self._connections)


def shown_length(shown: Any) -> int | None:
    """Return the length of the vectors by the ``model_info`` of an /api/show reply, None when it does not say."""
    info = shown["model_info"]
    lengths = [
        info.get(f"{info.get('general.architecture')}.{key}") for key in ("embedding_length_out", "embedding_length")
    ]
    lengths += [value for key, value in info.items() if key.endswith("embedding_length")]
    return next((length for length in lengths if type(length) is int and length > 0), None)
