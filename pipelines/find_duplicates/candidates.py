"""Exact copies, and the pairs of the other documents that share a band."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup.bands import PAIR, band_keys, candidate_pairs, distinct_pairs
from dedup.components import spanning_forest
from dedup.hashing import Hashes
from pipelines.exchange import by_kind, packed, partition_of, scattered, unpacked
from pipelines.find_duplicates.measure import MEASURED, pair_partition
from pipelines.find_duplicates.plan import (
    COPIES,
    UNIT,
    FindDuplicates,
    Plan,
    address,
    counted,
    read_column,
    row_of,
    shard_of,
)
from pipelines.shards import read_batches

_TEXT = np.dtype([("high", "<u8"), ("low", "<u8"), ("address", "<u8")])
_BANDED = np.dtype([("key", "<u8"), ("address", "<u8")])
EDGE = np.dtype([("smaller", "<u8"), ("greater", "<u8")])
_BUFFER_BYTES = 32 << 20  # band keys of a shard that wait before they are sent


@dataclasses.dataclass(eq=False)
class Copies(beam.PTransform):
    """Shards -> packed edges (smallest address with a text, another one with the same text)."""

    plan: Plan

    def expand(self, shards: beam.PCollection[tuple[int, bytes]]) -> beam.PCollection[bytes]:
        read = _ReadTextHashes(self.plan.find, self.plan.partitions(self.plan.documents))
        return (
            shards
            | "ReadTextHashes" >> beam.ParDo(read).with_output_types(tuple[int, bytes])
            | "ByTextHash" >> self.plan.exchange
            | "FindCopies" >> beam.FlatMap(_find_copies).with_output_types(bytes)
        )


class _ReadTextHashes(beam.DoFn):
    def __init__(self, find: FindDuplicates, partitions: int) -> None:
        self._find, self._partitions = find, partitions

    def process(self, unit: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
        shard = unit[0]
        document, annotation = self._find.document(shard), self._find.annotation(shard)
        if not read_column(document, "doc_id").equals(read_column(annotation, "doc_id")):
            raise ValueError(f"{annotation}: rows do not belong to the documents of {document}")
        hashes = read_column(annotation, "text_hash")
        present = hashes.is_valid()
        rows = np.flatnonzero(present.to_numpy(zero_copy_only=False))
        digests = np.frombuffer(b"".join(hashes.filter(present).to_pylist()), "<u8").reshape(-1, 2)
        texts = np.empty(rows.size, _TEXT)
        texts["high"], texts["low"], texts["address"] = digests[:, 0], digests[:, 1], address(shard, rows)
        yield from scattered(partition_of(texts["high"], self._partitions), texts)


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
        behind = copies | "CopiesByShard" >> beam.FlatMap(_copies_by_shard).with_output_types(
            tuple[int, bytes]
        )
        return (
            (shards, behind)
            | "ByShard" >> plan.exchange
            | "BandKeys" >> beam.ParDo(keys).with_output_types(tuple[int, bytes])
            | "ByBand" >> plan.exchange
            | "PairUp" >> beam.FlatMap(_pair_up, plan.pair_partitions).with_output_types(tuple[int, bytes])
            | "ByPair" >> plan.exchange
            | "DistinctPairs" >> beam.FlatMap(_distinct_pairs).with_output_types(tuple[int, bytes])
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
        for batch in read_batches(self._find.annotation(shard), ["signature"]):
            waiting.append(self._banded(shard, start, batch.column(0), copies))
            start += batch.num_rows
            if sum(records.nbytes for records in waiting) >= _BUFFER_BYTES:
                yield from self._sent(waiting)
                waiting = []
        yield from self._sent(waiting)

    def _banded(self, shard: int, start: int, signatures: pa.ListArray, copies: np.ndarray) -> np.ndarray:
        bands, width = self._find.bands, self._find.permutations
        rows = start + np.flatnonzero(signatures.is_valid().to_numpy(zero_copy_only=False))
        values = signatures.flatten().to_numpy()
        if values.size != rows.size * width:
            raise ValueError(f"{self._find.annotation(shard)}: signatures are not {width} values long")
        alone = ~np.isin(rows, copies)
        banded = np.empty((int(alone.sum()), bands.count), _BANDED)
        banded["key"] = band_keys(values.reshape(-1, width)[alone], bands)
        banded["address"] = address(shard, rows[alone])[:, None]
        return banded.reshape(-1)

    def _sent(self, waiting: list[np.ndarray]) -> Iterator[tuple[int, bytes]]:
        if waiting:
            banded = np.concatenate(waiting)
            yield from scattered(partition_of(banded["key"], self._partitions), banded)


def _pair_up(group: tuple[int, Iterable[bytes]], partitions: int) -> Iterator[tuple[int, bytes]]:
    banded = unpacked(group[1], _BANDED)
    for pairs in candidate_pairs(banded["key"], banded["address"]):
        yield from scattered(pair_partition(pairs, partitions), pairs)


def _distinct_pairs(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
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
