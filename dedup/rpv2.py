"""minhash@rpv2: the MinHash signatures of RedPajama-V2, byte for byte.

Reference: togethercomputer/RedPajama-Data @ 6d2cee9, app/src/dedupe: 13-word shingles of normalised words,
128 permutations, seed 42.

    hash of a shingle   first 4 bytes of SHA-1 of its words joined by a space (UTF-8), little-endian
    signature[j]        min over shingles of ((h a_j + b_j) mod 2^64 mod (2^61 - 1)) mod 2^32

A compatibility column for corpora that join with the published ones; `minhash@1` is what deduplication uses.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.bands import EVEN_WEIGHT, Bands, choose_bands
from dedup.hashing import Hashes
from dedup.permutations import alternating, minima_of, prime61_low_minima
from dedup.signature_columns import text_rows
from quality_signals.compiled import njit
from quality_signals.dsir_digests import put_utf8, sha1_words
from quality_signals.text_batch import SharedTexts, TextBatch
from quality_signals.views import norm_words

WORDS = 13
PERMUTATIONS = 128
THRESHOLDS = (0.7, 0.8, 0.9, 1.0)
_SEED = 42
_EMPTY = (1 << 32) - 1

BANDS_TYPE = pa.list_(pa.binary())
SCHEMA = pa.schema(
    [
        pa.field(
            f"signature_sim{threshold}",
            BANDS_TYPE,
            metadata={"description": "one string a band: big-endian uint32 values; null below 13 words"},
        )
        for threshold in THRESHOLDS
    ]
)


@functools.cache
def permutations() -> tuple[Hashes, Hashes]:
    """a and b, [128] each."""
    return alternating(_SEED, PERMUTATIONS)


@njit(error_model="numpy")
def _encode(points, starts, ends, utf8, byte_starts, byte_ends):  # type: ignore[no-untyped-def]
    """The words points[starts[i]:ends[i]] in UTF-8, joined by one space: word i is
    utf8[byte_starts[i]:byte_ends[i]].  Returns the number of bytes."""
    out = 0
    for word in range(len(starts)):
        byte_starts[word] = out
        for i in range(starts[word], ends[word]):
            out = put_utf8(utf8, out, points[i])
        byte_ends[word] = out
        utf8[out] = 32
        out += 1
    return out


def signatures(texts: TextBatch) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """[texts, 128]; and [texts], whether a text has the 13 normalised words that make a shingle.

    Time linear in the bytes of all shingles, 13 times the text's.  Memory: 4 bytes a character and 32 a word beside
    the view of words.
    """
    offsets = texts.view(norm_words).offsets
    counts = np.maximum(np.diff(offsets) - (WORDS - 1), 0)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    places = np.arange(bounds[-1]) + np.repeat(offsets[:-1] - bounds[:-1], counts)
    # The first word of a digest as it stands in the bytes is big-endian, what is permuted little-endian.
    hashes = _digests(texts, 1)[places, 0].byteswap()
    found = minima_of(prime61_low_minima, hashes, bounds, *permutations(), _EMPTY, np.uint32)
    return found, counts > 0


def _digests(texts: TextBatch, parts: int) -> npt.NDArray[np.uint32]:
    """[words, parts] first 32-bit words of the SHA-1 of the shingle that begins with each word of the batch.

    The few shingles that begin in one text and end in the next are hashed too, and are not to be used.
    """
    words = texts.view(norm_words)
    count = len(words.starts)
    points = words.points
    utf8 = np.empty(len(points) + 3 * int(np.count_nonzero(points >= 0x80)) + count, np.uint8)
    starts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
    _encode(points, words.starts, words.ends, utf8, starts, ends)
    hashes = np.empty((count, parts), np.uint32)
    shingles = max(count - WORDS + 1, 0)
    if (np.diff(words.offsets) >= WORDS).any():
        sha1_words(utf8, starts[:shingles], ends[WORDS - 1 :], hashes[:shingles])
    return hashes


def _bands_column(values: npt.NDArray[np.uint32], present: npt.NDArray[np.bool_], bands: Bands) -> pa.ListArray:
    """values [texts, 128] -> for each text the bands as big-endian bytes; null where not present."""
    chosen = values[present, : bands.count * bands.rows].astype(">u4")
    ends = np.arange(chosen.shape[0] * bands.count + 1, dtype=np.int64) * (4 * bands.rows)
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"minhash@rpv2: {len(values)} texts are too many for one batch")
    parts = pa.BinaryArray.from_buffers(
        pa.binary(),
        len(ends) - 1,
        [None, pa.py_buffer(ends.astype(np.int32).tobytes()), pa.py_buffer(chosen.tobytes())],
    )
    offsets = np.zeros(len(present) + 1, np.int32)
    np.cumsum(present * bands.count, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), parts, mask=pa.array(~present))


@dataclasses.dataclass(frozen=True)
class RedPajamaMinHash:
    """Annotator: for the thresholds 0.7, 0.8, 0.9 and 1.0 the bands as byte strings; null for a text of fewer than
    13 normalised words, and for a row without text."""

    name: ClassVar[str] = "minhash@rpv2"
    schema: ClassVar[pa.Schema] = SCHEMA

    def column_of(self, threshold: float) -> str:
        """Raises ValueError for a threshold that has no signatures."""
        if threshold not in THRESHOLDS:
            allowed = ", ".join(map(str, THRESHOLDS))
            raise ValueError(f"{self.name} has signatures for the thresholds {allowed}, not {threshold}")
        return f"signature_sim{threshold}"

    def bands(self, threshold: float) -> Bands:
        return choose_bands(threshold, PERMUTATIONS, EVEN_WEIGHT)

    def shingle_sets(self, texts: pa.Array) -> list[Hashes]:
        """Of every text the sorted hashes of the shingles that its signature is of: 64 bits of their SHA-1."""
        rows = text_rows(texts).of(None)
        offsets = rows.view(norm_words).offsets
        digests = _digests(rows, 2).astype(np.uint64)
        hashes = digests[:, 0] << np.uint64(32) | digests[:, 1]
        bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        return [np.unique(hashes[start : max(start, stop - WORDS + 1)]) for start, stop in bounds]

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(None)
        found, present = signatures(texts)
        columns = [texts.scatter(_bands_column(found, present, self.bands(threshold))) for threshold in THRESHOLDS]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
