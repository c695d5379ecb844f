"""Exact copies, and the pairs of the other documents that share a band."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.bands import PAIR, Bands, band_keys, candidate_pairs, distinct_pairs
from dedup.components import spanning_forest
from dedup.exact import digest_words, key_column, key_hashes
from dedup.hashing import Hashes
from pipelines.corpus_search import UNIT
from pipelines.exchange import by_kind, packed, partition_of, scattered, unpacked
from pipelines.find_duplicates.measure import MEASURED, pair_partition
from pipelines.find_duplicates.plan import (
    COPIES,
    TEXT_HASH,
    FindDuplicates,
    Plan,
    address,
    counted,
    has_column,
    read_column,
    read_values,
    row_of,
    shard_of,
)
from pipelines.shards import read_batches

_TEXT = np.dtype([("high", "<u8"), ("low", "<u8"), ("address", "<u8")])
BANDED = np.dtype([("key", "<u8"), ("address", "<u8")])
EDGE = np.dtype([("smaller", "<u8"), ("greater", "<u8")])
_BUFFER_BYTES = 32 << 20  # band keys of a shard that wait before they are sent


@dataclasses.dataclass(eq=False)
class Copies(beam.PTransform):
    """Shards -> packed edges (smallest address with a key, another one with the same key)."""

    plan: Plan

    def expand(self, shards: beam.PCollection[tuple[int, bytes]]) -> beam.PCollection[bytes]:
        read = _ReadKeys(self.plan.find, self.plan.partitions(self.plan.documents))
        return (
            shards
            | "ReadKeys" >> beam.ParDo(read).with_output_types(tuple[int, bytes])
            | "ByKey" >> self.plan.exchange
            | "FindCopies" >> beam.FlatMap(_find_copies).with_output_types(bytes)
        )


class _ReadKeys(beam.DoFn):
    """Shard -> (partition, packed hashes of the documents' keys).

    The key `text` of a minhash search is the annotation's text_hash where there is one; else the column is read.
    """

    def __init__(self, find: FindDuplicates, partitions: int) -> None:
        self._find, self._partitions = find, partitions

    def process(self, unit: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
        shard, start = unit[0], 0
        for hashes in key_values(self._find, shard):
            rows, words = digest_words(hashes)
            texts = np.empty(rows.size, _TEXT)
            texts["high"], texts["low"] = words[:, 0], words[:, 1]
            texts["address"] = address(shard, rows + start)
            start += len(hashes)
            yield from scattered(partition_of(texts["high"], self._partitions), texts)


def key_values(find: FindDuplicates, shard: int) -> Iterator[pa.Array]:
    """The hashes of the keys of a shard's documents, in order, in arrays of one row group's texts at most."""
    if find.method == "minhash":
        path = find.annotation(shard)
        if not read_column(find.document(shard), "doc_id").equals(read_column(path, "doc_id")):
            raise ValueError(f"{path}: rows do not belong to the documents of {find.document(shard)}")
        if has_column(path, TEXT_HASH):
            yield read_column(path, TEXT_HASH)
            return
    path, name = find.place(shard, key_column(find.key))
    if path != find.document(shard) and not read_column(find.document(shard), "doc_id").equals(
        read_column(path, "doc_id")
    ):
        raise ValueError(f"{path}: rows do not belong to the documents of {find.document(shard)}")
    for values in read_values(path, name):
        yield key_hashes(find.key, values)


def _find_copies(group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
    texts = unpacked(group[1], _TEXT)
    texts = texts[np.lexsort((texts["address"], texts["low"], texts["high"]))]
    fresh = np.ones(texts.size, np.bool_)
    fresh[1:] = (texts["high"][1:] != texts["high"][:-1]) | (texts["low"][1:] != texts["low"][:-1])
    # The first of each run of equal texts is its smallest address.
    firsts = texts["address"][np.maximum.accumulate(np.where(fresh, np.arange(texts.size), 0))]
    yield from packed(_edges(firsts[~fresh], texts["address"][~fresh]))


def _edges(smaller: Hashes, greater: Hashes) -> np.ndarray:
    edges = np.empty(smaller.size, EDGE)
    edges["smaller"], edges["greater"] = smaller, greater
    return edges


def count_copies(edges: bytes) -> bytes:
    return counted(exact_copies=len(edges) // EDGE.itemsize)


@dataclasses.dataclass(eq=False)
class Candidates(beam.PTransform):
    """(shards, copies) -> (partition of the pair, packed distinct PAIR tagged with their first band)."""

    plan: Plan

    def expand(self, inputs: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[tuple[int, bytes]]:
        shards, copies = inputs
        plan = self.plan
        keys = _BandKeys(plan.find, plan.partitions(plan.documents * plan.find.bands.count))
        behind = copies | "CopiesByShard" >> beam.FlatMap(_copies_by_shard).with_output_types(tuple[int, bytes])
        return (
            (shards, behind)
            | "ByShard" >> plan.exchange
            | "BandKeys" >> beam.ParDo(keys).with_output_types(tuple[int, bytes])
            | "ByBand" >> plan.exchange
            | "PairUp" >> beam.FlatMap(pair_up, plan.pair_partitions).with_output_types(tuple[int, bytes])
            | "ByPair" >> plan.exchange
            | "DistinctPairs" >> beam.FlatMap(distinct_pairs_of).with_output_types(tuple[int, bytes])
        )


def _copies_by_shard(edges: bytes) -> Iterator[tuple[int, bytes]]:
    copies = np.frombuffer(edges, EDGE)["greater"]
    yield from scattered(shard_of(copies), copies, COPIES)


class _BandKeys(beam.DoFn):
    """(shard, its copies) -> (partition, packed band keys) of the documents that are nobody's copy."""

    def __init__(self, find: FindDuplicates, partitions: int) -> None:
        self._find, self._partitions = find, partitions

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        shard, values = group
        _, packed_copies = by_kind(values, (UNIT, COPIES))
        copies = row_of(unpacked(packed_copies, np.dtype("<u8")))
        waiting: list[np.ndarray] = []
        start = 0
        scheme = self._find.scheme
        for batch in read_batches(self._find.annotation(shard), [scheme.column]):
            try:
                rows, positions = signature_rows(batch.column(0), scheme.bands)
            except ValueError as error:
                raise ValueError(f"{self._find.annotation(shard)}: {error}") from error
            waiting.append(self._banded(shard, start + rows, positions, copies))
            start += batch.num_rows
            if sum(records.nbytes for records in waiting) >= _BUFFER_BYTES:
                yield from self._sent(waiting)
                waiting = []
        yield from self._sent(waiting)

    def _banded(self, shard: int, rows: np.ndarray, positions: np.ndarray, copies: np.ndarray) -> np.ndarray:
        bands = self._find.bands
        alone = ~np.isin(rows, copies)
        banded = np.empty((int(alone.sum()), bands.count), BANDED)
        banded["key"] = band_keys(positions[alone], bands)
        banded["address"] = address(shard, rows[alone])[:, None]
        return banded.reshape(-1)

    def _sent(self, waiting: list[np.ndarray]) -> Iterator[tuple[int, bytes]]:
        if waiting:
            banded = np.concatenate(waiting)
            yield from scattered(partition_of(banded["key"], self._partitions), banded)


def signature_rows(column: pa.Array, bands: Bands) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a signature [n], and its positions [n, at least bands.count * bands.rows], integers.

    column: list<integer>; list of bands as lists of integers; list of bands as big-endian uint32 bytes.  A
    signature of which every position is the largest value is that of no shingle at all, and none here.
    Raises ValueError where the signatures are of unequal length or too short for the bands.
    """
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    if not rows.size:
        return rows, np.zeros((0, bands.count * bands.rows), np.uint32)
    values = column.flatten()
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        flat = np.frombuffer(b"".join(values.to_pylist()), ">u4").astype(np.uint64)
    else:
        while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = values.flatten()
        flat = values.to_numpy()
    lengths = np.unique(pc.list_value_length(column).drop_null().to_numpy())
    width = flat.size // rows.size
    if lengths.size > 1 or flat.size != width * rows.size:
        raise ValueError(f"signatures are of unequal length: {lengths.tolist()}")
    if width < bands.count * bands.rows:
        raise ValueError(f"signatures are {width} values long, {bands} need {bands.count * bands.rows}")
    positions = flat.reshape(rows.size, width)
    told = (positions != np.uint32(0xFFFFFFFF)).any(axis=1)
    return rows[told], positions[told]


def pair_up(group: tuple[int, Iterable[bytes]], partitions: int) -> Iterator[tuple[int, bytes]]:
    banded = unpacked(group[1], BANDED)
    for pairs in candidate_pairs(banded["key"], banded["address"]):
        yield from scattered(pair_partition(pairs, partitions), pairs)


def distinct_pairs_of(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    for value in packed(distinct_pairs(unpacked(group[1], PAIR))):
        yield group[0], value


def count_candidates(pairs: tuple[int, bytes]) -> bytes:
    return counted(candidate_pairs=len(pairs[1]) // PAIR.itemsize)


def verify(element: tuple[int, bytes], threshold: float) -> Iterator[tuple[int, bytes]]:
    measured = np.frombuffer(element[1], MEASURED)
    for value in packed(measured[measured["similarity"] >= threshold]):
        yield element[0], value


def count_verified(element: tuple[int, bytes]) -> bytes:
    return counted(verified_pairs=len(element[1]) // MEASURED.itemsize)


def local_forest(element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    verified = np.frombuffer(element[1], MEASURED)
    forest = spanning_forest(np.stack([verified["first"], verified["second"]], axis=1))
    for value in packed(_edges(forest[:, 0], forest[:, 1])):
        yield 0, value
