"""Exact ranking of concepts for query vectors."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from omop_emb.evaluation.pool import Vectors
from omop_emb.evaluation.result import Found, GoldQuery, Key, Ranking
from omop_emb.evaluation.statistics import measures

Integers = npt.NDArray[np.int64]

_QUERIES_AT_ONCE = 64


class Ranker:
    """Ranks concepts by the best of their texts; ties go to the smaller key.

    ``keys`` are in ascending order, ``terms`` are the pairs (position in ``keys``, position of a text). ``distance`` is
    that of a configuration: cosine, inner_product (of vectors of length 1: the same), l2 or l1.
    """

    def __init__(
        self, keys: Sequence[Key], names: dict[Key, str], terms: Iterable[tuple[int, int]], distance: str
    ) -> None:
        pairs = np.array(sorted(terms), dtype=np.int64)
        self._keys = keys
        self._positions = {key: position for position, key in enumerate(keys)}
        self._names = names
        self._distance = distance
        self._texts = pairs[:, 1]
        self._starts: Integers = np.searchsorted(pairs[:, 0], np.arange(len(keys)))

    def rank(self, gold: Sequence[GoldQuery], queries: Vectors, documents: Vectors, seed: int) -> Ranking:
        """Rank for each query all concepts; ``queries`` (n, D) belong to ``gold``, ``documents`` (m, D) to the texts.

        Every query must have a wanted concept among the keys.
        """
        ranks: list[int | None] = []
        first: list[Found | None] = []
        prepared = self._prepared(documents)
        for start in range(0, len(gold), _QUERIES_AT_ONCE):
            vectors = self._prepared(queries[start : start + _QUERIES_AT_ONCE])
            of_texts = self._similarities(vectors, prepared)
            of_concepts = np.maximum.reduceat(of_texts[:, self._texts], self._starts, axis=1)
            for query, similarities in zip(gold[start : start + _QUERIES_AT_ONCE], of_concepts, strict=True):
                ranks.append(min(self._rank(similarities, key) for key in query.wanted if key in self._positions))
                best = int(np.argmax(similarities))
                key = self._keys[best]
                first.append(Found(key, self._names[key], float(similarities[best])))
        return Ranking(ranks, first, measures(ranks, seed))

    def _rank(self, similarities: npt.NDArray[np.float64], key: Key) -> int:
        position = self._positions[key]
        own = similarities[position]
        return 1 + int(np.sum(similarities > own)) + int(np.sum(similarities[:position] == own))

    def _prepared(self, vectors: Vectors) -> npt.NDArray[np.float64]:
        doubles = vectors.astype(np.float64)
        if self._distance in ("cosine", "inner_product"):
            doubles /= np.linalg.norm(doubles, axis=1, keepdims=True)
        return doubles

    def _similarities(
        self, queries: npt.NDArray[np.float64], documents: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the similarities, from 0 to 1, of all queries and all texts."""
        # A matrix product may differ in the last digits for equal vectors, which are ties.
        return np.round(self._exact_similarities(queries, documents), 12)

    def _exact_similarities(
        self, queries: npt.NDArray[np.float64], documents: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        if self._distance in ("cosine", "inner_product"):
            return np.clip((1 + queries @ documents.T) / 2, 0, 1)
        if self._distance == "l1":
            distances = np.stack([np.abs(documents - query).sum(axis=1) for query in queries])
        else:
            squares = (queries**2).sum(axis=1)[:, None] + (documents**2).sum(axis=1) - 2 * queries @ documents.T
            distances = np.sqrt(np.maximum(squares, 0))
        return 1 / (1 + distances)
