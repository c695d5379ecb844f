"""Clusters of duplicates, the document that stays, and how similar the others are to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.bands import PAIR, find_pairs, sorted_pairs
from dedup.components import (
    Keep,
    choose_kept,
    component_slices,
    connected_components,
    merged_forest,
)
from dedup.hashing import Hashes, mixed
from dedup.minhash import TEXT_HASH_BYTES
from pipelines.exchange import Values, by_kind, of_kind, packed, partition_of, scattered, unpacked
from pipelines.find_duplicates.measure import MEASURED, MeasurePairs, pair_partition
from pipelines.find_duplicates.plan import (
    ANSWER,
    QUESTION,
    SIMILARITY,
    VERDICT,
    FindDuplicates,
    Plan,
    counted,
    read_rows,
    row_of,
    shard_of,
)
from pipelines.shards import split_by_bytes

# Band numbers of what no band found: equal texts, and pairs that are connected through others only.
EXACT_BAND, NO_BAND = -1, -2
FOUND = np.dtype([("address", "<u8"), ("similarity", "<f8"), ("band", "<i8")])
_LABEL = np.dtype([("address", "<u8"), ("root", "<u8")])
_MEMBER_SCHEMA = pa.schema(
    [
        ("root", pa.uint64()),
        ("address", pa.uint64()),
        ("characters", pa.int64()),
        ("text_hash", pa.binary(TEXT_HASH_BYTES)),
        ("doc_id", pa.string()),
    ]
)
_VERDICT_TYPES = (pa.string(), pa.string(), pa.bool_())
VERDICT_SCHEMA = pa.schema(
    list(zip(("row", "cluster_id", "duplicate_of", "copy"), (pa.int64(), *_VERDICT_TYPES), strict=True))
)
# Tags of outputs.
VERDICTS, ASKED, COUNTS = "verdicts", "asked", "counts"
_LOOKED_UP, _MISSING = "looked_up", "missing"


@dataclasses.dataclass(eq=False)
class Clusters(beam.PTransform):
    """Packed edges -> VERDICTS (shard, kind and verdict rows), ASKED (pair partition, PAIR), COUNTS.

    Memory: 110 bytes a document that has any edge, on the one worker that joins the forests.
    """

    plan: Plan

    def expand(self, edges: tuple[Values, ...]) -> beam.pvalue.DoOutputsTuple:
        plan = self.plan
        members = _ReadMembers(plan.find, plan.cluster_partitions)
        return (
            edges
            | "OneForest" >> plan.exchange
            | "Components" >> beam.FlatMap(_components).with_output_types(tuple[int, bytes])
            | "ByShard" >> plan.exchange
            | "ReadMembers" >> beam.ParDo(members).with_output_types(tuple[int, bytes])
            | "ByCluster" >> plan.exchange
            | "ChooseKept"
            >> beam.ParDo(_ChooseKept(plan.find.keep, plan.pair_partitions))
            .with_output_types(tuple[int, bytes], asked=tuple[int, bytes], counts=bytes)
            .with_outputs(ASKED, COUNTS, main=VERDICTS)
        )


def _components(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    forest = merged_forest(np.frombuffer(value, "<u8").reshape(-1, 2) for value in group[1])
    nodes, roots = connected_components(forest)
    labels = np.empty(nodes.size, _LABEL)
    labels["address"], labels["root"] = nodes, roots
    yield from scattered(shard_of(nodes), labels)


class _ReadMembers(beam.DoFn):
    """(shard, its documents that are in clusters) -> (partition of the cluster, members as Arrow IPC)."""

    def __init__(self, find: FindDuplicates, partitions: int) -> None:
        self._find, self._partitions = find, partitions

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        shard, values = group
        labels = np.sort(unpacked(values, _LABEL), order="address")
        rows = row_of(labels["address"])
        hashes = pa.concat_arrays(
            [part.column(0) for _, part in read_rows(self._find.annotation(shard), ["text_hash"], rows)]
        )
        ids: list[pa.Array] = []
        characters: list[pa.Array] = []
        columns = ["doc_id", "text"] if self._find.keep == "longest" else ["doc_id"]
        for asked, part in read_rows(self._find.document(shard), columns, rows):
            ids.append(part.column("doc_id"))
            lengths = (
                pc.utf8_length(part.column("text")) if len(columns) > 1 else pa.array(np.zeros(len(asked)))
            )
            characters.append(lengths.cast(pa.int64()))
        columns_of_members = [
            pa.array(labels["root"]),
            pa.array(labels["address"]),
            pa.concat_arrays(characters),
            hashes,
            pa.concat_arrays(ids),
        ]
        members = pa.RecordBatch.from_arrays(columns_of_members, schema=_MEMBER_SCHEMA)
        yield from _scattered_rows(partition_of(mixed(labels["root"]), self._partitions), members)


def _scattered_rows(partitions: np.ndarray, rows: pa.RecordBatch) -> Iterator[tuple[int, bytes]]:
    order = np.argsort(partitions, kind="stable")
    numbers, starts = np.unique(partitions[order], return_index=True)
    rows = rows.take(pa.array(order))
    for number, start, stop in zip(numbers, starts, [*starts[1:], rows.num_rows], strict=True):
        for part in split_by_bytes(rows.slice(start, stop - start)):
            yield int(number), to_ipc(part)


def to_ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def from_ipc(values: Iterable[bytes | memoryview], schema: pa.Schema) -> pa.Table:
    batches = [batch for value in values for batch in pa.ipc.open_stream(value)]
    return pa.Table.from_batches(batches, schema)


class _ChooseKept(beam.DoFn):
    """Clusters of a partition -> a verdict for every member, and the pairs whose similarity is asked for."""

    def __init__(self, keep: Keep, pair_partitions: int) -> None:
        self._keep, self._pair_partitions = keep, pair_partitions

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        members = from_ipc(group[1], _MEMBER_SCHEMA).sort_by(
            [("root", "ascending"), ("address", "ascending")]
        )
        slices = component_slices(members.column("root").to_numpy())
        addresses = members.column("address").to_pylist()
        names = members.column("doc_id").to_pylist()
        characters = members.column("characters").to_pylist()
        hashes = members.column("text_hash").to_pylist()
        verdicts: list[tuple[str, str | None, bool]] = []
        asked: list[tuple[int, int, int]] = []
        for cluster in slices:
            ids, texts = names[cluster], hashes[cluster]
            kept = choose_kept(list(zip(ids, characters[cluster], strict=True)), self._keep)
            smallest = min(ids)
            # Addresses ascend, so the last one written, of the reversed list, is the first copy of a text.
            first_copy = dict(zip(reversed(texts), reversed(addresses[cluster]), strict=True))
            for i, (where, name_text) in enumerate(zip(addresses[cluster], texts, strict=True)):
                copy = name_text == texts[kept]
                verdicts.append((smallest, None if i == kept else ids[kept], copy))
                if not copy:
                    pair = sorted((first_copy[texts[kept]], first_copy[name_text]))
                    asked.append((pair[0], pair[1], where))
        places = np.array(addresses, np.uint64)
        rows = zip(*verdicts, strict=True)
        batch = pa.RecordBatch.from_arrays(
            [
                pa.array(row_of(places)),
                *(pa.array(list(c), t) for c, t in zip(rows, _VERDICT_TYPES, strict=True)),
            ],
            schema=VERDICT_SCHEMA,
        )
        for shard, value in _scattered_rows(shard_of(places), batch):
            yield shard, of_kind(VERDICT, value)
        pairs = np.array(asked, PAIR)
        for partition, value in scattered(pair_partition(pairs, self._pair_partitions), pairs, QUESTION):
            yield beam.pvalue.TaggedOutput(ASKED, (partition, value))
        largest = max(cluster.stop - cluster.start for cluster in slices)
        yield beam.pvalue.TaggedOutput(COUNTS, counted(clusters=len(slices), largest_cluster=largest))


@dataclasses.dataclass(eq=False)
class Similarities(beam.PTransform):
    """(asked, verified), both by pair partition -> two of (shard, kind and packed FOUND).

    A pair that was measured as a candidate is looked up; the others, joined through third documents, are
    measured now.
    """

    plan: Plan

    def expand(self, inputs: tuple[Values, Values]) -> tuple[Values, Values]:
        asked, verified = inputs
        answers = verified | "KindAnswer" >> beam.MapTuple(_as_answer).with_output_types(tuple[int, bytes])
        looked_up = (
            (asked, answers)
            | "ByPair" >> self.plan.exchange
            | "LookUp"
            >> beam.ParDo(_LookUp())
            .with_output_types(tuple[int, bytes], missing=tuple[int, bytes])
            .with_outputs(_MISSING, main=_LOOKED_UP)
        )
        measured = (
            looked_up[_MISSING]
            | "MeasureMissing" >> MeasurePairs(self.plan)
            | "FromMeasured" >> beam.FlatMap(_from_measured).with_output_types(tuple[int, bytes])
        )
        return looked_up[_LOOKED_UP], measured


def _as_answer(partition: int, verified: bytes) -> tuple[int, bytes]:
    return partition, of_kind(ANSWER, verified)


class _LookUp(beam.DoFn):
    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        partition, values = group
        questions, answers = by_kind(values, (QUESTION, ANSWER))
        asked = sorted_pairs(unpacked(questions, PAIR))
        verified = unpacked(answers, MEASURED)
        place, known = find_pairs(asked, verified)
        hit = verified[place[known]]
        yield from _found(asked["tag"][known], hit["similarity"], hit["tag"].astype(np.int64))
        for value in packed(asked[~known]):
            yield beam.pvalue.TaggedOutput(_MISSING, (partition, value))


def _from_measured(element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    measured = np.frombuffer(element[1], MEASURED)
    yield from _found(measured["tag"], measured["similarity"], np.full(measured.size, NO_BAND))


def _found(addresses: Hashes, similarities: np.ndarray, bands: np.ndarray) -> Iterator[tuple[int, bytes]]:
    found = np.empty(addresses.size, FOUND)
    found["address"], found["similarity"], found["band"] = addresses, similarities, bands
    yield from scattered(shard_of(found["address"]), found, SIMILARITY)
