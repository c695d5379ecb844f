"""minhash@bigcode-v1 and minhash@bigcode-v2: the signatures of The Stack's near-deduplication.

Reference: bigcode-project/bigcode-dataset @ bebec92, near_deduplication/minhash_deduplication.py
(v1, which also made the data of SantaCoder and StarCoder) and bigcode-v2/intra_dedup.py.  Shingles are 5 successive
tokens joined by a space, in UTF-8, and every single character that is no part of a token separates two: empty tokens
between are tokens.

    v1  tokens [A-Za-z_0-9]*, case kept; h = first 4 bytes of SHA-1, little-endian;
        256 values, min of ((a_j h + b_j) mod 2^64 mod (2^61 - 1)) mod 2^32
    v2  tokens \\w* of the lower-cased text; h = XXH32;
        250 values, min of ((a_j h + b_j) mod 2^32) mod (2^32 - 5)

A text of fewer than 5 tokens has the signature of the empty set, 2^32 - 1 in all places, by which the references put
all such files into one cluster; here `too_short` tells them, and deduplication leaves them alone.  Bands: 25 of 10 at
0.7, weighing missed and needless pairs alike.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.bands import EVEN_WEIGHT, Bands, choose_bands
from dedup.datasketch import sha1_hashes
from dedup.hashing import Hashes
from dedup.lower_case import small_sigma
from dedup.permutations import (
    PRIME_32,
    Words,
    alternating,
    minima_of,
    prime32_minima,
    prime61_low_minima,
    shingle_ranges,
)
from dedup.signature_columns import SHINGLES, TOO_SHORT, Shingles, distinct_shingles, list_column, text_rows
from dedup.xxhash import PADDING, xxh32, xxh64
from quality_signals.bad_words import lower_table
from quality_signals.codepoints import WORD, class_table
from quality_signals.compiled import njit
from quality_signals.dsir_digests import put_utf8
from quality_signals.rpv2_fold import fold_tables
from quality_signals.text_batch import SharedTexts, TextBatch

Version = Literal["v1", "v2"]
VERSIONS: tuple[Version, ...] = ("v1", "v2")
TOKENS = 5
PERMUTATIONS = {"v1": 256, "v2": 250}
SEED = 42
_EMPTY = 0xFFFFFFFF


@functools.cache
def permutations(version: Version) -> tuple[Any, Any]:
    """a and b: v1 uint64 [256] each, drawn in turn; v2 uint32 [250] each, all of a first."""
    if version == "v1":
        return alternating(SEED, PERMUTATIONS["v1"])
    generator = np.random.RandomState(SEED)
    a = generator.randint(1, PRIME_32, PERMUTATIONS["v2"], dtype=np.uint32)
    return a, generator.randint(0, PRIME_32, PERMUTATIONS["v2"], dtype=np.uint32)


@functools.cache
def token_table(version: Version) -> npt.NDArray[np.uint32]:
    """[1114112] the lower case (v2) or the character itself (v1) of what tokens are made of, 0 for what separates."""
    if version == "v1":
        table = np.zeros(0x110000, np.uint32)
        for c in range(0x80):
            if chr(c).isalnum() or c == ord("_"):
                table[c] = c
        return table
    lower = lower_table()
    # Lower-casing comes first, and what it gives is asked; the sigmas are word characters all.
    return np.where(class_table()[lower] & WORD, lower, 0).astype(np.uint32)


@njit(error_model="numpy")
def _tokens(points, offsets, table, dotted, context, utf8, starts, ends, tokens_of):  # type: ignore[no-untyped-def]
    """The tokens in UTF-8, one space behind each; returns their number.

    dotted: the text is lower-cased.  The dot of a lower-cased dotted I separates two tokens.
    """
    out = 0
    tokens = 0
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        starts[tokens] = out
        for i in range(start, end):
            c = points[i]
            letter = table[c]
            if dotted and c == 0x3A3:
                letter = small_sigma(points, i, start, end, context)
            if letter:
                out = put_utf8(utf8, out, letter)
            if letter == 0 or (dotted and c == 0x130):
                ends[tokens] = out
                tokens += 1
                utf8[out] = 32
                out += 1
                starts[tokens] = out
        ends[tokens] = out
        tokens += 1
        utf8[out] = 32
        out += 1
        tokens_of[text + 1] = tokens
    return tokens


def _token_ranges(texts: TextBatch, version: Version) -> tuple[npt.NDArray[np.uint8], Any, Any, Any]:
    """UTF-8 of the tokens; start and end of every shingle there; [texts + 1] the shingles before each text."""
    points = texts.points
    dotted = int(np.count_nonzero(points == 0x130))
    room = len(points) + dotted + len(texts) + 1
    starts, ends, tokens_of = np.empty(room, np.int64), np.empty(room, np.int64), np.zeros(len(texts) + 1, np.int64)
    utf8 = np.empty(room + 3 * int(np.count_nonzero(points >= 0x80)) + PADDING, np.uint8)
    tables = token_table(version), version == "v2", fold_tables().context
    count = _tokens(points, texts.offsets, *tables, utf8, starts, ends, tokens_of)
    return utf8, *shingle_ranges(starts[:count], ends[:count], tokens_of, TOKENS)


def v1_shingles(texts: TextBatch) -> Shingles:
    """View: by the first 8 bytes of SHA-1, little-endian; `low` is the reference's hash."""
    utf8, first, last, offsets = _token_ranges(texts, "v1")
    return distinct_shingles(sha1_hashes(utf8, first, last), offsets)


def v2_shingles(texts: TextBatch) -> Shingles:
    """View: by XXH32, as the reference has them."""
    utf8, first, last, offsets = _token_ranges(texts, "v2")
    hashes = np.empty(len(first), np.uint32)
    xxh32(utf8, first, last, hashes)
    return distinct_shingles(hashes.astype(np.uint64), offsets)


def v2_long_shingles(texts: TextBatch) -> Shingles:
    """View: by XXH64, for exact similarities, where a collision of 32 bits would count."""
    utf8, first, last, offsets = _token_ranges(texts, "v2")
    hashes = np.empty(len(first), np.uint64)
    xxh64(utf8, first, last, hashes)
    return distinct_shingles(hashes, offsets)


def signatures(shingles: Shingles, version: Version) -> Words:
    """[texts, 256 or 250] uint32."""
    kernel = prime61_low_minima if version == "v1" else prime32_minima
    found: Words = minima_of(kernel, shingles.low, shingles.offsets, *permutations(version), _EMPTY, np.uint32)
    return found


def band_key(signature: npt.ArrayLike, band: int, version: Version, rows: int = 10) -> bytes:
    """The key of a band as the reference writes it: big-endian uint64 in v1, little-endian uint32 in v2."""
    part = np.asarray(signature)[band * rows : (band + 1) * rows]
    return part.astype(">u8" if version == "v1" else "<u4").tobytes()


@dataclasses.dataclass(frozen=True)
class BigCodeMinHash:
    """Annotator: signature (list<uint64>, v1, or list<uint32>, v2), shingles and too_short of every text.

    Null for a row without text.  shingles: v1 distinct strings, v2 distinct hashes, as the references count them.
    """

    version: Version = "v2"

    column = "signature"

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"minhash@bigcode: version is {self.version!r}, allowed are {', '.join(VERSIONS)}")

    @property
    def name(self) -> str:
        return f"minhash@bigcode-{self.version}"

    @property
    def schema(self) -> pa.Schema:
        kind = pa.uint64() if self.version == "v1" else pa.uint32()
        description = f"{PERMUTATIONS[self.version]} minima; 2^32 - 1 in all places when too short"
        return pa.schema(
            [pa.field("signature", pa.list_(kind), metadata={"description": description}), SHINGLES, TOO_SHORT]
        )

    def bands(self, threshold: float) -> Bands:
        return choose_bands(threshold, PERMUTATIONS[self.version], EVEN_WEIGHT)

    def shingle_sets(self, texts: pa.Array) -> list[Hashes]:
        """Of every text the sorted hashes of the shingles that its signature is of."""
        return text_rows(texts).of(None).view(v1_shingles if self.version == "v1" else v2_long_shingles).sets()

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(None)
        shingles = texts.view(v1_shingles if self.version == "v1" else v2_shingles)
        found = signatures(shingles, self.version)
        columns = [
            list_column(found.astype(np.uint64) if self.version == "v1" else found, np.ones(len(texts), bool)),
            pa.array(shingles.counts.astype(np.int32)),
            pa.array(shingles.counts == 0),
        ]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=self.schema)
