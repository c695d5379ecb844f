"""Measures the exact Jaccard similarity of pairs of documents whose texts lie in different shards.

Only the shingle sets of the documents that some pair needs travel, once for each partition that needs them.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from dedup.bands import PAIR, sorted_pairs
from dedup.hashing import Hashes, mixed
from dedup.jaccard import jaccard
from pipelines.exchange import (
    MAX_VALUE_BYTES,
    by_kind,
    of_kind,
    packed,
    partition_of,
    scattered,
    unpacked,
)
from pipelines.find_duplicates.plan import (
    PAIRS,
    SETS,
    FindDuplicates,
    Plan,
    address,
    row_of,
    shard_of,
)

MEASURED = np.dtype([*PAIR.descr, ("similarity", "<f8"), ("first_length", "<u4"), ("second_length", "<u4")])
"""A pair, its exact Jaccard similarity and the characters of the two texts."""
_NEED = np.dtype("<u8")  # row << 32 | partition that needs its shingle set
_ROW_BITS = np.uint64(32)
_ROTATE = np.uint64(1)
# Shingle sets of a shard that wait before they are sent: fewer, larger values.
_BUFFER_BYTES = 32 << 20
# Longest piece of a shingle set in one value, in 64-bit words: room for the value's and the piece's heads.
_HEAD_WORDS = 3
_HEAD = struct.Struct("<3Q")
_PIECE_WORDS = MAX_VALUE_BYTES // 8 - 9


def pair_partition(pairs: np.ndarray, partitions: int) -> npt.NDArray[np.int64]:
    """Of both documents, so that the one original of a million copies does not draw them to one partition."""
    return partition_of(mixed(pairs["first"] ^ mixed(pairs["second"] + _ROTATE)), partitions)


def pack_set(where: int, characters: int, hashes: Hashes) -> list[bytes]:
    """A shingle set as records [address, characters, n, n hashes]; a set beyond 4 MB gives several records."""
    if hashes.size <= _PIECE_WORDS:
        return [_HEAD.pack(where, characters, hashes.size) + hashes.tobytes()]
    pieces = (hashes[start : start + _PIECE_WORDS] for start in range(0, hashes.size, _PIECE_WORDS))
    return [_HEAD.pack(where, characters, piece.size) + piece.tobytes() for piece in pieces]


def unpack_sets(values: Iterable[bytes | memoryview]) -> tuple[dict[int, Hashes], dict[int, int]]:
    """address -> its sorted, distinct shingle hashes, and -> its characters, of records that come in any order."""
    lengths: dict[int, int] = {}
    sets: dict[int, Hashes] = {}
    pieces: dict[int, list[Hashes]] = {}
    for value in values:
        words = np.frombuffer(value, np.uint64)
        at = 0
        while at < words.size:
            where, characters, size = words[at : at + _HEAD_WORDS].tolist()
            at += _HEAD_WORDS + size
            piece = words[at - size : at]
            if where in lengths:
                pieces.setdefault(where, [sets[where]]).append(piece)
            else:
                lengths[where], sets[where] = characters, piece
    for where, found in pieces.items():
        # A worker that was run twice, or a set beyond one value: pieces are put in order by their first hash.
        by_first = {int(piece[0]) if piece.size else 0: piece for piece in found}
        sets[where] = np.concatenate([by_first[first] for first in sorted(by_first)])
    return sets, lengths


@dataclasses.dataclass(eq=False)
class MeasurePairs(beam.PTransform):
    """(partition, packed PAIR) -> (partition, packed MEASURED), sorted inside a value, tags carried along.

    All values of one pair must name one partition.
    Memory: the shingle sets of one partition (8 bytes a shingle, about 1.3 times the text of its documents);
    one row group of a shard.
    """

    plan: Plan

    def expand(self, pairs: beam.PCollection[tuple[int, bytes]]) -> beam.PCollection[tuple[int, bytes]]:
        sets = (
            pairs
            | "NeededSets" >> beam.FlatMap(_needed_sets).with_output_types(tuple[int, bytes])
            | "ByShard" >> self.plan.exchange
            | "ReadSets" >> beam.ParDo(_ReadSets(self.plan.find)).with_output_types(tuple[int, bytes])
        )
        kept = pairs | "KindPairs" >> beam.MapTuple(_as_pairs).with_output_types(tuple[int, bytes])
        return (
            (kept, sets)
            | "ByPartition" >> self.plan.exchange
            | "Measure" >> beam.FlatMap(_measure).with_output_types(tuple[int, bytes])
        )


def _as_pairs(partition: int, pairs: bytes) -> tuple[int, bytes]:
    return partition, of_kind(PAIRS, pairs)


def _needed_sets(element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    partition, value = element
    pairs = np.frombuffer(value, PAIR)
    where = np.unique(np.concatenate([pairs["first"], pairs["second"]]))
    needs = (where << _ROW_BITS) | np.uint64(partition)
    yield from scattered(shard_of(where), needs)


class _ReadSets(beam.DoFn):
    """(shard, the rows that are needed and where) -> (partition, packed shingle sets)."""

    def __init__(self, find: FindDuplicates) -> None:
        self._find = find
        self._read = beam.metrics.Metrics.counter("measure", "documents_read")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        shard, values = group
        needs = np.unique(unpacked(values, _NEED))
        needing_rows, partitions = shard_of(needs), row_of(needs)  # the same halves of 64 bits as an address
        rows = np.unique(needing_rows)
        starts = np.searchsorted(needing_rows, rows).tolist()
        needed_by = dict(zip(rows.tolist(), zip(starts, [*starts[1:], needs.size], strict=True), strict=True))
        wanted = partitions.tolist()
        waiting: dict[int, list[bytes]] = {}
        waiting_bytes = 0
        for asked, batch in self._find.rows(shard, ["text", "language"], rows):
            self._read.inc(len(asked))
            texts = batch.column("text")
            characters = pc.utf8_length(texts).to_pylist()
            places = address(shard, asked).tolist()
            sets = self._find.shingle_sets(batch)
            for row, where, size, hashes in zip(asked.tolist(), places, characters, sets, strict=True):
                records = pack_set(where, size, hashes)
                start, stop = needed_by[row]
                for partition in wanted[start:stop]:
                    waiting.setdefault(partition, []).extend(records)
                waiting_bytes += (stop - start) * sum(map(len, records))
                if waiting_bytes >= _BUFFER_BYTES:
                    yield from joined_sets(waiting, SETS)
                    waiting, waiting_bytes = {}, 0
        yield from joined_sets(waiting, SETS)


def joined_sets(waiting: dict[int, list[bytes]], kind: int) -> Iterator[tuple[int, bytes]]:
    """The records of every partition in as few values of at most 4 MB as their order allows."""
    for partition in sorted(waiting):
        value: list[bytes] = []
        size = 0
        for record in waiting[partition]:
            if value and size + len(record) > MAX_VALUE_BYTES - 64:
                yield partition, of_kind(kind, b"".join(value))
                value, size = [], 0
            value.append(record)
            size += len(record)
        yield partition, of_kind(kind, b"".join(value))


def _measure(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    partition, values = group
    packed_pairs, packed_sets = by_kind(values, (PAIRS, SETS))
    pairs = sorted_pairs(unpacked(packed_pairs, PAIR))
    sets, lengths = unpack_sets(packed_sets)
    measured = np.empty(pairs.size, MEASURED)
    for name in ("first", "second", "tag"):
        measured[name] = pairs[name]
    similarities: list[float] = []
    before: tuple[int, int] | None = None
    similarity = 0.0
    for first, second in zip(pairs["first"].tolist(), pairs["second"].tolist(), strict=True):
        if (first, second) != before:
            similarity = jaccard(sets[first], sets[second])
            before = first, second
        similarities.append(similarity)
    measured["similarity"] = similarities
    for end in ("first", "second"):
        measured[f"{end}_length"] = [lengths[where] for where in pairs[end].tolist()]
    for value in packed(measured):
        yield partition, value
