"""Checks of the endpoint of a configuration, asked by the database server as in search and index."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from omop_emb.doctor.finding import Finding
from omop_emb.embeddings.similarity import cosine
from omop_emb.server.embedding import DOCUMENT, PROBE_TEXT, QUERY

# Vectors this near are one vector but for rounding.
SAME = 1 - 1e-6
# The same model on other hardware, in other batches or stored as float16 stays above this.
SAME_MODEL = 0.99
SAMPLE = 3


def check_endpoint(connection: psycopg.Connection, row: dict[str, Any]) -> Iterator[Finding]:
    """Embed a text in both roles and compare the two vectors, and one that is stored with what it is made of."""
    name = row["name"]
    vectors, milliseconds = {}, {}
    for role in (DOCUMENT, QUERY):
        started = time.perf_counter()
        vectors[role] = embed(connection, name, role, PROBE_TEXT)
        milliseconds[role] = round((time.perf_counter() - started) * 1000)
    yield Finding(
        "ok",
        "endpoint",
        f"{row['api_base']} answers in {milliseconds[DOCUMENT]} ms (document) and {milliseconds[QUERY]} ms (query)"
        f" with {len(vectors[DOCUMENT])} dimensions",
        config=name,
    )
    identical = cosine(vectors[DOCUMENT], vectors[QUERY])[0, 0] > SAME
    if all(row[f"{DOCUMENT}_{setting}"] == row[f"{QUERY}_{setting}"] for setting in ("prefix", "params")):
        yield Finding(
            "note", "endpoint", "the two roles have the same settings: the model is used symmetrically", config=name
        )
    elif identical:
        yield Finding(
            "problem",
            "endpoint",
            f"the endpoint ignores the role settings: {PROBE_TEXT!r} gives the same vector as document and as query",
            "Check that the server passes on the prefixes and parameters of this configuration; for a server that drops"
            " parameters such as input_type, find out how it takes the role.",
            name,
        )
    yield from check_model(connection, name)


def check_model(connection: psycopg.Connection, name: str) -> Iterator[Finding]:
    """Compare a few stored vectors with what the endpoint makes of their texts today."""
    stored = connection.execute("SELECT text, embedding FROM omop_emb.stored_sample(%s, %s)", [name, SAMPLE]).fetchall()
    if not stored:
        return
    alike = min(
        float(cosine(np.array(embedding), embed(connection, name, DOCUMENT, text))[0, 0]) for text, embedding in stored
    )
    if alike < SAME_MODEL:
        yield Finding(
            "problem",
            "endpoint",
            f"the endpoint no longer gives the vectors that are stored: one of {len(stored)} has cosine {alike:.3f} to"
            " what it gives for the same text now",
            "The model behind the name has changed. Bring the old one back, or index anew.",
            name,
        )
    else:
        yield Finding("ok", "endpoint", "it gives the vectors that are stored", config=name)


def embed(connection: psycopg.Connection, config: str, role: str, text: str) -> NDArray[np.float64]:
    """Return the vector (D,) of a text in a role."""
    row = connection.execute(
        "SELECT embedding FROM omop_emb.embed_texts(%s, %s, %s::text[])", [config, role, [text]]
    ).fetchone()
    return np.array(row[0] if row else [], np.float64)
