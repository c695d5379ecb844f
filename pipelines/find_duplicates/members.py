"""The documents that are in a component, with what decides which of them stays; read shard by shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.components import Forest
from dedup.exact import TEXT, digest_words
from dedup.hashing import Hashes, mixed
from dedup.keep import LENGTH, keep_order
from dedup.minhash import TEXT_HASH_BYTES, text_hashes
from pipelines.corpus_search import read_rows
from pipelines.exchange import Values, by_kind, of_kind, partition_of, scattered, unpacked
from pipelines.find_duplicates.measure import MEASURED
from pipelines.find_duplicates.plan import (
    LABEL,
    LINKED,
    MEMBER,
    TEXT_HASH,
    VERIFIED,
    FindDuplicates,
    Plan,
    has_column,
    row_of,
    shard_of,
    values_of,
)
from pipelines.shards import split_by_bytes

LABELS = np.dtype([("address", "<u8"), ("root", "<u8")])
LINKS = np.dtype([("root", "<u8"), *MEASURED.descr])
"""A verified pair with the component that it lies in; tag: the band."""
STATE_SCHEMA = pa.schema(
    [
        ("root", pa.uint64()),  # of the cluster: any number that no other cluster has
        ("rank", pa.int64()),  # inside a cluster the documents in order of keep
        ("address", pa.uint64()),
        ("text", pa.uint64()),  # the smallest address with the same text
        ("whole", pa.bool_()),  # whether the cluster is a whole component, and not what a guard left of it
        ("doc_id", pa.string()),
        ("source", pa.string()),
    ]
)
"""A document of a cluster about which something is to be decided."""
# Labels that are sent at a time: 16 MB.
_LABELS_AT_ONCE = 1 << 20


@dataclasses.dataclass(eq=False)
class Members(beam.PTransform):
    """(packed edges..., and packed verified MEASURED where there are any) -> (cluster partition, MEMBER and LINKED).

    Memory: 50 bytes a document that has any edge, on the one worker that joins the forests.
    """

    plan: Plan

    def expand(self, inputs: tuple[Values, ...]) -> Values:
        plan = self.plan
        paired = plan.find.method == "minhash"
        edges, verified = (inputs[:-1], inputs[-1]) if paired else (inputs, None)
        labels = (
            edges
            | "OneForest" >> plan.exchange
            | "Components" >> beam.FlatMap(components).with_output_types(tuple[int, bytes])
        )
        by_shard: tuple[Values, ...] = (labels,)
        if verified is not None:
            by_shard += (verified | "VerifiedByShard" >> beam.FlatMap(by_first).with_output_types(tuple[int, bytes]),)
        return (
            by_shard
            | "ByShard" >> plan.exchange
            | "ReadMembers" >> beam.ParDo(ReadMembers(plan.find, plan.cluster_partitions))
            .with_output_types(tuple[int, bytes])
        )  # fmt: skip


def components(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    """All edges -> (shard, the root of each of its documents)."""
    forest = Forest()
    for value in group[1]:
        forest.add(np.frombuffer(value, "<u8"))
    nodes, roots = forest.components()
    for start in range(0, nodes.size, _LABELS_AT_ONCE):
        chosen = slice(start, start + _LABELS_AT_ONCE)
        labels = np.empty(nodes[chosen].size, LABELS)
        labels["address"], labels["root"] = nodes[chosen], roots[chosen]
        yield from scattered(shard_of(labels["address"]), labels, LABEL)


def by_first(element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    pairs = np.frombuffer(element[1], MEASURED)
    yield from scattered(shard_of(pairs["first"]), pairs, VERIFIED)


class ReadMembers(beam.DoFn):
    """(shard, its documents that are in components and the pairs whose first one lies in it) -> by cluster."""

    def __init__(self, find: FindDuplicates, partitions: int) -> None:
        self._find, self._partitions = find, partitions

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        shard, values = group
        packed_labels, packed_pairs = by_kind(values, (LABEL, VERIFIED))
        labels = np.sort(unpacked(packed_labels, LABELS), order="address")
        yield from self._links(labels, unpacked(packed_pairs, MEASURED))
        members = read_members(self._find, shard, row_of(labels["address"]))
        columns = [pa.array(labels["root"]), pa.array(labels["address"]), *members.columns]
        rows = pa.RecordBatch.from_arrays(columns, names=["root", "address", *members.schema.names])
        yield from scattered_rows(partition_of(mixed(labels["root"]), self._partitions), rows, MEMBER)

    def _links(self, labels: np.ndarray, pairs: np.ndarray) -> Iterator[tuple[int, bytes]]:
        links = np.empty(pairs.size, LINKS)
        for name in MEASURED.names or ():
            links[name] = pairs[name]
        if links.size:
            links["root"] = labels["root"][np.searchsorted(labels["address"], pairs["first"])]
        yield from scattered(partition_of(mixed(links["root"]), self._partitions), links, LINKED)


def read_members(find: FindDuplicates, shard: int, rows: np.ndarray) -> pa.RecordBatch:
    """doc_id, source, text_hash and the columns of keep, encoded, of some rows of a shard."""
    wanted: dict[str, list[str]] = {find.document(shard): ["doc_id", "source"]}
    for column in (key.column for key in find.policy if key.column != LENGTH):
        path, name = find.place(shard, column)
        columns = wanted.setdefault(path, [])
        columns += [name] if name not in columns else []
    hashed = (
        find.annotation(shard) if find.method == "minhash" and has_column(find.annotation(shard), TEXT_HASH) else ""
    )
    if hashed:
        wanted.setdefault(hashed, []).append(TEXT_HASH)
    elif find.method == "minhash" or find.key != TEXT:
        wanted[find.document(shard)].append(TEXT)
    found = {path: _read(path, columns, rows) for path, columns in wanted.items()}
    own = found[find.document(shard)]
    if hashed:
        hashes = found[hashed][TEXT_HASH]
    elif TEXT_HASH in own:
        hashes = own[TEXT_HASH]
    else:  # equal texts only: one class a component
        hashes = pa.array([b"\0" * TEXT_HASH_BYTES], pa.binary(TEXT_HASH_BYTES)).take(
            pa.array(np.zeros(rows.size, int))
        )
    told = {"doc_id": own["doc_id"], "source": own["source"].cast(pa.string()), TEXT_HASH: hashes}
    for i, key in enumerate(find.policy):
        if key.column == LENGTH:
            # Of a search by minhash the measured pairs know the lengths; equal texts are equally long.
            values = own.get(LENGTH, pa.nulls(rows.size, pa.float64()))
        else:
            path, name = find.place(shard, key.column)
            values = found[path][name]
        told[f"key{i}"] = key.encoded(values)
    return pa.RecordBatch.from_arrays(list(told.values()), names=list(told))


def _read(path: str, columns: list[str], rows: np.ndarray) -> dict[str, pa.Array]:
    """The columns of the rows; of `text` its hash and its length instead."""
    stored = sorted({name.partition(".")[0] if name.startswith("meta.") else name for name in columns})
    parts: dict[str, list[pa.Array]] = {}
    for _, batch in read_rows(path, stored, rows):
        for name in columns:
            if name == TEXT:
                parts.setdefault(TEXT_HASH, []).append(text_hashes(batch.column(TEXT)))
                parts.setdefault(LENGTH, []).append(pc.utf8_length(batch.column(TEXT)).cast(pa.float64()))
            else:
                parts.setdefault(name, []).append(values_of(batch, name))
    return {name: pa.concat_arrays(arrays) for name, arrays in parts.items()}


def scattered_rows(partitions: np.ndarray, rows: pa.RecordBatch, kind: int) -> Iterator[tuple[int, bytes]]:
    if not rows.num_rows:
        return
    order = np.argsort(partitions, kind="stable")
    numbers, starts = np.unique(partitions[order], return_index=True)
    rows = rows.take(pa.array(order))
    for number, start, stop in zip(numbers, starts, [*starts[1:], rows.num_rows], strict=True):
        for part in split_by_bytes(rows.slice(start, stop - start)):
            yield int(number), of_kind(kind, to_ipc(part))


def to_ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def from_ipc(values: Iterable[bytes | memoryview], schema: pa.Schema | None = None) -> pa.Table:
    batches = [batch for value in values for batch in pa.ipc.open_stream(value)]
    return pa.Table.from_batches(batches, schema)


def first_state(find: FindDuplicates, members: pa.Table, links: np.ndarray) -> pa.Table:
    """MEMBER rows of whole components -> STATE, sorted by root and rank."""
    members = members.combine_chunks()
    roots, addresses = members.column("root").to_numpy(), members.column("address").to_numpy()
    texts = _smallest_with_text(roots, digest_words(members.column(TEXT_HASH).chunk(0))[1], addresses)
    columns = []
    for i, key in enumerate(find.policy):
        values = members.column(f"key{i}").chunk(0)
        if key.column == LENGTH and find.method == "minhash":
            values = pa.array(_lengths(texts, links))
        columns.append(values)
    order = keep_order(members.column("root").chunk(0), columns, members.column("doc_id").chunk(0), find.policy)
    taken = members.select(["doc_id", "source"]).take(pa.array(order))
    return pa.table(
        [
            pa.array(roots[order]),
            pa.array(np.arange(order.size)),
            pa.array(addresses[order]),
            pa.array(texts[order]),
            pa.array(np.ones(order.size, np.bool_)),
            *taken.columns,
        ],
        schema=STATE_SCHEMA,
    )


def _smallest_with_text(roots: Hashes, hashes: Hashes, addresses: Hashes) -> Hashes:
    """[members] the smallest address of the component's documents with the same text."""
    order = np.lexsort((addresses, hashes[:, 1], hashes[:, 0], roots))
    fresh = np.ones(order.size, np.bool_)
    fresh[1:] = (roots[order[1:]] != roots[order[:-1]]) | (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    firsts = order[np.maximum.accumulate(np.where(fresh, np.arange(order.size), 0))]
    texts = np.empty(order.size, np.uint64)
    texts[order] = addresses[firsts]
    return texts


def _lengths(texts: Hashes, links: np.ndarray) -> np.ndarray:
    """[members] characters of the text; 0 for components of equal texts, which no pair was measured in."""
    ends = np.concatenate([links["first"], links["second"]])
    known = np.concatenate([links["first_length"], links["second_length"]]).astype(np.float64)
    if not ends.size:
        return np.zeros(texts.size)
    order = np.argsort(ends, kind="stable")
    place = order[np.minimum(np.searchsorted(ends[order], texts), order.size - 1)]
    return np.where(ends[place] == texts, known[place], 0.0)
