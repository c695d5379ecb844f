"""The graph of a search for repeated passages, from document shards to annotation shards."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dedup.passages import NOTHING_LEFT, NUMBERS, SCHEMA, Changed, Ints, document_order, lists, repeated
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.exchange import Exchange, by_kind, of_kind, packed, partition_of, scattered, unpacked
from pipelines.find_duplicates.plan import address, one_key, part, row_of, shard_of
from pipelines.find_passages.plan import FindPassages
from pipelines.shards import ShardWriter
from quality_signals.edits import EDITS, compose_columns
from quality_signals.families import judge_texts
from quality_signals.text_batch import TextBatch

PASSAGE_SCHEMA = pa.schema([pa.field("doc_id", pa.string(), nullable=False), *SCHEMA])
SUMMARY = ("documents", "passages", "repeated", "characters", "characters_removed", "changed", "dropped")
# Kinds of values that meet in a shard.
UNIT, COUNTS, GONE = range(3)
_COUNTS = np.dtype([("row", "<u4"), ("passages", "<u4"), ("characters", "<u8"), ("sentences", "<i8")])
"""A document that takes part, as it stands before anything is removed."""
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
        find.check_inputs()
        exchange = Exchange("files" if find.spill_dir else "memory", find.spill_dir)
        partitions = find.partitions()
        shards = (
            root.pipeline
            | "Shards" >> beam.Create(list(range(find.shards)), reshuffle=False).with_output_types(int)
            | "SpreadShards" >> beam.Reshuffle()
        )
        hashed = shards | "HashPassages" >> beam.ParDo(_HashPassages(find, partitions)).with_output_types(
            tuple[int, bytes], by_shard=tuple[int, bytes]
        ).with_outputs("by_shard", main="by_hash")
        gone = (
            hashed["by_hash"]
            | "ByHash" >> exchange
            | "FindRepeated" >> beam.ParDo(_FindRepeated(find)).with_output_types(tuple[int, bytes])
        )
        written = (
            (hashed["by_shard"], gone)
            | "ByShard" >> exchange
            | "WriteShard" >> beam.ParDo(_WriteShard(find)).with_output_types(bytes)
        )
        records = (
            (
                written | "KeyRecords" >> beam.Map(one_key).with_output_types(tuple[int, bytes]),
                root.pipeline
                | "Nothing" >> beam.Create([(0, b"")], reshuffle=False).with_output_types(tuple[int, bytes]),
            )
            | "RecordsOrNothing" >> beam.Flatten()
            | "AwaitAll" >> beam.GroupByKey()
        )
        return records | "Summarise" >> beam.FlatMap(_summarise, find.spill_dir).with_output_types(bytes)


def _summarise(group: tuple[int, Iterable[bytes]], spill_dir: str | None) -> Iterator[bytes]:
    """Runs when every shard is written: nothing refers to the spilled values any more."""
    if spill_dir is not None:
        storage.remove_tree(spill_dir)
    totals_ = dict.fromkeys(SUMMARY, 0)
    for value in sorted(each for each in group[1] if each):
        record = json.loads(value)
        for name, count in record.pop("counts").items():
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
        yield beam.pvalue.TaggedOutput("by_shard", (shard, of_kind(UNIT, b"")))
        parts: list[np.ndarray] = [np.empty(0, find.records)]
        always: list[np.ndarray] = [np.zeros(0, np.bool_)]
        start = 0
        for batch, chosen, _ in find.texts(shard):
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
        for value in packed(_gone(records[gone]), GONE):
            yield beam.pvalue.TaggedOutput("by_shard", (shard, value))
        records = records[~gone]
        lost, sent = repeated(records, find.made.keep)
        for value in packed(_gone(records[lost]), GONE):
            yield beam.pvalue.TaggedOutput("by_shard", (shard, value))
        records = records[sent]
        yield from scattered(partition_of(records["hash"], self._partitions), records)

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


def _gone(records: np.ndarray) -> npt.NDArray[np.uint64]:
    """Passages of one shard as numbers: row << 32 | place."""
    return row_of(records["address"]).astype(np.uint64) << _ROW_BITS | records["place"].astype(np.uint64)


class _FindRepeated(beam.DoFn):
    """(partition, its passages) -> (shard, those of it that go)."""

    def __init__(self, find: FindPassages) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        records = unpacked(group[1], self._find.records)
        gone, _ = repeated(records, self._find.made.keep)
        records = records[gone]
        yield from scattered(shard_of(records["address"]), _gone(records), GONE)


class _WriteShard(beam.DoFn):
    """(shard, its documents and their passages that go) -> the annotation shard."""

    def __init__(self, find: FindPassages) -> None:
        self._find = find
        self._removed = beam.metrics.Metrics.counter("passages", "characters_removed")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        shard, values = group
        _, counts, gone_values = by_kind(values, (UNIT, COUNTS, GONE))
        documents = np.sort(unpacked(counts, _COUNTS), order="row")
        gone = np.unique(unpacked(gone_values, np.dtype("<u8")))
        gone_rows, places = (gone >> _ROW_BITS).astype(np.int64), (gone & _PLACE_MASK).astype(np.int64)
        summary = dict.fromkeys(SUMMARY, 0)
        drops: dict[str, int] = {}
        start = 0
        with ShardWriter(storage.join(self._find.folder, part(shard)), PASSAGE_SCHEMA) as writer:
            for batch, _, edits in self._find.texts(shard):
                stop = start + batch.num_rows
                own, lost = _between(documents["row"], start, stop), _between(gone_rows, start, stop)
                rows = self._rows(batch, documents[own], gone_rows[lost] - start, places[lost], edits, start)
                writer.write(rows)
                self._add(summary, drops, rows, documents[own])
                start = stop
        self._removed.inc(summary["characters_removed"])
        books = manifests.Books(writer.written.rows, writer.written.rows - summary["dropped"], drops)
        record = {**writer.written.record(self._find.output), "books": books.to_json(), "counts": summary}
        yield json.dumps(record, sort_keys=True).encode()

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


def _between(rows: np.ndarray, start: int, stop: int) -> slice:
    low, high = np.searchsorted(rows, [start, stop])
    return slice(low, high)


__all__ = ["PASSAGE_SCHEMA", "SUMMARY", "build_find_passages"]
