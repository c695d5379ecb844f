"""minhash@datasketch and minhash@datasketch-legacy: the signatures of datasketch's MinHash(num_perm=128, seed=1).

Reference: datasketch 2.0.0, datasketch/minhash.py and hashfunc.py.  The set is that of the 5-word shingles of
`text.lower().split()`, words joined by a space, in UTF-8; h is the first 4 bytes of SHA-1, little-endian.

    minhash@datasketch         scheme "affine32", the default since 2.0: h is mixed by MurmurHash3's 32-bit finaliser,
                               then min of (a_j h + b_j) mod 2^32; a_j odd
    minhash@datasketch-legacy  the only scheme of 1.x: min of ((a_j h + b_j) mod 2^64 mod (2^61 - 1)) mod 2^32

A text of fewer than 5 words has the empty set, and the signature of it: 2^32 - 1 in all places.  The reference's LSH
makes all such texts duplicates of each other; here `too_short` tells them, and deduplication leaves them alone.
Bands: those of MinHashLSH(threshold), which weighs missed and needless pairs alike (14 of 9 at 0.7, 9 of 13 at 0.8).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.bands import EVEN_WEIGHT, Bands, choose_bands
from dedup.hashing import Hashes
from dedup.lower_case import small_sigma
from dedup.permutations import Words, affine32_minima, alternating, minima_of, prime61_low_minima, shingle_ranges
from dedup.signature_columns import SHINGLES, TOO_SHORT, Shingles, distinct_shingles, list_column, text_rows
from quality_signals.bad_words import lower_table
from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit
from quality_signals.dsir_digests import put_utf8, sha1_words
from quality_signals.rpv2_fold import fold_tables
from quality_signals.text_batch import SharedTexts, TextBatch

WORDS = 5
PERMUTATIONS = 128
SEED = 1
LEGACY = "minhash@datasketch-legacy"
_EMPTY = 0xFFFFFFFF


@functools.cache
def affine32(seed: int = SEED, count: int = PERMUTATIONS) -> tuple[Words, Words]:
    """a (odd) and b of the scheme affine32, [count] each."""
    generator = np.random.RandomState(seed)  # its stream is the definition
    a = generator.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, generator.randint(0, 1 << 32, count, dtype=np.uint32)


@functools.cache
def legacy(seed: int = SEED, count: int = PERMUTATIONS) -> tuple[Hashes, Hashes]:
    return alternating(seed, count)


def mixed32(h: Words) -> Words:
    """The 32-bit finaliser of MurmurHash3."""
    h = (h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return h ^ h >> np.uint32(16)


@njit(error_model="numpy")
def _lower_words(points, offsets, lower, classes, context, utf8, starts, ends, words_of):  # type: ignore[no-untyped-def]
    """The words of text.lower().split() in UTF-8, one space behind each; returns their number."""
    out = 0
    words = 0
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        inside = False
        for i in range(start, end):
            c = points[i]
            if classes[c] & SPACE:
                if inside:
                    ends[words] = out
                    words += 1
                    utf8[out] = 32
                    out += 1
                    inside = False
                continue
            if not inside:
                starts[words] = out
                inside = True
            if c == 0x3A3:
                out = put_utf8(utf8, out, small_sigma(points, i, start, end, context))
            else:
                out = put_utf8(utf8, out, lower[c])
                if c == 0x130:  # dotted I: i and the dot
                    out = put_utf8(utf8, out, np.uint32(0x307))
        if inside:
            ends[words] = out
            words += 1
            utf8[out] = 32
            out += 1
        words_of[text + 1] = words
    return words


def datasketch_shingles(texts: TextBatch) -> Shingles:
    """View: the shingles by the first 8 bytes of their SHA-1, little-endian; `low` is the reference's hash."""
    points = texts.points
    # At most one word to two characters, and 3 bytes for a character of 2 (the dotted I, or a longer small letter).
    room = len(points) // 2 + len(texts) + 1
    starts, ends, words_of = np.empty(room, np.int64), np.empty(room, np.int64), np.zeros(len(texts) + 1, np.int64)
    utf8 = np.empty(len(points) + 3 * int(np.count_nonzero(points >= 0x80)) + len(texts) + 8, np.uint8)
    tables = lower_table(), class_table(), fold_tables().context
    count = _lower_words(points, texts.offsets, *tables, utf8, starts, ends, words_of)
    first, last, offsets = shingle_ranges(starts[:count], ends[:count], words_of, WORDS)
    return distinct_shingles(sha1_hashes(utf8, first, last), offsets)


def sha1_hashes(utf8: npt.NDArray[np.uint8], first: Any, last: Any) -> Hashes:
    """The first 8 bytes of the SHA-1 of every utf8[first[i]:last[i]], little-endian."""
    digests = np.empty((len(first), 2), np.uint32)
    sha1_words(utf8, first, last, digests)
    return digests.byteswap().view("<u8").reshape(-1)


SCHEMA = pa.schema(
    [
        pa.field(
            "hashvalues",
            pa.list_(pa.uint64()),
            metadata={"description": "hash values of datasketch's MinHash; 2^32 - 1 in all places when too short"},
        ),
        SHINGLES,
        TOO_SHORT,
    ]
)


@dataclasses.dataclass(frozen=True)
class DatasketchMinHash:
    """Annotator: hashvalues (list<uint64>), shingles and too_short of every text; null for a row without text."""

    name: str = "minhash@datasketch"
    column: ClassVar[str] = "hashvalues"
    schema: ClassVar[pa.Schema] = SCHEMA

    def bands(self, threshold: float) -> Bands:
        """(b, r) of MinHashLSH(threshold, num_perm=128)."""
        return choose_bands(threshold, PERMUTATIONS, EVEN_WEIGHT)

    def shingle_sets(self, texts: pa.Array) -> list[Hashes]:
        """Of every text the sorted hashes of the shingles that its signature is of."""
        return text_rows(texts).of(None).view(datasketch_shingles).sets()

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(None)
        shingles = texts.view(datasketch_shingles)
        if self.name == LEGACY:
            found = minima_of(prime61_low_minima, shingles.low, shingles.offsets, *legacy(), _EMPTY, np.uint32)
        else:
            mixed = mixed32(shingles.low)
            found = minima_of(affine32_minima, mixed, shingles.offsets, *affine32(), _EMPTY, np.uint32)
        columns = [
            list_column(found.astype(np.uint64), np.ones(len(texts), bool)),
            pa.array(shingles.counts.astype(np.int32)),
            pa.array(shingles.counts == 0),
        ]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=SCHEMA)
