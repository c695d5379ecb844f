"""Split: which documents are held out, the same ones for every variant.

A document is held out if its group is: the host of a page, the repository of a file, or what the recipe
names.  Whole groups, so that no site or repository stands on both sides; and where a near-duplicate of a
held-out document stands in another group, that twin is barred from every training set.  What is outside the
recipe's scope is on neither side, nor is what a host says about its pages (`host_files`), whatever the scope.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.annotate import annotation_shard
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.exchange import Exchange
from pipelines.host_files import NO_HOST_FILES
from pipelines.ingest import document_shard
from pipelines.manifest import Books
from pipelines.rules import Rule, decide, uniform_hash
from pipelines.shards import read_aligned, write_shard

SPLIT = "split"
TRAIN, HELD_OUT = "train", "held_out"
TWIN, HELD_OUT_COPY = "held_out_twin", "held_out_duplicate"
OUT_OF_SCOPE = "out_of_scope"
_SPLITS = (TRAIN, HELD_OUT, TWIN, HELD_OUT_COPY, OUT_OF_SCOPE)
GROUPINGS = ("host", "repo", "directory", "cluster", "document")
SPLIT_SCHEMA = pa.schema(
    [
        DOCUMENT_SCHEMA.field("doc_id"),
        pa.field("group", pa.string(), metadata={"description": "what is held out as a whole"}),
        pa.field("split", pa.string(), metadata={"description": "train, held_out, or why neither"}),
        pa.field("scope_rule", pa.string(), metadata={"description": "the rule that puts it out of scope"}),
    ]
)
_COLUMNS = ["doc_id", "source", "url", "repo", "path"]
_WITHOUT_TEXT = [name for name in DOCUMENT_SCHEMA.names if name != "text"]
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the split depends on: who is held out, what is in scope, and the annotations that tell."""

    held_out: HeldOut
    scope: tuple[Rule, ...] = ()
    deduplicated: bool = False

    @property
    def annotations(self) -> tuple[str, ...]:
        needs = {need for rule in self.scope for need in rule.needs}
        return tuple(sorted(needs | ({"dedup"} if self.deduplicated else set())))


def split_of(in_scope: bool, held_out: bool, duplicate: bool, twin: bool) -> str:
    if not in_scope:
        return OUT_OF_SCOPE
    if held_out:
        return HELD_OUT_COPY if duplicate else HELD_OUT
    return TWIN if twin else TRAIN


def twins(members: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The members of clusters with a held-out document that are not held out themselves."""
    held = np.unique(members["cluster"][members["held_out"] == 1])
    return members[(members["held_out"] == 0) & np.isin(members["cluster"], held)]


class _Row(NamedTuple):
    doc_id: str
    group: str
    cluster: str | None
    duplicate: bool
    held_out: bool
    scope_rule: str | None


def _rows(output: str, index: int, plan: Plan) -> Iterator[_Row]:
    """Every document of a shard, in order."""
    annotations = {name: annotation_shard(output, name, index) for name in plan.annotations}
    for batch, known in read_aligned(document_shard(output, index), annotations, _WITHOUT_TEXT):
        if plan.deduplicated:
            clusters = known["dedup"].column("cluster_id").to_pylist()
            duplicates = known["dedup"].column("duplicate_of").to_pylist()
        else:
            clusters = duplicates = [None] * batch.num_rows
        decision = decide((NO_HOST_FILES, *plan.scope), batch, known)
        groups = plan.held_out.groups(batch, clusters)
        held = plan.held_out.held_out(groups) & decision.passed
        for doc_id, group, cluster, duplicate, held_out, rule in zip(
            batch.column("doc_id").to_pylist(), groups, clusters, duplicates, held, decision.rule, strict=True
        ):
            yield _Row(doc_id, group, cluster, duplicate is not None, bool(held_out), rule)


class _ClusterMembers(beam.DoFn):
    """Unit -> (partition of the cluster, packed members), for documents that are in a cluster."""

    def __init__(self, output: str, plan: Plan) -> None:
        self._output, self._plan = output, plan

    def process(self, unit: bytes) -> Iterator[tuple[int, bytes]]:
        index = json.loads(unit)["index"]
        rows = [
            (_cluster_hash(row.cluster), index, number, row.held_out)
            for number, row in enumerate(_rows(self._output, index, self._plan))
            if row.cluster
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
    def __init__(self, output: str, plan: Plan) -> None:
        self._output, self._plan = output, plan

    def process(self, shard: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        index, packed = shard
        barred = set(np.frombuffer(b"".join(packed), dtype="<u4").tolist())
        rows = list(_rows(self._output, index, self._plan))
        splits = [
            split_of(row.scope_rule is None, row.held_out, row.duplicate, number in barred)
            for number, row in enumerate(rows)
        ]
        columns = [[r.doc_id for r in rows], [r.group for r in rows], splits, [r.scope_rule for r in rows]]
        batch = pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=SPLIT_SCHEMA)
        written = write_shard(annotation_shard(self._output, SPLIT, index), SPLIT_SCHEMA, [batch])
        counts = {name: splits.count(name) for name in _SPLITS}
        dropped = {name: n for name, n in counts.items() if n and name not in (TRAIN, HELD_OUT)}
        books = Books(len(rows), counts[TRAIN] + counts[HELD_OUT], dropped)
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
    plan: Plan

    def expand(self, units: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
        spread = units | "SpreadUnits" >> beam.Reshuffle()
        shards = spread | "NumberShards" >> beam.Map(_with_shard_number).with_output_types(tuple[int, bytes])
        inputs = [shards]
        if self.plan.deduplicated:
            barred = (
                spread
                | "ClusterMembers"
                >> beam.ParDo(_ClusterMembers(self.output, self.plan)).with_output_types(tuple[int, bytes])
                | "ByCluster" >> Exchange()
                | "Twins" >> beam.ParDo(_Twins()).with_output_types(tuple[int, bytes])
            )
            inputs.append(barred)
        return (
            tuple(inputs)
            | "ShardsAndTwins" >> beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            | "WriteSplit" >> beam.ParDo(_WriteSplit(self.output, self.plan)).with_output_types(bytes)
        )


def split_summary(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    totals = dict.fromkeys(_SPLITS, 0)
    for record in records:
        for name, count in record.get("splits", {}).items():
            totals[name] += count
    return totals
