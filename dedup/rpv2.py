"""minhash@rpv2: the MinHash signatures of RedPajama-V2, byte for byte.

Reference: togethercomputer/RedPajama-Data @ 6d2cee9, 13-word shingles, 128 permutations, seed 42.
A compatibility column for corpora that join with the published ones; `minhash@1` is what deduplication uses.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import string
import unicodedata

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.bands import EVEN_WEIGHT, choose_bands
from dedup.hashing import Hashes

WORDS = 13
PERMUTATIONS = 128
THRESHOLDS = (0.7, 0.8, 0.9, 1.0)
_SEED = 42
_PRIME = np.uint64((1 << 61) - 1)
_LOW = np.uint64(0xFFFFFFFF)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES = re.compile(r"\s+")
# Shingles to a block of the permutation matrix: 128 * 4,096 * 8 bytes = 4 MB.
_BLOCK = 4096


def normalised_words(text: str) -> list[str]:
    """ASCII punctuation deleted, lower-cased, white space collapsed, NFD last; split at white space."""
    text = _SPACES.sub(" ", text.translate(_NO_PUNCTUATION).lower().strip())
    return unicodedata.normalize("NFD", text).split()


@functools.cache
def permutations() -> tuple[Hashes, Hashes]:
    """a and b, [128] each, drawn alternately from numpy's legacy generator."""
    generator = np.random.RandomState(_SEED)  # the reference's own generator: its stream is the definition
    drawn = np.array(
        [
            (
                generator.randint(1, int(_PRIME), dtype=np.uint64),
                generator.randint(0, int(_PRIME), dtype=np.uint64),
            )
            for _ in range(PERMUTATIONS)
        ],
        dtype=np.uint64,
    )
    return drawn[:, 0].copy(), drawn[:, 1].copy()


def signature(text: str) -> npt.NDArray[np.uint32] | None:
    """[128], or None for a text of fewer than 13 normalised words.

    The minimum over shingles of ((h a + b) mod 2^64 mod (2^61 - 1)) & (2^32 - 1): the product wraps first.
    """
    words = normalised_words(text)
    if len(words) < WORDS:
        return None
    shingles = {" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}
    digests = b"".join(hashlib.sha1(s.encode()).digest()[:4] for s in shingles)
    hashes = np.frombuffer(digests, "<u4").astype(np.uint64)
    a, b = permutations()
    minima = np.full(PERMUTATIONS, _LOW, np.uint64)
    for start in range(0, hashes.size, _BLOCK):
        values = (hashes[start : start + _BLOCK, None] * a + b) % _PRIME & _LOW
        minima = np.minimum(minima, values.min(axis=0))
    return minima.astype(np.uint32)


@dataclasses.dataclass(frozen=True)
class RedPajamaMinHash:
    """Annotator: for the thresholds 0.7, 0.8, 0.9 and 1.0 the bands as byte strings, null when too short."""

    name: str = "minhash@rpv2"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(
                    f"signature_sim{threshold}",
                    pa.list_(pa.binary()),
                    metadata={"description": "one string a band: big-endian uint32 values"},
                )
                for threshold in THRESHOLDS
            ]
        )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        found = [signature(text) if text is not None else None for text in batch.column("text").to_pylist()]
        columns = []
        for threshold in THRESHOLDS:
            bands = choose_bands(threshold, PERMUTATIONS, EVEN_WEIGHT)
            columns.append(
                pa.array(
                    [None if s is None else _bands_of(s, bands.count, bands.rows) for s in found],
                    pa.list_(pa.binary()),
                )
            )
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _bands_of(values: npt.NDArray[np.uint32], count: int, rows: int) -> list[bytes]:
    return [values[i * rows : (i + 1) * rows].astype(">u4").tobytes() for i in range(count)]
