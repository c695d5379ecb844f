"""The graph of a search for repeated passages, from document shards to annotation shards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dedup.passages import NOTHING_LEFT, NUMBERS, SCHEMA, Changed, Ints, decide_copies, document_order, lists
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.corpus_search import UNIT, SpreadShards, as_unit, nothing, one_key, record_of
from pipelines.exchange import by_kind, packed, partition_of, scattered, unpacked
from pipelines.find_duplicates.members import from_ipc, scattered_rows
from pipelines.find_duplicates.plan import address, read_column, row_of, shard_of
from pipelines.find_passages.plan import FindPassages
from pipelines.ingest import part
from pipelines.shards import ShardWriter
from quality_signals.edits import EDITS, compose_columns
from quality_signals.families import judge_texts
from quality_signals.text_batch import TextBatch

PASSAGE_SCHEMA = pa.schema([pa.field("doc_id", pa.string(), nullable=False), *SCHEMA])
SUMMARY = ("documents", "passages", "repeated", "characters", "characters_removed", "changed", "dropped")
# Kinds of values that meet in a shard.
COUNTS, LOST, GONE, NAMED = range(UNIT + 1, UNIT + 5)
_COUNTS = np.dtype([("row", "<u4"), ("passages", "<u4"), ("characters", "<u8"), ("sentences", "<i8")])
"""A document that takes part, as it stands before anything is removed."""
# Passages of a shard, each row << 32 | place: one that goes, and the one of the same shard that it goes for.
_LOST = np.dtype([("gone", "<u8"), ("witness", "<u8")])
# A passage that goes for one of another shard: the row there, the document here, the place here.
_ASKED = np.dtype([("row", "<u4"), ("place", "<u4"), ("address", "<u8"), ("first", "?")])
# first: whether it is the first copy of all, which goes only where none is to stay.
_NAMED = pa.schema([("gone", pa.uint64()), ("kept_id", pa.string()), ("first", pa.bool_())])
PASSAGE_EVIDENCE_SCHEMA = pa.schema(
    [
        pa.field("dropped_id", pa.string(), nullable=False, metadata={"description": "document that loses a passage"}),
        pa.field("start", pa.int32(), metadata={"unit": "code points of the text in which it was found"}),
        pa.field("end", pa.int32()),
        pa.field("kept_id", pa.string(), metadata={"description": "document of the copy that it goes for"}),
    ]
)
_ROW_BITS = np.uint64(32)
_PLACE_MASK = np.uint64(0xFFFFFFFF)


def build_find_passages(pipeline: beam.Pipeline, find: FindPassages) -> beam.PCollection[bytes]:
    """JSON records: one a written shard with its books, one {"summary": ...}."""
    return pipeline | f"FindPassages({find.folder_name})" >> _FindPassages(find)


@dataclasses.dataclass(eq=False)
class _FindPassages(beam.PTransform):
    find: FindPassages

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        find = self.find
        find.check_after()
        exchange, partitions = find.through, find.partitions()
        shards = root.pipeline | SpreadShards(find.shards)
        hashed = shards | "HashPassages" >> beam.ParDo(_HashPassages(find, partitions)).with_output_types(
            tuple[int, bytes], by_shard=tuple[int, bytes]
        ).with_outputs("by_shard", main="by_hash")
        gone = (
            hashed["by_hash"]
            | "ByHash" >> exchange
            | "FindRepeated" >> beam.ParDo(_FindRepeated(find)).with_output_types(tuple[int, bytes])
        )
        if find.evidence:
            gone = (
                gone
                | "ByKeptShard" >> exchange
                | "NameKept" >> beam.ParDo(_NameKept(find)).with_output_types(tuple[int, bytes])
            )
        written = (
            (hashed["by_shard"], gone)
            | "ByShard" >> exchange
            | "WriteShard" >> beam.ParDo(_WriteShard(find)).with_output_types(bytes)
        )
        records = (
            (
                written | "KeyRecords" >> beam.Map(one_key).with_output_types(tuple[int, bytes]),
                root.pipeline | "Nothing" >> nothing(),
            )
            | "RecordsOrNothing" >> beam.Flatten()
            | "AwaitAll" >> beam.GroupByKey()
        )
        return records | "Summarise" >> beam.FlatMap(_summarise, find.through.spill_dir).with_output_types(bytes)


def _summarise(group: tuple[int, Iterable[bytes]], spill_dir: str | None) -> Iterator[bytes]:
    """Runs when every shard is written: nothing refers to the spilled values any more."""
    if spill_dir is not None:
        storage.remove_tree(spill_dir)
    totals_ = dict.fromkeys(SUMMARY, 0)
    for value in sorted(each for each in group[1] if each):
        record = json.loads(value)
        for name, count in record.pop("counts", {}).items():
            totals_[name] += count
        yield json.dumps(record, sort_keys=True).encode()
    yield json.dumps({"summary": totals_}, sort_keys=True).encode()


class _HashPassages(beam.DoFn):
    """Shard -> by hash the passages that stand for others; by shard what is decided already, and the documents."""

    def __init__(self, find: FindPassages, partitions: int) -> None:
        self._find, self._partitions = find, partitions
        self._passages = beam.metrics.Metrics.counter("passages", "hashed")

    def process(self, shard: int) -> Iterator[Any]:
        find = self._find
        yield beam.pvalue.TaggedOutput("by_shard", as_unit(shard))
        parts: list[np.ndarray] = [np.empty(0, find.records)]
        always: list[np.ndarray] = [np.zeros(0, np.bool_)]
        start = 0
        for texts in find.documents(shard):
            batch, chosen = texts.batch, texts.takes_part
            rows = np.flatnonzero(chosen)
            records, counts, gone = self._hashed(shard, start, rows, batch, chosen)
            parts.append(records)
            always.append(gone)
            for value in packed(counts, COUNTS):
                yield beam.pvalue.TaggedOutput("by_shard", (shard, value))
            start += batch.num_rows
        records, gone = np.concatenate(parts), np.concatenate(always)
        del parts
        self._passages.inc(len(records))
        yield from self._lost(shard, records[gone], records[gone])
        records = records[~gone]
        decided = decide_copies(records, find.made.keep)
        yield from self._lost(shard, records[decided.gone], records[decided.witness[decided.gone]])
        records = records[decided.sent]
        yield from scattered(partition_of(records["hash"], self._partitions), records)

    def _lost(self, shard: int, gone: np.ndarray, witness: np.ndarray) -> Iterator[Any]:
        lost = np.empty(len(gone), _LOST)
        lost["gone"], lost["witness"] = _numbers(gone), _numbers(witness)
        for value in packed(lost, LOST):
            yield beam.pvalue.TaggedOutput("by_shard", (shard, value))

    def _hashed(
        self, shard: int, start: int, rows: Ints, batch: pa.RecordBatch, chosen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Records of the passages of a batch; its documents that take part; passages that go in any case."""
        find = self._find
        texts = TextBatch(batch, chosen)
        found = find.made.passages(texts)
        counts = np.diff(found.offsets)
        documents = np.empty(len(texts), _COUNTS)
        documents["row"], documents["passages"] = start + rows, counts
        documents["characters"], documents["sentences"] = texts.lengths, found.sentences
        records = np.empty(len(found.hashes), find.records)
        records["hash"], records["place"] = found.hashes, found.places
        if found.low is not None:
            records["low"] = found.low
        owners = np.repeat(np.arange(len(texts)), counts)
        records["address"] = address(shard, start + rows)[owners]
        ids = batch.column("doc_id").filter(pa.array(chosen)).to_pylist()
        for name, values in document_order(find.documents_order, ids, texts.column("url")).items():
            records[name] = values[owners]
        if find.sources:
            ranks = {name: rank for rank, name in enumerate(find.sources)}
            of_texts = [ranks.get(source or "", len(find.sources)) for source in texts.column("source")]
            records["source"] = np.array(of_texts, np.uint8)[owners]
        gone = np.zeros(len(records), np.bool_) if found.always_gone is None else found.always_gone
        return records, documents[found.judged], gone


def _numbers(records: np.ndarray) -> npt.NDArray[np.uint64]:
    """Passages of one shard as numbers: row << 32 | place."""
    return row_of(records["address"]).astype(np.uint64) << _ROW_BITS | records["place"].astype(np.uint64)


class _FindRepeated(beam.DoFn):
    """(partition, its passages) -> (shard, those of it that go); with evidence (shard of the copy that one goes for,
    who asks for its document)."""

    def __init__(self, find: FindPassages) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        records = unpacked(group[1], self._find.records)
        decided = decide_copies(records, self._find.made.keep)
        gone, witness = records[decided.gone], decided.witness[decided.gone]
        kept = records["address"][witness]
        if not self._find.evidence:
            yield from scattered(shard_of(gone["address"]), _numbers(gone), GONE)
            return
        asked = np.empty(len(gone), _ASKED)
        asked["row"], asked["place"], asked["address"] = row_of(kept), gone["place"], gone["address"]
        asked["first"] = decided.first[decided.gone]
        yield from scattered(shard_of(kept), asked)


class _NameKept(beam.DoFn):
    """(shard, who asks for its documents) -> (shard of who asks, the passage that goes and the id)."""

    def __init__(self, find: FindPassages) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        asked = unpacked(group[1], _ASKED)
        ids = read_column(self._find.document(group[0]), "doc_id").take(pa.array(asked["row"]))
        columns = [pa.array(_numbers(asked)), ids, pa.array(asked["first"])]
        named = pa.RecordBatch.from_arrays(columns, schema=_NAMED)
        yield from scattered_rows(shard_of(asked["address"]), named, NAMED)


class _WriteShard(beam.DoFn):
    """(shard, its documents and their passages that go) -> the annotation shard."""

    def __init__(self, find: FindPassages) -> None:
        self._find = find
        self._removed = beam.metrics.Metrics.counter("passages", "characters_removed")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        shard, values = group
        _, counts, lost_values, gone_values, named = by_kind(values, (UNIT, COUNTS, LOST, GONE, NAMED))
        documents = np.sort(unpacked(counts, _COUNTS), order="row")
        proof = _Proof(self._find, shard, unpacked(lost_values, _LOST), from_ipc(named, _NAMED))
        gone = np.unique(np.concatenate([unpacked(gone_values, np.dtype("<u8")), proof.gone]))
        gone_rows, places = (gone >> _ROW_BITS).astype(np.int64), (gone & _PLACE_MASK).astype(np.int64)
        summary = dict.fromkeys(SUMMARY, 0)
        drops: dict[str, int] = {}
        start = 0
        with contextlib.ExitStack() as stack:
            path = storage.join(self._find.folder, part(shard))
            writer = stack.enter_context(ShardWriter(path, PASSAGE_SCHEMA))
            evidence = stack.enter_context(proof.writer()) if self._find.evidence else None
            for texts in self._find.documents(shard):
                batch, edits = texts.batch, texts.edits
                stop = start + batch.num_rows
                own, lost = _between(documents["row"], start, stop), _between(gone_rows, start, stop)
                rows = self._rows(batch, documents[own], gone_rows[lost] - start, places[lost], edits, start)
                writer.write(rows)
                self._add(summary, drops, rows, documents[own])
                if evidence is not None:
                    evidence.write(proof.rows(batch, start, gone[lost]))
                start = stop
        self._removed.inc(summary["characters_removed"])
        books = manifests.Books(writer.written.rows, writer.written.rows - summary["dropped"], drops)
        record = {**writer.written.record(self._find.output), "books": books.to_json(), "counts": summary}
        yield json.dumps(record, sort_keys=True).encode()
        if evidence is not None:
            yield record_of(evidence.written.record(self._find.output), manifests.Books())

    def _rows(
        self,
        batch: pa.RecordBatch,
        documents: np.ndarray,
        gone: Ints,
        places: Ints,
        before: pa.Array | None,
        start: int,
    ) -> pa.RecordBatch:
        """gone, places: row of the batch and number of the passages that go, ascending."""
        scheme, length = self._find.made, batch.num_rows
        at = documents["row"].astype(np.int64) - start
        judged = np.zeros(length, np.bool_)
        judged[at] = True
        numbers = {name: np.zeros(length, np.int64) for name in NUMBERS}
        numbers["passages"][at] = documents["passages"]
        values = {rule.measure: np.full(length, np.nan) for rule in scheme.rules}
        plain = scheme.unchanged(
            documents["passages"].astype(np.int64),
            documents["characters"].astype(np.int64),
            documents["sentences"].astype(np.int64),
        )
        for name in values.keys() & plain.keys():
            values[name][at] = plain[name]
        edits = pa.array([[]] * length, EDITS)
        rows, firsts = np.unique(gone, return_index=True)
        if len(rows):
            offsets = np.append(firsts, len(gone)).astype(np.int64)
            changed = self._changed(batch, rows, places, offsets)
            numbers["repeated"][rows] = np.diff(offsets)
            numbers["characters_removed"][rows] = changed.characters_removed
            for name in values.keys() & changed.left.keys():
                values[name][rows] = changed.left[name]
            edits = lists(changed.edits, rows, length)
        verdicts = judge_texts(scheme.rules, values, length, judged)
        # Where nothing is left the document goes whole, and has no edits.
        emptied = pc.equal(verdicts[1], NOTHING_LEFT).fill_null(False).to_numpy(zero_copy_only=False)
        if emptied.any():
            edits = lists(edits.filter(pa.array(~emptied)), np.flatnonzero(~emptied), length)
        if before is not None:
            edits = compose_columns(before, edits)
        mask = ~judged
        if mask.any():
            edits = edits.take(pa.array(np.arange(length), mask=mask))
        return pa.RecordBatch.from_arrays(
            [
                batch.column("doc_id"),
                *verdicts,
                *(pa.array(numbers[name], mask=mask) for name in NUMBERS),
                edits,
            ],
            schema=PASSAGE_SCHEMA,
        )

    def _changed(self, batch: pa.RecordBatch, rows: Ints, places: Ints, offsets: Ints) -> Changed:
        chosen = np.zeros(batch.num_rows, np.bool_)
        chosen[rows] = True
        return self._find.made.change(TextBatch(batch, chosen), places, offsets)

    def _add(self, summary: dict[str, int], drops: dict[str, int], rows: pa.RecordBatch, documents: np.ndarray) -> None:
        summary["documents"] += len(documents)
        summary["characters"] += int(documents["characters"].sum())
        for name in NUMBERS:
            summary[name] += rows.column(name).drop_null().to_numpy().sum().item()
        summary["changed"] += int((rows.column("repeated").drop_null().to_numpy() > 0).sum())
        for rule in rows.column("rule").drop_null().to_pylist():
            drops[rule] = drops.get(rule, 0) + 1
            summary["dropped"] += 1


class _Proof:
    """For whom the passages of a shard go.  lost: those that go for one of the shard; named: for one of any shard."""

    def __init__(self, find: FindPassages, shard: int, lost: np.ndarray, named: pa.Table) -> None:
        self._find, self._shard = find, shard
        self._lost = np.unique(lost)
        # Of a worker that was run twice the same comes twice.
        numbers, firsts = np.unique(named.column("gone").to_numpy(), return_index=True)
        self._named, self._ids = numbers, named.column("kept_id").combine_chunks().take(pa.array(firsts))
        self._first = named.column("first").to_numpy()[firsts]

    @property
    def gone(self) -> npt.NDArray[np.uint64]:
        return np.concatenate([self._lost["gone"], self._named])

    def writer(self) -> ShardWriter:
        path = storage.join(self._find.folder, f"evidence-{self._shard:05d}.parquet")
        return ShardWriter(path, PASSAGE_EVIDENCE_SCHEMA)

    @cached_property
    def _own(self) -> pa.Array:
        return read_column(self._find.document(self._shard), "doc_id")

    def rows(self, batch: pa.RecordBatch, start: int, gone: npt.NDArray[np.uint64]) -> pa.RecordBatch:
        """A row a passage that goes, of the documents of a batch that begins at row `start`."""
        rows = (gone >> _ROW_BITS).astype(np.int64) - start
        places = (gone & _PLACE_MASK).astype(np.int64)
        owners, firsts = np.unique(rows, return_index=True)
        chosen = np.zeros(batch.num_rows, np.bool_)
        chosen[owners] = True
        starts = ends = np.zeros(0, np.int64)
        if len(owners):
            offsets = np.append(firsts, len(gone)).astype(np.int64)
            starts, ends = self._find.made.spans(TextBatch(batch, chosen), places, offsets)
        columns = [
            batch.column("doc_id").take(pa.array(rows)),
            pa.array(starts, pa.int32()),
            pa.array(ends, pa.int32()),
            self._kept(gone),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=PASSAGE_EVIDENCE_SCHEMA)

    def _kept(self, gone: npt.NDArray[np.uint64]) -> pa.Array:
        """Of a copy that goes for one of the same shard: if that one goes itself, what that one goes for, unless it is
        the first of all in another document."""
        at, told = _found(self._named, gone)
        place, lost = _found(self._lost["gone"], gone)
        witness = np.where(lost & ~told, self._lost["witness"][place], gone) if len(self._lost) else gone
        rows = (witness >> _ROW_BITS).astype(np.int64)
        at, named = _found(self._named, witness)
        if len(self._first):
            named &= told | ~self._first[at] | (rows == (gone >> _ROW_BITS).astype(np.int64))
        ids = self._ids.take(pa.array(at, mask=~named))
        return pc.coalesce(ids, self._own.take(pa.array(rows, mask=named | (witness == gone))))


def _found(sorted_values: npt.NDArray[np.uint64], asked: npt.NDArray[np.uint64]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Where the asked values stand, and whether they do; 0 where not."""
    place = np.searchsorted(sorted_values, asked)
    there = place < len(sorted_values)
    place[~there] = 0
    there[there] = sorted_values[place[there]] == asked[there]
    return place * there, there


def _between(rows: np.ndarray, start: int, stop: int) -> slice:
    low, high = np.searchsorted(rows, [start, stop])
    return slice(low, high)


__all__ = ["PASSAGE_SCHEMA", "SUMMARY", "build_find_passages"]
