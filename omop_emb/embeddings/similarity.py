"""Cosine similarity of two sets of vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_rows(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return (n, D) float64 rows, one for a 1-D array; ValueError for other shapes, other types, NaN or infinity."""
    if vectors.dtype.kind not in "fiu":
        raise ValueError(
            f"an array of {vectors.dtype} holds no vectors; pass texts as a str, list or tuple, vectors as numbers"
        )
    if vectors.ndim not in (1, 2):
        raise ValueError(f"an array of vectors has shape (n, D) or (D,), not {vectors.shape}")
    rows = np.atleast_2d(vectors).astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("an array of vectors holds NaN or infinity")
    return rows


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows (n, D) at length 1; rows of zeros stay zeros."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    # Scaled first, so that no square is too large or too small for a float64.
    scaled = rows / np.where(largest > 0, largest, 1.0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    units: NDArray[np.float64] = scaled / np.where(lengths > 0, lengths, 1.0)
    return units


def cosine(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float32]:
    """Return the cosine of each of M vectors with each of N: (M, N), in [-1, 1], 0 for a vector of zeros.

    ValueError when the two have vectors of different lengths.
    """
    a, b = as_rows(left), as_rows(right)
    if not (len(a) and len(b)):
        return np.zeros((len(a), len(b)), dtype=np.float32)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"vectors of {a.shape[1]} dimensions cannot be compared with vectors of {b.shape[1]}")
    return np.clip(unit_rows(a) @ unit_rows(b).T, -1.0, 1.0).astype(np.float32)
