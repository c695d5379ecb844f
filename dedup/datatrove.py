"""minhash@datatrove and minhash_sha1@datatrove: the signatures of datatrove's MinhashDedupSignature.

Reference: datatrove 0.10.1, pipeline/dedup/minhash.py: 5-grams of the words of `simplify_text(text)`, joined by a
space; 14 buckets of 8 values; numpy's RandomState(1), all 112 of a, then all of b.

    h          XXH64 of the shingle in UTF-8 (the library's default), or the first 8 bytes of its SHA-1,
               little-endian (FineWeb: minhash_sha1@datatrove)
    signature  min of (a_j h + b_j) mod 2^64 mod (2^61 - 1)

A text of fewer than 5 words has no signature, and the reference keeps it; null here, as
for a text whose language has no tokenizer.  The buckets are the bands at any threshold: P(J) = 1 - (1 - J^8)^14, which
is 0.65 at 0.72 and 0.924 at 0.8.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from dedup.bands import Bands
from dedup.datasketch import sha1_hashes
from dedup.hashing import Hashes
from dedup.lower_case import joined_words
from dedup.permutations import PRIME, minima_of, prime61_minima, shingle_ranges
from dedup.signature_columns import SHINGLES, Shingles, distinct_shingles, list_column, text_rows
from dedup.simplified import simplified
from dedup.xxhash import xxh64
from quality_signals.text_batch import SharedTexts, TextBatch
from quality_signals.word_views import datatrove_words

Hash = Literal["xxhash", "sha1"]
HASHES: tuple[Hash, ...] = ("xxhash", "sha1")
WORDS = 5
BUCKETS = Bands(14, 8)
SEED = 1


@functools.cache
def permutations(seed: int = SEED) -> tuple[Hashes, Hashes]:
    """a and b, [112] each."""
    generator = np.random.RandomState(seed)  # its stream is the definition
    count = BUCKETS.count * BUCKETS.rows
    a = generator.randint(1, PRIME, count, dtype=np.uint64)
    return a, generator.randint(0, PRIME, count, dtype=np.uint64)


def datatrove_shingles(texts: TextBatch, hashed: Hash, default_language: str) -> Shingles:
    """View: the distinct hashes of the 5-grams of every text."""
    words = texts.view(simplified).view(datatrove_words, default_language)
    utf8, starts, ends = joined_words(words.points, words.starts, words.ends)
    first, last, offsets = shingle_ranges(starts, ends, words.offsets, WORDS)
    if hashed == "sha1":
        return distinct_shingles(sha1_hashes(utf8, first, last), offsets)
    hashes = np.empty(len(first), np.uint64)
    xxh64(utf8, first, last, hashes)
    return distinct_shingles(hashes, offsets)


SCHEMA = pa.schema(
    [
        pa.field(
            "signature",
            pa.list_(pa.list_(pa.uint64())),
            metadata={"description": "14 buckets of 8 values; null below 5 words"},
        ),
        SHINGLES,
    ]
)


@dataclasses.dataclass(frozen=True)
class DatatroveMinHash:
    """Annotator: signature (14 lists of 8 uint64) and shingles of every text.

    default_language: whose tokenizer splits a text without a language.
    """

    hash: Hash = "xxhash"
    default_language: str = "en"

    column: ClassVar[str] = "signature"
    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.hash not in HASHES:
            raise ValueError(f"minhash@datatrove: hash is {self.hash!r}, allowed are {', '.join(HASHES)}")

    @property
    def name(self) -> str:
        return "minhash@datatrove" if self.hash == "xxhash" else "minhash_sha1@datatrove"

    def bands(self, threshold: float) -> Bands:
        """The buckets; the reference has one choice for every threshold."""
        return BUCKETS

    def shingle_sets(self, texts: pa.Array, languages: pa.Array | None = None) -> list[Hashes]:
        """Of every text the sorted hashes of the shingles that its signature is of, given its language."""
        rows = text_rows(texts, languages).of(None)
        return rows.view(datatrove_shingles, self.hash, self.default_language).sets()

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(None)
        shingles = texts.view(datatrove_shingles, self.hash, self.default_language)
        found = minima_of(prime61_minima, shingles.hashes, shingles.offsets, *permutations(), PRIME, np.int64)
        columns = [
            list_column(found.view(np.uint64), shingles.counts > 0, BUCKETS.count),
            pa.array(shingles.counts.astype(np.int32)),
        ]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=SCHEMA)
