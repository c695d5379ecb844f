"""Semantic near-duplicates: pairs of documents whose embeddings point the same way, looked for inside k-means cells.

The recipe of SemDeDup (Abbas et al. 2023, arXiv 2303.09540): unit vectors, spherical k-means, and inside each cell
all pairs with cosine similarity >= 1 - epsilon.  A pair that k-means puts into two cells is not found; the share of
such pairs is what `cells` trades against time (n^2 / cells products).

Everything is deterministic: seeded start, cells visited in order, ties to the smaller number; cosines are float32
products, rounded to 6 decimals so that the last bits of a BLAS do not decide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_DECIMALS = 6
# Rows of a block of the similarity matrix: 2,048 x 2,048 float32 are 16 MB.
_BLOCK = 2048


def unit_vectors(embeddings: npt.ArrayLike) -> Vectors:
    """[rows, width] float32 rows of length 1; a row of zeros stays, and is similar to nothing.

    Raises ValueError for values that are not finite, naming the first such row.
    """
    vectors = np.ascontiguousarray(embeddings, np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"embeddings have shape {vectors.shape}, expected [rows, width]")
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise ValueError(f"embedding of row {int(np.argmax(bad))} is not finite")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0).astype(np.float32)


def nearest_cell(vectors: Vectors, centres: Vectors) -> Ints:
    """[rows] the centre with the largest cosine, the smaller number on a tie.  Memory: one block of products."""
    cells = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        products = np.round(vectors[start : start + _BLOCK] @ centres.T, _DECIMALS)
        cells[start : start + _BLOCK] = np.argmax(products, axis=1)
    return cells


def fit_cells(sample: Vectors, cells: int, iterations: int = 20, seed: int = 0) -> Vectors:
    """[cells, width] unit centres of spherical k-means over a sample of unit vectors.

    The start is k-means++ with a seeded generator.  A cell that loses all its members takes the vector that fits its
    own centre worst.  Stops early once no vector changes its cell.  Fewer distinct vectors than cells: fewer centres.
    """
    if cells < 1:
        raise ValueError(f"cells is {cells}, allowed is 1 or more")
    distinct = np.unique(sample, axis=0)
    distinct = distinct[np.linalg.norm(distinct, axis=1) > 0]
    if len(distinct) <= cells:
        return distinct if len(distinct) else np.zeros((1, sample.shape[1]), np.float32)
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = [int(generator.integers(len(distinct)))]
    distance = np.full(len(distinct), np.inf)
    while len(chosen) < cells:
        distance = np.minimum(distance, np.maximum(1 - distinct @ distinct[chosen[-1]], 0).astype(np.float64))
        weights = np.cumsum(np.round(distance, _DECIMALS))
        if weights[-1] == 0:
            break
        chosen.append(int(np.searchsorted(weights, generator.random() * weights[-1], side="right")))
    centres = distinct[chosen]
    before = np.full(len(distinct), -1)
    for _ in range(iterations):
        cell = nearest_cell(distinct, centres)
        if np.array_equal(cell, before):
            break
        before = cell
        sums = np.zeros(centres.shape, np.float64)
        np.add.at(sums, cell, distinct)
        for lost in np.flatnonzero(np.bincount(cell, minlength=len(centres)) == 0):
            fit = np.einsum("ij,ij->i", distinct, centres[cell])
            worst = int(np.argmin(np.round(fit, _DECIMALS)))
            sums[lost] = distinct[worst]
        centres = unit_vectors(sums)
    return centres


def similar_pairs(vectors: Vectors, threshold: float) -> Iterator[tuple[Ints, Ints, npt.NDArray[np.float64]]]:
    """(first, second, cosine) of all pairs of rows, first < second, with cosine >= threshold, block by block.

    Time n^2 products; memory one block of 2,048 x 2,048.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is not in (0, 1]")
    for i in range(0, len(vectors), _BLOCK):
        for j in range(i, len(vectors), _BLOCK):
            cosine = np.round(vectors[i : i + _BLOCK] @ vectors[j : j + _BLOCK].T, _DECIMALS)
            first, second = np.nonzero(cosine >= threshold)
            ordered = first + i < second + j
            first, second = first[ordered], second[ordered]
            if len(first):
                yield (
                    (first + i).astype(np.int64),
                    (second + j).astype(np.int64),
                    np.minimum(cosine[first, second].astype(np.float64), 1.0),
                )
