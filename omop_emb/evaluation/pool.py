"""Vectors as the database makes and stores them, read into numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation.result import Key, Options, Progress

Vectors = npt.NDArray[np.float32]

TEXTS_PER_CALL = 64

_REAL_ARRAY_OID = 1021
_HEADER_BYTES = 20
_ITEM = np.dtype([("length", ">i4"), ("value", ">f4")])


class RealArrayLoader(Loader):
    """Reads PostgreSQL's binary form of a one-dimensional real[] without NULLs into a float32 array."""

    format = Format.BINARY

    def load(self, data: Buffer) -> Vectors:
        """Return the array."""
        return np.frombuffer(data, dtype=_ITEM, offset=_HEADER_BYTES)["value"].astype(np.float32)


@dataclass
class Pool:
    """Concepts to rank, by id, and their texts.

    ``terms`` says which concept has which text (positions in ``keys`` and ``texts``), and of which kind: the first of
    name, supplied, synonym and mapped that it is. ``vectors`` has the stored DOCUMENT vector of each text, shape
    (texts, dimensions).
    """

    keys: list[Key] = field(default_factory=list)
    names: dict[Key, str] = field(default_factory=dict)
    vocabularies: dict[Key, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    terms: dict[tuple[int, int], str] = field(default_factory=dict)
    vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))

    def folded_terms(self) -> set[tuple[Key, str]]:
        """Return each concept with each of its texts, letter case folded."""
        return {(self.keys[concept], self.texts[text].casefold()) for concept, text in self.terms}


def embed(
    connection: psycopg.Connection, config: str, role: str, texts: Sequence[str], progress: Progress, step: str
) -> Vectors:
    """Have the database embed ``texts`` in ``role``, 64 per call; (len(texts), dimensions) float32.

    Raises OmopEmbError with what the database says: no such configuration, endpoint down, a text it rejects.
    """
    progress(step, 0, len(texts))
    vectors: list[Vectors] = []
    with readable_errors(), connection.cursor(binary=True) as cursor:
        cursor.adapters.register_loader(_REAL_ARRAY_OID, RealArrayLoader)
        for start in range(0, len(texts), TEXTS_PER_CALL):
            call = list(texts[start : start + TEXTS_PER_CALL])
            rows = cursor.execute(
                "SELECT embedding FROM omop_emb.embed_texts(%s, %s, %s::text[]) ORDER BY text_no", [config, role, call]
            ).fetchall()
            if len(rows) != len(call):
                raise OmopEmbError(f"the database returned {len(rows)} vectors for {len(call)} texts")
            vectors.extend(row[0] for row in rows)
            progress(step, len(vectors), len(texts))
    return np.stack(vectors)


def read_pool(
    connection: psycopg.Connection, config: str, wanted: Sequence[int], others: int, options: Options
) -> Pool:
    """Read the indexed texts of the ``wanted`` concepts and of a sample of ``others`` more, with stored vectors.

    Wanted concepts that are not indexed, or that a filter of ``options`` leaves out, are not in it.
    """
    pool = Pool()
    terms: list[tuple[int, str, str]] = []
    rows: dict[str, int] = {}
    vectors: list[Vectors] = []
    with readable_errors(), connection.transaction(), connection.cursor("omop_emb_pool", binary=True) as cursor:
        cursor.adapters.register_loader(_REAL_ARRAY_OID, RealArrayLoader)
        cursor.itersize = 500
        cursor.execute(
            "SELECT concept_id, concept_name, vocabulary_id, kind, text, embedding"
            " FROM omop_emb.evaluation_pool(%s, %s::int[], %s, %s, %s::text[], %s::text[], %s)",
            [
                config, list(wanted), others, options.seed, options.domains, options.vocabularies,
                options.standard_only,
            ],
        )  # fmt: skip
        for concept_id, name, vocabulary, kind, text, vector in cursor:
            pool.names[concept_id] = name
            pool.vocabularies[concept_id] = vocabulary
            terms.append((concept_id, kind, text))
            if text not in rows:
                rows[text] = len(rows)
                vectors.append(vector)
    pool.keys = sorted(pool.names, key=int)
    pool.texts = list(rows)
    positions = {key: position for position, key in enumerate(pool.keys)}
    for concept_id, kind, text in terms:
        pool.terms.setdefault((positions[concept_id], rows[text]), kind)
    if vectors:
        pool.vectors = np.stack(vectors)
    return pool
