"""An index of finished documents, against which others are deduplicated without the text of the finished ones.

One row a document, in SCHEMA.  What similarity is measured with:

    full    the set of its shingle hashes: exact Jaccard.  8 bytes a shingle, 1.3 to 1.6 times the text
    sketch  its signature: the share of equal positions of two signatures of k positions estimates Jaccard with
            standard deviation sqrt(J (1 - J) / k), 0.035 at J = 0.8 and k = 128.  4 bytes a position
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.bands import PAIR
from dedup.hashing import Hashes
from dedup.jaccard import jaccard
from dedup.minhash import TEXT_HASH_BYTES

Proof = Literal["full", "sketch"]
PROOFS: tuple[Proof, ...] = ("full", "sketch")
VERSION = 1
# Documents of the index that a new document is paired with in one band; of more, boilerplate, those with the smallest
# addresses.
MOST_PAIRED = 64
# The tag of pairs with equal text, below every band number's 8 bits.
EXACT_TAG = 1 << 8

SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("text_hash", pa.binary(TEXT_HASH_BYTES), metadata={"description": "first 16 bytes of sha256"}),
        pa.field("shingles", pa.int32(), metadata={"description": "distinct shingles; 0 when too short"}),
        pa.field("band_keys", pa.list_(pa.uint64()), metadata={"description": "null when too short"}),
        pa.field("set", pa.list_(pa.uint64()), metadata={"description": "proof full: sorted shingle hashes"}),
        pa.field("sketch", pa.list_(pa.uint64()), metadata={"description": "proof sketch: the signature"}),
    ]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Records:
    """Keys (of bands, or of texts) of documents: keys and addresses [n] uint64."""

    keys: Hashes
    addresses: Hashes


def cross_pairs(new: Records, old: Records, bands: bool, max_pairs: int = 1 << 20) -> Iterator[np.ndarray]:
    """PAIR arrays of a new document (first) and one of the index (second) that share a key, at most about `max_pairs`
    to an array.

    bands: the lowest 8 bits of a key are the band's number, which is the pair's tag; else the tag is EXACT_TAG.  A new
    document meets at most MOST_PAIRED documents of the index for each of its keys, those with the smallest addresses.
    So counts of documents of the index that are covered are lower bounds where it holds more than that many copies.
    Time: sorting, and the pairs.
    """
    order = np.lexsort((old.addresses, old.keys))
    keys, addresses = old.keys[order], old.addresses[order]
    order = np.lexsort((new.addresses, new.keys))
    asked, asking = new.keys[order], new.addresses[order]
    low = np.searchsorted(keys, asked, "left")
    counts = np.minimum(np.searchsorted(keys, asked, "right") - low, MOST_PAIRED)
    chosen = counts > 0
    asked, asking, low, counts = asked[chosen], asking[chosen], low[chosen], counts[chosen]
    done = 0
    totals = np.cumsum(counts)
    while done < len(counts):
        before = int(totals[done - 1]) if done else 0
        until = max(int(np.searchsorted(totals, before + max_pairs, "right")), done + 1)
        own = counts[done:until]
        pairs = np.empty(int(own.sum()), PAIR)
        inside = np.arange(len(pairs)) - np.repeat(np.cumsum(own) - own, own)
        pairs["first"] = np.repeat(asking[done:until], own)
        pairs["second"] = addresses[np.repeat(low[done:until], own) + inside]
        pairs["tag"] = np.repeat(asked[done:until], own) & np.uint64(0xFF) if bands else EXACT_TAG
        yield pairs
        done = until


def similarity(left: Hashes, right: Hashes, proof: Proof) -> float:
    """Exact Jaccard of two sets, or the share of equal positions of two signatures."""
    if proof == "full":
        return jaccard(left, right)
    if left.size != right.size:
        raise ValueError(f"signatures of {left.size} and {right.size} positions cannot be compared")
    return float(np.count_nonzero(left == right)) / left.size if left.size else 0.0


def best_pairs(pairs: np.ndarray) -> np.ndarray:
    """Of every new document the pair with the greatest similarity; of equal ones that of equal text, then the one with
    the smallest address, then tag.

    pairs: first, second, tag, similarity.
    """
    order = np.lexsort((pairs["tag"], pairs["second"], pairs["tag"] != EXACT_TAG, -pairs["similarity"], pairs["first"]))
    pairs = pairs[order]
    fresh = np.ones(pairs.size, np.bool_)
    fresh[1:] = pairs["first"][1:] != pairs["first"][:-1]
    return pairs[fresh]


_PROBE = "The same text gives the same hashes, or an index of another release cannot be read: " + " ".join(
    f"word{i} — wörd {i * i}" for i in range(40)
)


def probe(annotator: Any, shingle_sets: Any) -> str:
    """sha256 over what an annotator, and a function from a batch to its shingle sets, make of a fixed text.

    An index is only compared with what hashes alike.
    """
    texts = pa.array([_PROBE], pa.large_string())
    batch = pa.RecordBatch.from_pydict({"text": texts, "language": pa.array(["en"])})
    columns = annotator.annotate(batch)
    found = hashlib.sha256()
    for name in columns.schema.names:
        found.update(f"{name}={columns.column(name)[0].as_py()!r};".encode())
    for own in shingle_sets(batch):
        found.update(np.ascontiguousarray(own, "<u8").tobytes())
    return found.hexdigest()


def lists_of(sets: list[npt.NDArray[np.uint64]], present: npt.NDArray[np.bool_]) -> pa.Array:
    """list<uint64> of `sets`, null where not `present`."""
    sizes = np.array([own.size for own in sets], np.int64) * present
    offsets = np.zeros(len(sets) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    chosen = [own for own, there in zip(sets, present.tolist(), strict=True) if there]
    values = pa.array(np.concatenate(chosen) if chosen else np.zeros(0, np.uint64))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=pa.array(~present))
