"""Semantic near-duplicates: documents whose embeddings point the same way, looked for inside k-means cells.

The recipe of SemDeDup (Abbas et al. 2023, arXiv:2303.09540): unit vectors, spherical k-means, and inside each cell
the pairs with cosine similarity >= 1 - epsilon.  A pair that k-means puts into two cells is not found; the share of
such pairs is what `cells` trades against time (n^2 / cells products).  SemDeDup drops what is similar to any document
before it; here, to any *kept* document before it, so that each dropped one names a document that stays.

All of it is a function of the embeddings alone.  Vectors are rounded to whole numbers of 20 bits; then products are
exact in float64 whatever the order of adding up, and neither a BLAS, its threads nor the shape of a block can change
a bit of a cosine.  Cosines are told to 6 decimals; rounding the vectors moves them by less than 10^-5.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.hashing import random_words

Vectors = npt.NDArray[np.float32]
"""[rows, width] whole numbers, so that a row is about 2^20 long."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DECIMALS = 6
_BITS = 20
# Sums of products of that many whole numbers of 20 bits stay below 2^53.
MAX_WIDTH = 1 << (53 - 2 * _BITS)
# Rows of a block of the similarity matrix: 2,048 x 2,048 float64 are 32 MB.
_BLOCK = 2048
# Vectors of a sample that the starting centres are drawn from, for each of them.
_STARTS = 16

NOT_A_VECTOR, NOT_FINITE, WRONG_WIDTH = "not_a_vector", "not_finite", "wrong_width"


# -- reading -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Embeddings:
    """Embeddings of the rows of a column; a row without one is not among them.

    rows    [n] int64, ascending; values [n] vectors of any width
    faults  (row, error, message) of the rows whose value is no vector
    """

    rows: list[int]
    values: list[Floats]
    faults: list[tuple[int, str, str]]

    def of_width(self, width: int) -> tuple[Ints, Vectors, list[tuple[int, str, str]]]:
        """Rows and whole vectors of that width; all faults, those of another width among them."""
        fits = [i for i, value in enumerate(self.values) if value.size == width]
        others = [
            (row, WRONG_WIDTH, f"{value.size:,} numbers, most documents have {width:,}")
            for row, value in zip(self.rows, self.values, strict=True)
            if value.size != width
        ]
        chosen = np.array([self.values[i] for i in fits]).reshape(len(fits), width)
        rows = np.array([self.rows[i] for i in fits], np.int64)
        return rows, whole_vectors(chosen), sorted(self.faults + others)


def read_embeddings(column: pa.Array) -> Embeddings:
    """column: lists of numbers of any kind, or texts that hold a JSON list of numbers; null and "": no embedding."""
    rows: list[int] = []
    values: list[Floats] = []
    faults: list[tuple[int, str, str]] = []
    texts = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    for row, value in enumerate(column):
        try:
            given = value.as_py() if texts else value.values
            if not value.is_valid or (texts and not given):
                continue
            vector = _from_json(given) if texts else _from_list(given)
        except ValueError as error:
            faults.append((row, NOT_A_VECTOR, str(error)))
            continue
        if not 1 <= vector.size <= MAX_WIDTH:
            faults.append((row, NOT_A_VECTOR, f"{vector.size:,} numbers, allowed are 1 to {MAX_WIDTH:,}"))
        elif not np.isfinite(vector).all():
            faults.append((row, NOT_FINITE, f"number {int(np.argmin(np.isfinite(vector)))} is not finite"))
        else:
            rows.append(row)
            values.append(vector)
    return Embeddings(rows, values, faults)


def has_vectors(kind: pa.DataType) -> bool:
    """Whether a column of that type can hold embeddings."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _from_list(values: pa.Array) -> Floats:
    if values.null_count:
        raise ValueError("a number of the list is null")
    return values.cast(pa.float64()).to_numpy()


def _from_json(text: str) -> Floats:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(found, list) or not all(type(each) in (int, float) for each in found):
        raise ValueError("no list of numbers")
    try:
        return np.array(found, np.float64)
    except OverflowError:
        raise ValueError("a number is too large") from None


# -- vectors -----------------------------------------------------------------------------------------------


def whole_vectors(embeddings: npt.ArrayLike) -> Vectors:
    """The directions of finite rows [rows, width] as whole numbers; a row of zeros stays, and is similar to nothing."""
    vectors = np.asarray(embeddings, np.float64)
    if vectors.ndim != 2 or vectors.shape[1] > MAX_WIDTH:
        raise ValueError(f"embeddings have shape {vectors.shape}, expected [rows, at most {MAX_WIDTH:,}]")
    # By powers of two first, which is exact, so that the length is one of whole numbers, and exact as well.
    exponents = np.frexp(np.abs(vectors).max(axis=1, initial=0.0))[1]
    whole = np.rint(np.ldexp(vectors, _BITS - exponents[:, None]))
    return np.rint(_over(whole * 2.0**_BITS, lengths(whole)[:, None])).astype(np.float32)


def lengths(whole: npt.NDArray[np.floating]) -> Floats:
    """[rows] of rows of whole numbers; exact but for the root."""
    wide = whole.astype(np.float64, copy=False)
    return np.sqrt(np.einsum("ij,ij->i", wide, wide))


def _over(values: Floats, by: Floats) -> Floats:
    return np.divide(values, by, out=np.zeros(np.broadcast_shapes(values.shape, by.shape)), where=by > 0)


def cosines(first: Vectors, second: Vectors) -> Floats:
    """[rows of first, rows of second] cosine similarities to 6 decimals."""
    products = first.astype(np.float64) @ second.astype(np.float64).T
    return np.minimum(np.round(_over(products, np.multiply.outer(lengths(first), lengths(second))), DECIMALS), 1.0)


# -- cells -------------------------------------------------------------------------------------------------


def nearest_cell(vectors: Vectors, centres: Vectors) -> tuple[Ints, Floats]:
    """[rows] the centre with the largest cosine, the smaller number on a tie; and that cosine.  Memory: one block."""
    cells, similarity = np.empty(len(vectors), np.int64), np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        block = cosines(vectors[start : start + _BLOCK], centres)
        best = np.argmax(block, axis=1)
        cells[start : start + _BLOCK] = best
        similarity[start : start + _BLOCK] = block[np.arange(len(block)), best]
    return cells, similarity


def fit_cells(sample: Vectors, cells: int, iterations: int = 20, seed: int = 0) -> Vectors:
    """[cells, width] centres of spherical k-means over a sample, in any order; the same for every order.

    The start is k-means++.  A cell that loses all its members takes the vector that fits its own centre worst.
    Stops early once no vector changes its cell.  Fewer distinct vectors than cells: fewer centres.
    """
    if cells < 1:
        raise ValueError(f"cells is {cells}, allowed is 1 or more")
    distinct = np.unique(sample, axis=0)
    distinct = distinct[distinct.any(axis=1)]
    if len(distinct) <= cells:
        return distinct if len(distinct) else np.zeros((1, sample.shape[1]), np.float32)
    centres = _start(distinct, cells, seed)
    before = np.full(len(distinct), -1)
    for _ in range(iterations):
        cell, fit = nearest_cell(distinct, centres)
        if np.array_equal(cell, before):
            break
        before = cell
        sums = np.zeros(centres.shape)
        np.add.at(sums, cell, distinct.astype(np.float64))  # of whole numbers: exact
        for lost in np.flatnonzero(np.bincount(cell, minlength=len(centres)) == 0):
            worst = int(np.argmin(fit))
            fit[worst] = 1.0
            sums[lost] = distinct[worst]
        centres = whole_vectors(sums)
    return centres


def _start(distinct: Vectors, cells: int, seed: int) -> Vectors:
    draws = random_words(seed, len(distinct) + cells)
    # Evenly over the sample, in an order that says nothing of the values.
    few = distinct[np.sort(np.argsort(draws[: len(distinct)], kind="stable")[: cells * _STARTS])]
    numbers = (draws[len(distinct) :] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    chosen = [int(numbers[0] * len(few))]
    distance = np.full(len(few), np.inf)
    while len(chosen) < cells:
        distance = np.minimum(distance, np.maximum(1 - cosines(few, few[chosen[-1:]])[:, 0], 0))
        weights = np.cumsum(np.rint(distance * 10.0**DECIMALS))
        if weights[-1] == 0:
            break
        chosen.append(int(np.searchsorted(weights, numbers[len(chosen)] * weights[-1], side="right")))
    return few[chosen]


# -- inside a cell -----------------------------------------------------------------------------------------


def similar_pairs(vectors: Vectors, threshold: float) -> Iterator[tuple[Ints, Ints, Floats]]:
    """(first, second, cosine) of all pairs of rows, first < second, with cosine >= threshold, block by block.

    Time n^2 products; memory one block of 2,048 x 2,048.
    """
    check_threshold(threshold)
    for i in range(0, len(vectors), _BLOCK):
        for j in range(i, len(vectors), _BLOCK):
            block = cosines(vectors[i : i + _BLOCK], vectors[j : j + _BLOCK])
            first, second = np.nonzero(block >= threshold)
            ordered = first + i < second + j
            first, second = first[ordered], second[ordered]
            if len(first):
                yield first + i, second + j, block[first, second]


def check_threshold(threshold: float) -> None:
    """Raises ValueError."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}, allowed is 0 < threshold <= 1")


def keep_first(vectors: Vectors, threshold: float) -> tuple[Ints, Floats]:
    """Of vectors in order of who stays: [rows] which kept one before it a row is most similar to, and how much.

    A row goes if a row that stays comes before it with cosine >= threshold; of several the most similar one is named,
    of equally similar ones the first.  A row that stays has -1 and NaN.  Time: rows x kept rows; memory: the kept rows
    and one block.
    """
    check_threshold(threshold)
    best, similarity = np.full(len(vectors), -1, np.int64), np.full(len(vectors), -1.0)
    kept = np.zeros(0, np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        mine = slice(start, start + len(block))
        for at in range(0, len(kept), _BLOCK):
            chosen = kept[at : at + _BLOCK]
            found = cosines(block, vectors[chosen])
            places = np.argmax(found, axis=1)
            values = found[np.arange(len(block)), places]
            better = values > similarity[mine]
            best[mine][better], similarity[mine][better] = chosen[places[better]], values[better]
        inside = cosines(block, block)
        stays = np.zeros(len(block), np.bool_)
        for row in range(len(block)):
            own = np.flatnonzero(stays[:row])
            if own.size:
                place = own[np.argmax(inside[row, own])]
                if inside[row, place] > similarity[start + row]:
                    best[start + row], similarity[start + row] = start + place, inside[row, place]
            stays[row] = similarity[start + row] < threshold
        kept = np.concatenate([kept, start + np.flatnonzero(stays)])
    best[kept], similarity[kept] = -1, np.nan
    return best, similarity
