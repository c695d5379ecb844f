"""What the annotators of signatures share: the columns that they write, and the view of hashed shingles they keep."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.hashing import Hashes
from dedup.permutations import Ints, distinct_hashes, sorted_sets
from quality_signals.text_batch import SharedTexts

SHINGLES = pa.field("shingles", pa.int32(), metadata={"description": "distinct shingles", "unit": "shingles"})
TOO_SHORT = pa.field(
    "too_short",
    pa.bool_(),
    metadata={"description": "no shingle: the signature is that of the empty set, and is not to be compared"},
)


@dataclasses.dataclass(frozen=True, slots=True)
class Shingles:
    """Distinct 64-bit hashes of the shingles of all texts of a batch.

    hashes   [shingles] uint64; those of text i are hashes[offsets[i]:offsets[i + 1]], in order of first occurrence
    offsets  [texts + 1] int64
    low      what the signatures are made of, where it is less than the 64 bits: [shingles] uint32
    """

    hashes: Hashes
    offsets: Ints
    low: npt.NDArray[np.uint32]

    @property
    def counts(self) -> Ints:
        return np.diff(self.offsets)

    def sets(self) -> list[Hashes]:
        return sorted_sets(self.hashes, self.offsets)


def distinct_shingles(hashes: Hashes, offsets: Ints) -> Shingles:
    """Each hash of a text once; `low` is the low half."""
    found, before = distinct_hashes(hashes, offsets)
    return Shingles(found, before, found.astype(np.uint32))


def list_column(values: npt.NDArray[Any], present: npt.NDArray[np.bool_], parts: int = 0) -> pa.ListArray:
    """The rows of values [texts, width] as list<T>, or in `parts` lists of equal length; null where not `present`."""
    chosen = values if present.all() else values[present]
    width = values.shape[1]
    if chosen.size > np.iinfo(np.int32).max:
        raise ValueError(f"{len(values)} signatures of {width} values are too many for one batch")
    column: pa.Array = pa.array(chosen.reshape(-1))
    if parts:
        column = pa.ListArray.from_arrays(
            pa.array(np.arange(chosen.shape[0] * parts + 1, dtype=np.int32) * (width // parts)), column
        )
        width = parts
    offsets = np.zeros(len(present) + 1, np.int32)
    np.cumsum(present * width, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), column, mask=pa.array(~present))


def text_rows(texts: pa.Array, languages: pa.Array | None = None) -> SharedTexts:
    """Texts alone (null is empty), as a batch; `languages` [rows] where they matter."""
    columns = {"text": texts.fill_null("")}
    if languages is not None:
        columns["language"] = languages
    return SharedTexts(pa.RecordBatch.from_pydict(columns))
