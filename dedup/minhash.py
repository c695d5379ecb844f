"""minhash@1: MinHash signatures of the set of 5-word shingles, and a hash of the exact text.

    signature[j] = min over shingles s of (a_j * (s >> 32) + b_j) mod 2^32        j = 0 ... 127

a_j (odd) and b_j are outputs of SplitMix64 from a fixed seed, s the 64-bit hash of a shingle, mixed.  The share of
equal positions of two signatures estimates the Jaccard similarity J of the two sets with standard deviation
sqrt(J (1 - J) / 128).  The signature of a union is the minimum of the signatures.

Why this family: an odd factor is a bijection of 32 bits, so that only the hashes of shingles collide (n / 2^32 for a
text of n), and a vector of 32-bit products is one instruction of common machines, where 64 bits take many.  Measured
on 12,000 English web texts (448 shingles on average), one core of an AMD EPYC with 256-bit vectors, against the exact
similarity of 5,798 pairs above 0.2 (1,668 of them above 0.8); `error` is that of the estimate relative to theory,
`short` the same for texts below 150 shingles, `recall` that of the bands that are chosen for 0.8, `needless` the share
of the pairs below 0.8 that become candidates, MB/s of text without shingling (shingling alone: 220):

    family                                     values  MB/s  error  short  bands   recall  needless
    multiply-shift, high half of 64 bits          128    76   1.01   0.99   21x6   1.0000      0.33
    a h + b mod 2^32                               64  2188   1.01   1.02   12x4   1.0000      0.44
    a h + b mod 2^32                              128  1215   1.01   1.02   21x6   1.0000      0.31
    a h + b mod 2^32                              192   854   1.00   1.00   27x7   0.9988      0.28
    a h + b mod 2^32                              256   599   1.00   1.01   32x8   1.0000      0.24
    h + b mod 2^32, one permutation shifted       128   582   1.24   1.57   21x6   1.0000      0.31
    one permutation, densified                    128  2024   0.92   0.97   21x6   1.0000      0.32
    one permutation, densified                    256   948   0.95   1.04   32x8   0.9994      0.25

The pairs are those that 42 bands of 3 of the first family find, which bears on its own row only: its pairs of low
similarity are the ones that it overrates.  Against all pairs of 19,505 such texts (60 MB), found without hashing,
the 7,836 candidates of minhash@1 at 0.8, measured, have 4,375 of the 4,377 at 0.8 and above (0.9995), and no other.

One permutation hashing is no worse, but its signatures of two parts do not give that of the whole, and shingling takes
the time either way.  128 values are 512 bytes a document; 256 spare a quarter of the needless candidates, which cost
less to measure than the other 512 bytes to keep and read.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.bands import Bands, choose_bands
from dedup.hashing import Hashes, random_words
from dedup.permutations import Words, affine32_minima
from dedup.shingles import (
    KINDS,
    Shingle,
    check_shingle,
    distinct,
    room_for,
    scan_shingles,
    shingle_sets,
    slots_for,
    table_of,
    utf8_buffers,
)
from quality_signals.compiled import njit

PERMUTATIONS = 128
_SEED = 0x6772697374  # 'grist'
_HIGH = np.uint64(32)
_MAX = np.uint32(0xFFFFFFFF)
# Bytes of the exact-text hash: sha256 cut to 128 bits; 2^64 documents before a collision is likely.
TEXT_HASH_BYTES = 16


@functools.cache
def permutations(count: int = PERMUTATIONS) -> tuple[Words, Words]:
    """The multipliers (odd) and the addends of the hash family, [count] each: halves of the outputs."""
    words = random_words(_SEED, count)
    return (words >> _HIGH).astype(np.uint32) | np.uint32(1), words.astype(np.uint32)


@njit()
def _signatures(kind, data, offsets, table, n, canonical, a, b, signatures, shingles):  # type: ignore[no-untyped-def]
    room = room_for(kind, offsets)
    hashes = np.empty(room, np.uint64)
    high = np.empty(room, np.uint32)
    slots = slots_for(room)
    last = np.empty(n, np.uint64)
    bounds = np.zeros(2, np.int64)
    for row in range(offsets.size - 1):
        count = scan_shingles(kind, data, offsets[row], offsets[row + 1], table, n, canonical, last, hashes)
        count = distinct(hashes, count, slots)
        shingles[row] = count
        if count:
            for i in range(count):
                high[i] = np.uint32(hashes[i] >> _HIGH)
            signatures[row, :] = _MAX
            bounds[1] = count
            affine32_minima(high, bounds, a, b, signatures[row : row + 1])


def signatures(
    texts: pa.Array,
    n: int | None = None,
    count: int = PERMUTATIONS,
    shingle: Shingle = "words",
    canonical: bool = True,
) -> tuple[Words, npt.NDArray[np.int32]]:
    """Signatures [rows, count], 0 where a text has no shingle; the numbers of distinct shingles [rows]."""
    n = check_shingle(shingle, n)
    data, offsets = utf8_buffers(texts)
    found = np.zeros((len(texts), count), np.uint32)
    shingles = np.zeros(len(texts), np.int32)
    if len(texts):
        kind = KINDS.index(shingle)
        _signatures(kind, data, offsets, table_of(shingle), n, canonical, *permutations(count), found, shingles)
    return found, shingles


def text_hashes(texts: pa.Array) -> pa.Array:
    """First 16 bytes of the sha256 of the UTF-8 of every text, null where it is null."""
    data, offsets = utf8_buffers(texts)
    view = data.data
    bounds = offsets.tolist()
    sha256 = hashlib.sha256
    hashed: list[bytes | None] = [
        sha256(view[start:stop]).digest()[:TEXT_HASH_BYTES] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    if texts.null_count:
        hashed = [h if valid else None for h, valid in zip(hashed, texts.is_valid().to_pylist(), strict=True)]
    return pa.array(hashed, pa.binary(TEXT_HASH_BYTES))


def lists_or_null(values: npt.NDArray[np.uint32], present: npt.NDArray[np.bool_]) -> pa.Array:
    """The rows of `values` [rows, width] as list<uint32>, null where not `present`."""
    lengths = np.where(present, values.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[present].reshape(-1)), mask=pa.array(~present))


@dataclasses.dataclass(frozen=True)
class MinHash:
    """Annotator: signature, text_hash and shingles of every document; sees `text` only.

    shingle    words, characters, code or dna: `dedup.shingles`
    n          parts of a shingle; None: 5 words, 24 characters, 5 tokens of code, 21 bases
    count      values of a signature
    canonical  of dna: a k-mer and its reverse complement are the same
    name       minhash@1, or minhash_<shingle>@1

    A text too short to shingle has no signature (null) and is nobody's near-duplicate.
    Memory: about 10, at most 20 times the longest document's bytes (words), up to 45 times (other shingles), and 512
    bytes a row.
    """

    shingle: Shingle = "words"
    n: int | None = None
    count: int = PERMUTATIONS
    canonical: bool = True
    name: str = ""

    column = "signature"

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", "minhash@1" if self.shingle == "words" else f"minhash_{self.shingle}@1")
        try:
            object.__setattr__(self, "n", check_shingle(self.shingle, self.n))
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        if self.count < 1:
            raise ValueError(f"{self.name}: count is {self.count}, must be 1 or more")

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(
                    "signature",
                    pa.list_(pa.uint32()),
                    metadata={"description": f"MinHash of shingles of {self.n} {self.shingle}; null when too short"},
                ),
                pa.field(
                    "text_hash",
                    pa.binary(TEXT_HASH_BYTES),
                    metadata={"description": "first 16 bytes of sha256 of the text"},
                ),
                pa.field("shingles", pa.int32(), metadata={"description": "distinct shingles", "unit": "shingles"}),
            ]
        )

    def bands(self, threshold: float) -> Bands:
        """Bands that miss few pairs, since every candidate is measured: `dedup.bands`."""
        return choose_bands(threshold, self.count)

    def shingle_sets(self, texts: pa.Array) -> list[Hashes]:
        """Of every text the sorted hashes of the shingles that its signature is of."""
        return shingle_sets(texts, self.n, self.shingle, self.canonical)

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        texts = batch.column("text")
        found, shingles = signatures(texts, self.n, self.count, self.shingle, self.canonical)
        columns = [lists_or_null(found, shingles > 0), text_hashes(texts), pa.array(shingles)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
