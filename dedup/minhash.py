"""minhash@1: MinHash signatures of the set of 5-word shingles, and a hash of the exact text.

    signature[j] = min over shingles s of ((a_j * s + b_j) mod 2^64) >> 32        j = 0 ... 127

a_j odd and b_j are the outputs of SplitMix64 from a fixed seed.  Multiply-shift over 64-bit shingle hashes
that are themselves mixed: one multiplication a permutation, vectorised.  The share of equal positions of two
signatures estimates the Jaccard similarity of the two sets with standard deviation sqrt(J (1 - J) / 128).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.hashing import Hashes, random_words
from dedup.shingles import WORDS, scan_words, utf8_buffers, word_table, words_to_shingles

# 128 permutations: datasketch's and RedPajama-V2's default.
PERMUTATIONS = 128
_SEED = 0x6772697374  # 'grist'
_HIGH = np.uint64(32)
_MAX = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
# Bytes of the exact-text hash: sha256 cut to 128 bits; 2^64 documents before a collision is likely.
TEXT_HASH_BYTES = 16


@functools.cache
def permutations(count: int = PERMUTATIONS) -> tuple[Hashes, Hashes]:
    """The multipliers (odd) and the addends of the hash family, [count] each."""
    words = random_words(_SEED, 2 * count)
    return words[0::2] | _ONE, words[1::2].copy()


@numba.njit(cache=True, nogil=True)
def _distinct(hashes, count, slots):  # type: ignore[no-untyped-def]
    """Moves the distinct ones of hashes[:count] (none 0) to the front; slots: zeroed, a power of two long."""
    mask = np.uint64(slots.size - 1)
    kept = 0
    for i in range(count):
        value = hashes[i]
        slot = value & mask
        while slots[slot] != _ZERO and slots[slot] != value:
            slot = (slot + _ONE) & mask
        if slots[slot] == _ZERO:
            slots[slot] = value
            hashes[kept] = value
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)
def _minima(hashes, count, a, b, minima):  # type: ignore[no-untyped-def]
    """minima[j] = min over hashes[:count] of a[j] * hash + b[j], modulo 2^64."""
    for j in range(a.size):
        minima[j] = _MAX
    for i in range(count):
        value = hashes[i]
        for j in range(a.size):
            minima[j] = min(minima[j], a[j] * value + b[j])


@numba.njit(cache=True, nogil=True)
def _signatures(data, offsets, table, n, a, b, signatures, shingles):  # type: ignore[no-untyped-def]
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    words = np.empty(longest // 2 + 1, np.uint64)
    minima = np.empty(a.size, np.uint64)
    for row in range(offsets.size - 1):
        count = words_to_shingles(words, scan_words(data, offsets[row], offsets[row + 1], table, words), n)
        size = 8
        while size < 2 * count:
            size *= 2
        count = _distinct(words, count, np.zeros(size, np.uint64))
        shingles[row] = count
        if count:
            _minima(words, count, a, b, minima)
            for j in range(a.size):
                signatures[row, j] = np.uint32(minima[j] >> _HIGH)


def signatures(
    texts: pa.Array, n: int = WORDS, count: int = PERMUTATIONS
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
    """Signatures [rows, count], 0 where a text has no shingle; the numbers of distinct shingles [rows]."""
    data, offsets = utf8_buffers(texts)
    rows = len(texts)
    found = np.zeros((rows, count), np.uint32)
    shingles = np.zeros(rows, np.int32)
    if rows:
        a, b = permutations(count)
        _signatures(data, offsets, word_table(), n, a, b, found, shingles)
    return found, shingles


def text_hashes(texts: pa.Array) -> pa.Array:
    """First 16 bytes of the sha256 of the UTF-8 of every text, null where it is null."""
    data, offsets = utf8_buffers(texts)
    view = data.data
    bounds = offsets.tolist()
    sha256 = hashlib.sha256
    hashed: list[bytes | None] = [
        sha256(view[start:stop]).digest()[:TEXT_HASH_BYTES]
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    if texts.null_count:
        hashed = [h if valid else None for h, valid in zip(hashed, texts.is_valid().to_pylist(), strict=True)]
    return pa.array(hashed, pa.binary(TEXT_HASH_BYTES))


def lists_or_null(values: npt.NDArray[np.uint32], present: npt.NDArray[np.bool_]) -> pa.Array:
    """The rows of `values` [rows, width] as list<uint32>, null where not `present`."""
    lengths = np.where(present, values.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values[present].reshape(-1)), mask=pa.array(~present)
    )


@dataclasses.dataclass(frozen=True)
class MinHash:
    """Annotator: signature, text_hash and shingles of every document; sees `text` only.

    Memory: about 10, at most 20 times the longest document's bytes, and 512 bytes a row.
    """

    words: int = WORDS
    count: int = PERMUTATIONS
    name: str = "minhash@1"

    def __post_init__(self) -> None:
        if self.words < 1 or self.count < 1:
            raise ValueError(f"{self.name}: words {self.words} and count {self.count} must be 1 or more")

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(
                    "signature",
                    pa.list_(pa.uint32()),
                    metadata={"description": f"MinHash of {self.words}-word shingles; null when too short"},
                ),
                pa.field(
                    "text_hash",
                    pa.binary(TEXT_HASH_BYTES),
                    metadata={"description": "first 16 bytes of sha256 of the text"},
                ),
                pa.field(
                    "shingles", pa.int32(), metadata={"description": "distinct shingles", "unit": "shingles"}
                ),
            ]
        )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        texts = batch.column("text")
        found, shingles = signatures(texts, self.words, self.count)
        columns = [lists_or_null(found, shingles > 0), text_hashes(texts), pa.array(shingles)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
