"""Split: which documents are held out, the same ones for every variant.

A document is held out if its group is: the host of a page, the repository of a file, or what the recipe
names.  Whole groups, so that no site or repository stands on both sides; and where a near-duplicate of a
held-out document stands in another group, that twin is barred from every training set.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.annotate import annotation_shard
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.exchange import Exchange
from pipelines.ingest import document_shard
from pipelines.manifest import Books
from pipelines.rules import uniform_hash
from pipelines.shards import read_aligned, write_shard

SPLIT = "split"
TRAIN, HELD_OUT = "train", "held_out"
TWIN, HELD_OUT_COPY = "held_out_twin", "held_out_duplicate"
GROUPINGS = ("host", "repo", "directory", "cluster", "document")
SPLIT_SCHEMA = pa.schema(
    [
        DOCUMENT_SCHEMA.field("doc_id"),
        pa.field("group", pa.string(), metadata={"description": "what is held out as a whole"}),
        pa.field("split", pa.string(), metadata={"description": "train, held_out, or why neither"}),
    ]
)
_COLUMNS = ["doc_id", "source", "url", "repo", "path"]
# What goes through the exchange for a document in a near-duplicate cluster.
_MEMBER = np.dtype([("cluster", "<u8"), ("shard", "<u4"), ("row", "<u4"), ("held_out", "u1")])
_PARTITION_BITS = 6


def group_of(by: str, *, doc_id: str, url: str | None, repo: str | None, path: str | None, cluster: str | None) -> str:
    """The group of one document; what has no host or repository is grouped by its cluster, else stands alone."""
    if by == "host" and url:
        host = urlsplit(url).hostname
        if host:
            return "host:" + host.removeprefix("www.")
    if by == "repo" and repo:
        return "repo:" + repo
    if by == "directory" and (repo or path):
        return f"directory:{repo or ''}/{(path or '').rpartition('/')[0]}"
    if by != "document" and cluster:
        return "cluster:" + cluster
    return "document:" + doc_id


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """fraction: expected share of groups held out; by: source -> one of GROUPINGS."""

    fraction: float
    seed: int
    by: Mapping[str, str]

    def groups(self, batch: pa.RecordBatch, clusters: Sequence[str | None]) -> list[str]:
        columns = {name: batch.column(name).to_pylist() for name in _COLUMNS}
        return [
            group_of(self.by[source], doc_id=d, url=url, repo=repo, path=path, cluster=cluster)
            for d, source, url, repo, path, cluster in zip(*columns.values(), clusters, strict=True)
        ]

    def held_out(self, groups: Sequence[str]) -> npt.NDArray[np.bool_]:
        return uniform_hash(groups, f"held_out/{self.seed}") < self.fraction


def split_of(held_out: bool, duplicate: bool, twin: bool) -> str:
    if held_out:
        return HELD_OUT_COPY if duplicate else HELD_OUT
    return TWIN if twin else TRAIN


def twins(members: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The members of clusters with a held-out document that are not held out themselves."""
    held = np.unique(members["cluster"][members["held_out"] == 1])
    return members[(members["held_out"] == 0) & np.isin(members["cluster"], held)]


def _rows(output: str, index: int, deduplicated: bool, held_out: HeldOut) -> Iterator[tuple[Any, ...]]:
    """(doc_id, group, cluster, duplicate, held out) of every document of a shard, in order."""
    annotations = {"dedup": annotation_shard(output, "dedup", index)} if deduplicated else {}
    for batch, known in read_aligned(document_shard(output, index), annotations, _COLUMNS):
        if deduplicated:
            clusters = known["dedup"].column("cluster_id").to_pylist()
            duplicates = known["dedup"].column("duplicate_of").to_pylist()
        else:
            clusters = duplicates = [None] * batch.num_rows
        groups = held_out.groups(batch, clusters)
        held = held_out.held_out(groups)
        yield from zip(batch.column("doc_id").to_pylist(), groups, clusters, duplicates, held, strict=True)


class _ClusterMembers(beam.DoFn):
    """Unit -> (partition of the cluster, packed members), for documents that are in a cluster."""

    def __init__(self, output: str, held_out: HeldOut) -> None:
        self._output, self._held_out = output, held_out

    def process(self, unit: bytes) -> Iterator[tuple[int, bytes]]:
        index = json.loads(unit)["index"]
        rows = [
            (_cluster_hash(cluster), index, row, held)
            for row, (_, _, cluster, _, held) in enumerate(_rows(self._output, index, True, self._held_out))
            if cluster
        ]
        members = np.array(rows, dtype=_MEMBER)
        partitions = (members["cluster"] >> np.uint64(64 - _PARTITION_BITS)).astype(np.int64)
        for partition in np.unique(partitions):
            yield int(partition), members[partitions == partition].tobytes()


def _cluster_hash(cluster: str) -> int:
    import xxhash

    return xxhash.xxh3_64_intdigest(cluster.encode())


class _Twins(beam.DoFn):
    """Partition of clusters -> (shard, packed row numbers of its twins)."""

    def process(self, partition: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        found = twins(np.frombuffer(b"".join(partition[1]), dtype=_MEMBER))
        for shard in np.unique(found["shard"]):
            yield int(shard), found["row"][found["shard"] == shard].astype("<u4").tobytes()


class _WriteSplit(beam.DoFn):
    def __init__(self, output: str, held_out: HeldOut, deduplicated: bool) -> None:
        self._output, self._held_out, self._deduplicated = output, held_out, deduplicated

    def process(self, shard: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        index, packed = shard
        barred = set(np.frombuffer(b"".join(packed), dtype="<u4").tolist())
        ids, groups, splits = [], [], []
        for row, (doc_id, group, _, duplicate, held) in enumerate(
            _rows(self._output, index, self._deduplicated, self._held_out)
        ):
            ids.append(doc_id)
            groups.append(group)
            splits.append(split_of(bool(held), duplicate is not None, row in barred))
        batch = pa.RecordBatch.from_arrays(
            [pa.array(ids, pa.string()), pa.array(groups, pa.string()), pa.array(splits, pa.string())],
            schema=SPLIT_SCHEMA,
        )
        written = write_shard(annotation_shard(self._output, SPLIT, index), SPLIT_SCHEMA, [batch])
        counts = {name: splits.count(name) for name in (TRAIN, HELD_OUT, TWIN, HELD_OUT_COPY)}
        dropped = {name: counts[name] for name in (TWIN, HELD_OUT_COPY) if counts[name]}
        books = Books(len(ids), counts[TRAIN] + counts[HELD_OUT], dropped)
        record = {**written.record(self._output), "books": books.to_json(), "splits": counts}
        yield json.dumps(record, sort_keys=True).encode()


def _with_shard_number(unit: bytes) -> tuple[int, bytes]:
    return json.loads(unit)["index"], b""


@dataclasses.dataclass(eq=False)  # not frozen: Beam writes the label into the transform that it applies
class SplitDocuments(beam.PTransform):
    """Units of document shards (and their dedup annotations) -> split annotations; records as JSON.

    Through the exchange go 17 bytes a document that is in a near-duplicate cluster, and no other.
    Memory: one partition of clusters; the ids and groups of one shard.
    """

    output: str
    held_out: HeldOut
    deduplicated: bool

    def expand(self, units: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
        spread = units | "SpreadUnits" >> beam.Reshuffle()
        shards = spread | "NumberShards" >> beam.Map(_with_shard_number).with_output_types(tuple[int, bytes])
        inputs = [shards]
        if self.deduplicated:
            barred = (
                spread
                | "ClusterMembers"
                >> beam.ParDo(_ClusterMembers(self.output, self.held_out)).with_output_types(tuple[int, bytes])
                | "ByCluster" >> Exchange()
                | "Twins" >> beam.ParDo(_Twins()).with_output_types(tuple[int, bytes])
            )
            inputs.append(barred)
        return (
            tuple(inputs)
            | "ShardsAndTwins" >> beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            | "WriteSplit"
            >> beam.ParDo(_WriteSplit(self.output, self.held_out, self.deduplicated)).with_output_types(bytes)
        )


def split_summary(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    totals = dict.fromkeys((TRAIN, HELD_OUT, TWIN, HELD_OUT_COPY), 0)
    for record in records:
        for name, count in record.get("splits", {}).items():
            totals[name] += count
    return totals
