"""Bands: which pairs of documents are worth measuring.

A signature is cut into b bands of r positions.  Two documents are candidates if a whole band is equal, which
happens with probability P(J) = 1 - (1 - J^r)^b.  For a threshold s, (b, r) minimises

    (1 - w) * integral of P from 0 to s   +   w * integral of 1 - P from s to 1        with b * r <= 128

Every candidate is measured afterwards, so a needless one costs a little time and a missed one is lost:
w = 0.998 here, against 0.5 in tools that do not verify.  It gives P(s) >= 0.99 for every s in 0.5 ... 0.95:

    s      0.5    0.6    0.7    0.8    0.85   0.9    0.95
    b x r  42x3   28x3   24x4   21x6   16x8   12x10  9x14
    P(s)   0.996  0.999  0.999  0.998  0.994  0.994  0.998

At s = 0.8, 21 bands of 6 rows: P(0.3) = 0.015, P(0.5) = 0.28, P(0.6) = 0.63, P(0.7) = 0.93, P(0.75) = 0.98,
P(0.8) = 0.9983, P(0.85) = 0.99995, P(0.9) = 1.0.  The customary 9 x 13 has P(0.8) = 0.40.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dedup.hashing import Hashes, mix64, random_words
from quality_signals.compiled import njit

# Weight of the missed pairs: see the table above.
MISSED_WEIGHT = 0.998
# Weight that RedPajama-V2 and datasketch give to missed pairs.
EVEN_WEIGHT = 0.5
# Groups up to this size are compared pair by pair (2,016 pairs); larger ones give 2 n - 3 pairs.
ALL_PAIRS_GROUP = 64
# The lowest bits of a band key are the band's number; 56 bits are hash.  A chance collision is measured away.
BAND_BITS = 8
_BAND_MASK = np.uint64((1 << BAND_BITS) - 1)
_SEED = 0x62616E6473  # 'bands'
_M = np.uint64(0x9FB21C651E98DF25)
_HALF = np.uint64(32)

PAIR = np.dtype([("first", "<u8"), ("second", "<u8"), ("tag", "<u8")])
"""Two documents, first < second, and what the pair is carried for: a band number, or who asked."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bands:
    count: int
    rows: int  # positions of the signature in a band

    def probability(self, similarity: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """P(J): that two documents of that similarity are candidates."""
        return 1.0 - (1.0 - np.asarray(similarity, np.float64) ** self.rows) ** self.count


@functools.cache
def choose_bands(threshold: float, permutations: int, missed_weight: float = MISSED_WEIGHT) -> Bands:
    """The bands with the least weighted error; of equals the one with fewer bands, then fewer rows."""
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold {threshold} is not in (0, 1]")
    # 64 Gauss-Legendre nodes integrate polynomials up to degree 127 exactly; P is smooth beyond.
    nodes, weights = np.polynomial.legendre.leggauss(64)
    below = threshold * (nodes + 1) / 2
    above = threshold + (1 - threshold) * (nodes + 1) / 2
    best, chosen = float("inf"), Bands(1, 1)
    for count in range(1, min(permutations, 1 << BAND_BITS) + 1):
        for rows in range(1, permutations // count + 1):
            bands = Bands(count, rows)
            needless = weights @ bands.probability(below) * threshold / 2
            missed = weights @ (1 - bands.probability(above)) * (1 - threshold) / 2
            error = float((1 - missed_weight) * needless + missed_weight * missed)
            if error < best:
                best, chosen = error, bands
    return chosen


@njit()
def _band_keys(signatures, count, rows, seeds, keys):  # type: ignore[no-untyped-def]
    for document in range(signatures.shape[0]):
        for band in range(count):
            state = seeds[band]
            for position in range(band * rows, (band + 1) * rows):
                state = (state ^ np.uint64(signatures[document, position])) * _M
                state ^= state >> _HALF
            keys[document, band] = (mix64(state) & ~_BAND_MASK) | np.uint64(band)


def band_keys(signatures: npt.NDArray[np.uint32], bands: Bands) -> Hashes:
    """Keys [documents, bands]: equal keys mean equal bands (but for chance, 2^-56) of the same number."""
    if bands.count * bands.rows > signatures.shape[1]:
        raise ValueError(f"{bands} need more than the {signatures.shape[1]} positions of a signature")
    keys = np.empty((signatures.shape[0], bands.count), np.uint64)
    seeds = random_words(_SEED, bands.count)
    _band_keys(np.ascontiguousarray(signatures), bands.count, bands.rows, seeds, keys)
    return keys


@njit()
def _fill_pairs(keys, addresses, starts, sizes, first, second, band):  # type: ignore[no-untyped-def]
    out = 0
    for group in range(starts.size):
        start, size = starts[group], sizes[group]
        number = keys[start] & _BAND_MASK
        if size <= ALL_PAIRS_GROUP:
            for i in range(start, start + size):
                for j in range(i + 1, start + size):
                    first[out], second[out], band[out] = addresses[i], addresses[j], number
                    out += 1
        else:
            for i in range(start + 1, start + size):
                first[out], second[out], band[out] = addresses[start], addresses[i], number
                out += 1
            for i in range(start + 2, start + size):
                first[out], second[out], band[out] = addresses[i - 1], addresses[i], number
                out += 1


def _repeated(keys: Hashes, addresses: Hashes) -> tuple[Hashes, Hashes]:
    """The records whose key another one has too, in any order: few as a rule, so that the rest is sorted once only."""
    order = np.argsort(keys)
    ordered = keys[order]
    again = np.zeros(keys.size + 1, np.bool_)
    again[1:-1] = ordered[1:] == ordered[:-1]
    chosen = order[again[1:] | again[:-1]]
    return keys[chosen], addresses[chosen]


def candidate_pairs(keys: Hashes, addresses: Hashes, max_pairs: int = 1 << 20) -> Iterator[np.ndarray]:
    """PAIR arrays (tag: band) of the documents that share a band key, about `max_pairs` to an array.

    A group of up to 64 documents gives all its pairs.  A larger one, boilerplate as a rule, gives each member
    with the smallest address and each with its neighbour in order of address: 2 n - 3 pairs.
    keys, addresses: [records], any order.  Memory: 40 bytes a record and 48 a pair of an array.
    """
    keys, addresses = _repeated(keys, addresses)
    order = np.lexsort((addresses, keys))
    keys, addresses = keys[order], addresses[order]
    fresh = np.ones(keys.size, np.bool_)
    fresh[1:] = (keys[1:] != keys[:-1]) | (addresses[1:] != addresses[:-1])
    keys, addresses = keys[fresh], addresses[fresh]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if keys.size else np.zeros(0, int)
    sizes = np.diff(starts, append=keys.size)
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    counts = np.where(sizes <= ALL_PAIRS_GROUP, sizes * (sizes - 1) // 2, 2 * sizes - 3)
    chunks = np.cumsum(counts) // max_pairs
    for chunk in np.unique(chunks):
        chosen = chunks == chunk
        pairs = np.empty(int(counts[chosen].sum()), PAIR)
        _fill_pairs(keys, addresses, starts[chosen], sizes[chosen], pairs["first"], pairs["second"], pairs["tag"])
        yield pairs


def sorted_pairs(pairs: np.ndarray) -> np.ndarray:
    """By first, then second, then tag."""
    return pairs[np.lexsort((pairs["tag"], pairs["second"], pairs["first"]))]


def distinct_pairs(pairs: np.ndarray) -> np.ndarray:
    """Each pair once, with its smallest tag, sorted."""
    pairs = sorted_pairs(pairs)
    fresh = np.ones(pairs.size, np.bool_)
    fresh[1:] = (pairs["first"][1:] != pairs["first"][:-1]) | (pairs["second"][1:] != pairs["second"][:-1])
    return pairs[fresh]


def find_pairs(wanted: np.ndarray, among: np.ndarray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For every wanted pair its index in `among` (distinct pairs, any order), and whether it is there."""
    ends = np.concatenate([wanted["first"], wanted["second"], among["first"], among["second"]])
    nodes, codes = np.unique(ends, return_inverse=True)
    split = 2 * wanted.size
    # A pair becomes one number below nodes^2, which fits 64 bits for up to 4 billion nodes.
    left, right = codes[:split].reshape(2, -1), codes[split:].reshape(2, -1)
    asked, known = left[0] * nodes.size + left[1], right[0] * nodes.size + right[1]
    if not among.size:
        return np.zeros(wanted.size, np.int64), np.zeros(wanted.size, np.bool_)
    order = np.argsort(known)
    place = order[np.minimum(np.searchsorted(known[order], asked), order.size - 1)]
    return place, known[place] == asked
