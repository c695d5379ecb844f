"""The graph of shaping: documents go where the hash of what they belong to sends them, and become one there.

What a group becomes, and where it stands, depends on its documents alone: not on the order or the number of the input's
shards, on workers or on the engine.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from licenses.reservations_marks import RESERVATION
from pipelines import storage
from pipelines.corpus_search import RemoveSpill, record_of
from pipelines.documents import DOCUMENT_SCHEMA, REJECTED_SCHEMA, doc_id
from pipelines.host_files import NO_HOST_FILES
from pipelines.ingest import REJECTED, part, rejected_batch
from pipelines.manifest import Books
from pipelines.parcels import MAX_HEAD_BYTES, Parcel, Sender, hash64, in_order, origin_of, partition_of_key
from pipelines.shape_documents.plan import MEMBER_SCHEMA, ShapeDocuments, shape_of
from pipelines.shapes import Dropped, Shape, Shaped
from pipelines.shards import BATCH_BYTES, ShardWriter, read_batches, write_shard

KEPT, MERGED = "kept", "merged_into"
# A document without a group whose id was in the inputs before.
DUPLICATE = "duplicate_id"
# Columns of a corpus that shapes may want, beside those of documents.
_MORE = ("license",)
# What members have in common stands in the shaped document; the others are null.
_COMMON = ("url", "repo", "path", "commit", "timestamp", "mime", "language", "programming_language")
_OF_ONE = ("content_sha256", "swhid")
_NEEDED = ("doc_id", "source", "kind", "text")
_MESSAGE_CHARS = 500
_MEMBERS_AT_ONCE = 1 << 14


def build_shape_documents(pipeline: beam.Pipeline, plan: ShapeDocuments) -> beam.PCollection[bytes]:
    """JSON records: one a shard of shaped documents (with books), one a file of what was rejected."""
    return pipeline | "ShapeDocuments" >> _ShapeDocuments(plan)


@dataclasses.dataclass(eq=False)
class _ShapeDocuments(beam.PTransform):
    plan: ShapeDocuments

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        plan = self.plan
        sent = (
            root.pipeline
            | "Files" >> beam.Create(list(range(len(plan.files))), reshuffle=False).with_output_types(int)
            | "Spread" >> beam.Reshuffle()  # after the list of files, so that workers share them
            | "Send" >> beam.ParDo(_Send(plan)).with_output_types(tuple[int, bytes])
        )
        every = [(number, b"") for number in range(len(plan.partitions))]
        # An empty value for each partition: its group exists also where nothing else has come.
        there = beam.Create(every, reshuffle=False).with_output_types(tuple[int, bytes])
        return (
            (sent, root.pipeline | "Every" >> there)
            | "ByGroup" >> plan.through
            | "Shape" >> beam.ParDo(_MakeShard(plan)).with_output_types(bytes)
            | RemoveSpill(plan.through.spill_dir)
        )


class _Send(beam.DoFn):
    """File of documents -> (partition of their group, parcels of whole documents)."""

    def __init__(self, plan: ShapeDocuments) -> None:
        self._plan = plan
        self._documents = beam.metrics.Metrics.counter("shape", "documents_in")

    def process(self, file: int) -> Iterator[tuple[int, bytes]]:
        plan = self._plan
        number, path = plan.files[file]
        first, shards = plan.first_partition(number), plan.inputs[number].shards
        sender = Sender()
        row = 0
        for batch in read_batches(path):
            self._documents.inc(batch.num_rows)
            names = [name for name in (*DOCUMENT_SCHEMA.names, *_MORE) if name in batch.schema.names]
            for document in batch.select(names).to_pylist():
                missing = [name for name in _NEEDED if document[name] is None]
                if missing:
                    raise ValueError(f"{path}: row {row} has no {', '.join(missing)}")
                document["meta"] = dict(document["meta"] or ())
                group, head = _head(document, plan)
                body = json.dumps(document, ensure_ascii=False).encode()
                parcel = Parcel(hash64(group), origin_of(file, row), head, body)
                yield from sender.add(first + partition_of_key(parcel.key, shards), parcel)
                row += 1
        yield from sender.rest()


def _head(document: Mapping[str, Any], plan: ShapeDocuments) -> tuple[str, bytes]:
    """What the document belongs to, and [that, its shape, its place there, its id, a fault, the name in `plan.shapes`
    that led to the shape], which orders it.

    A shape that fails on a document leaves it alone, with its fault.
    """
    name: str | None = None
    key: str | None = None
    order: Any = None
    fault: list[str] | None = None
    asked, names = plan.names_for(document["source"], document["kind"])
    for name in names if document["kind"] != RESERVATION else ():
        shape = shape_of(name)
        try:
            key = shape.key(document)
            if key is not None:
                order = shape.order(document)
                break
        except Exception as error:  # whatever a shape raises is the document's fault
            key, fault = None, [type(error).__name__, str(error)[:_MESSAGE_CHARS]]
            break
    group = json.dumps([name, key] if key is not None else [name, None, document["doc_id"]])
    head = json.dumps([group, name, order, document["doc_id"], fault, asked]).encode()
    if len(head) >= MAX_HEAD_BYTES and key is not None:
        fault = ["ValueError", f"what it belongs to and its place there have {len(head):,} bytes"]
        group = json.dumps([name, None, document["doc_id"]])
        head = json.dumps([group, name, None, document["doc_id"], fault, asked]).encode()
    return group, head


def _rank(key: int, head: bytes) -> tuple[Any, ...]:
    group, _, order, identity, *_ = json.loads(head)
    return key, group, order, identity


@dataclasses.dataclass
class _Group:
    """Documents that belong together, or a piece of them."""

    name: str | None
    key: str | None  # None: one document alone
    piece: int = 0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    bytes: int = 0
    fault: list[str] | None = None
    again: bool = False  # an id that was in the inputs before


def _groups(parcels: Iterable[Parcel], max_bytes: int, asked_for: Counter[str]) -> Iterator[_Group]:
    """What belongs together, in order.

    A piece ends before the document with which its text would have more than `max_bytes` bytes; a document is never
    cut.  A document alone is a group of its own.  asked_for: counts documents by the name that led to their shape.
    """
    found: _Group | None = None
    before: str | None = None
    for parcel in parcels:
        group, name, _, _, fault, asked = json.loads(parcel.head)
        asked_for[asked] += 1
        key = json.loads(group)[1]
        row = json.loads(parcel.body)
        size = len(row["text"].encode())
        same = group == before
        if found is not None and not (same and found.bytes + size <= max_bytes):
            yield found
            found = _Group(name, key, found.piece + 1) if same else None
        before = group
        if key is None:
            yield _Group(name, None, 0, [row], size, fault, same)
            continue
        if found is None:
            found = _Group(name, key)
        found.rows.append(row)
        found.bytes += size
    if found is not None:
        yield found


@dataclasses.dataclass
class _Counts:
    """Of one shard; shape -> documents and what became of them."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    by_shape: dict[str, Counter[str]] = dataclasses.field(default_factory=dict)
    asked: Counter[str] = dataclasses.field(default_factory=Counter)
    text_bytes: int = 0

    def add(self, shape: str | None, fate: str, documents: int = 1, *, error: bool = False) -> None:
        if not documents:
            return
        self.read += documents
        if error:
            self.rejected[fate] += documents
        elif fate == KEPT:
            self.kept += documents
        else:
            self.dropped[fate] += documents
        counts = self.by_shape.setdefault(shape or "", Counter())
        counts["documents"] += documents
        counts[fate] += documents

    def record(self) -> dict[str, Any]:
        return {
            "books": Books(self.read, self.kept, dict(self.dropped), dict(self.rejected)).to_json(),
            "by_shape": {name: dict(counts) for name, counts in sorted(self.by_shape.items())},
            "asked": dict(self.asked),
            "text_bytes": self.text_bytes,
        }


class _MakeShard(beam.DoFn):
    """(partition, parcels) -> the shard of shaped documents, its part of the members, what was rejected; records.

    Memory: one group (at most max_group_bytes of text, or one document), a batch, and what `parcels.in_order` holds.
    """

    def __init__(self, plan: ShapeDocuments) -> None:
        self._plan = plan
        self._shaped = beam.metrics.Metrics.counter("shape", "documents_out")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        partition, values = group
        plan = self._plan
        label = plan.inputs[plan.partitions[partition][0]].label
        counts = _Counts()
        failed: list[tuple[str, str | None, str, str, str]] = []
        members = _Members()
        with (
            ShardWriter(plan.shard(partition), DOCUMENT_SCHEMA, content_defined_chunking=True) as writer,
            ShardWriter(plan.members_part(partition), MEMBER_SCHEMA) as members_writer,
        ):
            waiting: list[dict[str, Any]] = []
            size = 0
            for each in _groups(in_order(values, _rank), plan.max_group_bytes, counts.asked):
                document = self._document(each, label, counts, members, failed)
                if document is not None:
                    waiting.append(document)
                    size += len(document["text"])
                    if size >= BATCH_BYTES:
                        writer.write(_batch(waiting))
                        waiting, size = [], 0
                if len(members.rows) >= _MEMBERS_AT_ONCE:
                    members_writer.write(members.batch())
            writer.write(_batch(waiting))
            members_writer.write(members.batch())
        self._shaped.inc(counts.kept)
        record = {**writer.written.record(plan.output), **counts.record(), "label": label}
        yield json.dumps(record, sort_keys=True).encode()
        if failed:
            path = storage.join(plan.output, REJECTED, f"{_stem(plan)}-{part(partition)}")
            refused = write_shard(path, REJECTED_SCHEMA, [rejected_batch(failed)])
            yield record_of(refused.record(plan.output), Books())

    def _document(
        self,
        group: _Group,
        label: str,
        counts: _Counts,
        members: _Members,
        failed: list[tuple[str, str | None, str, str, str]],
    ) -> dict[str, Any] | None:
        """The shaped document of a group; None where it is dropped or cannot be made."""
        documents = len(group.rows)
        if group.again:
            counts.add(group.name, DUPLICATE)
            members.add(group.rows, None, group.name, DUPLICATE)
            return None
        if group.rows[0]["kind"] == RESERVATION:
            counts.add(None, NO_HOST_FILES.name)
            members.add(group.rows, None, None, NO_HOST_FILES.name)
            return None
        if group.name is None:
            row = group.rows[0]
            counts.add(None, KEPT)
            counts.text_bytes += len(row["text"].encode())
            members.add(group.rows, row["doc_id"], None)
            return {name: row.get(name) for name in DOCUMENT_SCHEMA.names}
        shape = shape_of(group.name)
        fault = group.fault
        reason: str | None = None
        document: dict[str, Any] = {}
        if fault is None:
            try:
                made = shape.make(group.rows, self._plan.seed)
                if isinstance(made, Dropped):
                    reason = made.reason
                else:
                    document = _shaped(shape, group, label, made)
                    size = len(document["text"].encode())
            except Exception as error:  # whatever a shape raises is the documents' fault
                fault = [type(error).__name__, str(error)[:_MESSAGE_CHARS]]
        if fault is not None:
            counts.add(shape.name, fault[0], documents, error=True)
            members.add(group.rows, None, shape.name, fault[0])
            failed += [(row["doc_id"], row["source"], f"shape/{shape.name}", *fault) for row in group.rows]
            return None
        if reason is not None:
            counts.add(shape.name, reason, documents)
            members.add(group.rows, None, shape.name, reason)
            return None
        counts.add(shape.name, KEPT)
        counts.add(shape.name, MERGED, documents - 1)
        counts.text_bytes += size
        members.add(group.rows, document["doc_id"], shape.name)
        return document


@dataclasses.dataclass
class _Members:
    """Rows of MEMBER_SCHEMA that are not written yet."""

    rows: list[tuple[str, str | None, int, str | None, str]] = dataclasses.field(default_factory=list)

    def add(
        self, rows: Sequence[Mapping[str, Any]], shaped_id: str | None, shape: str | None, reason: str | None = None
    ) -> None:
        for place, row in enumerate(rows):
            fate = reason or (MERGED if place else KEPT)
            self.rows.append((row["doc_id"], shaped_id, place, shape, fate))

    def batch(self) -> pa.RecordBatch:
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(MEMBER_SCHEMA)
        self.rows = []
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, MEMBER_SCHEMA, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=MEMBER_SCHEMA)


def _batch(documents: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {name: [each[name] for each in documents] for name in DOCUMENT_SCHEMA.names}
    columns["meta"] = [sorted((meta or {}).items()) for meta in columns["meta"]]
    arrays = [pa.array(columns[field.name], field.type) for field in DOCUMENT_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)


def _shaped(shape: Shape, group: _Group, label: str, made: Shaped) -> dict[str, Any]:
    """The row of a shaped document.

    Its id is the hash of the shape's name and of the group's key, the label and the number of the piece.  What all
    members have in common stands in their columns.  meta: what the shape says, `shape`, `members`, `piece` where the
    group was cut, and `licenses`, as a JSON list, where members have a licence.
    """
    rows = group.rows
    key = f"group {group.key}" if group.key is not None else f"document {rows[0]['doc_id']}"
    found: dict[str, Any] = dict.fromkeys(DOCUMENT_SCHEMA.names)
    for name in _COMMON if len(rows) > 1 else (*_COMMON, *_OF_ONE):
        values = {row.get(name) for row in rows}
        found[name] = values.pop() if len(values) == 1 else None
    meta = {str(name): str(value) for name, value in (made.meta or {}).items() if value is not None}
    meta |= {"shape": shape.name, "members": str(len(rows))}
    if group.piece:
        meta["piece"] = str(group.piece)
    licenses = sorted({row["license"] for row in rows if row.get("license")})
    if licenses:
        meta["licenses"] = json.dumps(licenses)
    found |= {
        "doc_id": doc_id(shape.name, f"{key}\n{label}\n{group.piece}"),
        "source": min(row["source"] for row in rows),
        "kind": made.kind or rows[0]["kind"],
        "text": made.text,
        "meta": meta,
    }
    return found


def _stem(plan: ShapeDocuments) -> str:
    """What names the files of rejected documents: shaped-<variant>."""
    return plan.folder.removeprefix(plan.output).strip("/").replace("/", "-")


def shape_summary(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """label -> documents and text bytes that were written, and shape -> documents that it was given, and their fates.

    The shape "" stands for documents that stay as they are.  asked: documents by name in `ShapeDocuments.shapes`, ""
    for those of no name there.
    """
    asked: Counter[str] = Counter()
    written: dict[str, Counter[str]] = {}
    shapes: dict[str, Counter[str]] = {}
    for record in records:
        if "label" not in record:
            continue
        written.setdefault(record["label"], Counter()).update(
            {"documents": record["rows"], "text_bytes": record["text_bytes"]}
        )
        asked.update(record["asked"])
        for name, counts in record["by_shape"].items():
            shapes.setdefault(name, Counter()).update(counts)
    return {
        **{label: dict(sorted(counts.items())) for label, counts in sorted(written.items())},
        "by_shape": {name: dict(sorted(counts.items())) for name, counts in sorted(shapes.items())},
        "asked": dict(sorted(asked.items())),
    }
