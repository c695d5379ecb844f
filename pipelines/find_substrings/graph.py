"""The graph of a search for repeated substrings, from document shards to annotation shards."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.substring_anchors import Bytes, Offsets
from dedup.substring_spans import code_points, cut, removed_ranges, repeated_ranges
from dedup.substring_windows import (
    ASK,
    ASKED,
    CLASS,
    FIRST,
    LATER,
    Answers,
    Part,
    decide_classes,
    decide_windows,
    split_windows,
)
from pipelines import storage
from pipelines.corpus_search import UNIT, Units, nothing, one_key
from pipelines.exchange import MAX_VALUE_BYTES, by_kind, of_kind, partition_of, scattered, unpacked
from pipelines.find_substrings.plan import RULE, SUBSTRINGS_SCHEMA, FindSubstrings, Slice, read_slices
from pipelines.manifest import Books
from pipelines.shards import ShardWriter
from quality_signals.edits import compose_columns, edits_column

SUMMARY = ("repeated_bytes", "removed_characters", "edited_documents", "text_bytes")
# Kinds of values that meet at a shard.
_VERDICT, _CODES = UNIT + 1, UNIT + 2
# Number of the class in its shard and the verdict on it.
_VERDICTS = np.dtype([("number", "<u4"), ("verdict", "u1")])
# Number of the class and how many codes follow for it.
_CODED = np.dtype([("number", "<u4"), ("windows", "<u4")])
_NUMBER_BITS = np.uint64(32)
_HEAD_BYTES = 8
_ROWS_PER_WRITE = 1024
_WINDOWS_IN_VALUE = MAX_VALUE_BYTES // 2 // (8 + ASKED.itemsize)  # a class has one window at least
_PAIR = tuple[int, bytes]


def build_find_substrings(pipeline: beam.Pipeline, find: FindSubstrings) -> beam.PCollection[bytes]:
    """JSON records: one a written shard, and one {"summary": ...}."""
    return pipeline | "FindSubstrings" >> _FindSubstrings(find)


@dataclasses.dataclass(eq=False)
class _FindSubstrings(beam.PTransform):
    find: FindSubstrings

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        find, partitions = self.find, self.find.partitions()
        find.check_after()
        units = root.pipeline | Units(find.shards)
        verdicts = (
            units
            | "FindClasses" >> beam.ParDo(_FindClasses(find, partitions)).with_output_types(_PAIR)
            | "ByGram" >> find.through
            | "DecideClasses" >> beam.FlatMap(_decide_classes).with_output_types(_PAIR)
        )
        codes = (
            (units, verdicts)
            | "AskShards" >> find.through
            | "HashWindows" >> beam.ParDo(_HashWindows(find, partitions)).with_output_types(_PAIR)
            | "WindowsByGram" >> find.through
            | "DecideWindows" >> beam.FlatMap(_decide_windows).with_output_types(_PAIR)
        )
        records = (
            (units, verdicts, codes)
            | "ByShard" >> find.through
            | "WriteShard" >> beam.ParDo(_WriteShard(find)).with_output_types(bytes)
        )
        return (
            (
                records | "KeyRecords" >> beam.Map(one_key).with_output_types(_PAIR),
                root.pipeline | "Nothing" >> nothing(),
            )
            | "RecordsOrNothing" >> beam.Flatten()
            | "AwaitAll" >> beam.GroupByKey()
            | "Summarise" >> beam.FlatMap(_summarise, find.through.spill_dir).with_output_types(bytes)
        )


def _summarise(group: tuple[int, Iterable[bytes]], spill_dir: str | None) -> Iterator[bytes]:
    """Runs when every shard is written: nothing refers to the spilled values any more."""
    records = sorted({record for record in group[1] if record})
    totals = dict.fromkeys(SUMMARY, 0)
    for record in records:
        for name, count in json.loads(record)["counts"].items():
            totals[name] += count
    if spill_dir is not None:
        storage.remove_tree(spill_dir)
    yield from records
    yield json.dumps({"summary": totals}, sort_keys=True).encode()


def _parts(find: FindSubstrings, shard: int) -> Iterator[tuple[Slice, Part, int]]:
    """(slice, its part, number in the shard of the part's first class); always the same ones."""
    first = 0
    for documents in read_slices(find.documents(shard), find.part_bytes):
        part = documents.part(find.min_bytes, (shard << 32) + first)
        yield documents, part, first
        first += part.class_count


class _FindClasses(beam.DoFn):
    """(shard, UNIT) -> (partition, CLASS records)."""

    def __init__(self, find: FindSubstrings, partitions: int) -> None:
        self._find, self._partitions = find, partitions
        self._bytes = beam.metrics.Metrics.counter("substrings", "bytes_in")

    def process(self, unit: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for documents, part, _ in _parts(self._find, unit[0]):
            self._bytes.inc(len(documents.utf8))
            classes = part.classes()
            yield from scattered(partition_of(classes["gram"], self._partitions), classes)


def _decide_classes(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    """(partition, CLASS records) -> (shard, VERDICT)."""
    classes = unpacked(group[1], CLASS)
    verdicts = decide_classes(classes)
    told = np.flatnonzero(verdicts)
    records = np.empty(told.size, _VERDICTS)
    addresses = classes["address"][told]
    records["number"], records["verdict"] = addresses.astype(np.uint32), verdicts[told]
    yield from scattered((addresses >> _NUMBER_BITS).astype(np.int64), records, _VERDICT)


class _HashWindows(beam.DoFn):
    """(shard, UNIT and VERDICT) -> (partition, ASKED records and their hashes)."""

    def __init__(self, find: FindSubstrings, partitions: int) -> None:
        self._find, self._partitions = find, partitions
        self._windows = beam.metrics.Metrics.counter("substrings", "windows_asked")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        verdicts = unpacked(by_kind(group[1], (UNIT, _VERDICT))[1], _VERDICTS)
        asked = np.sort(verdicts["number"][verdicts["verdict"] == ASK]).astype(np.int64)
        if not asked.size:
            return
        for _, part, first in _parts(self._find, group[0]):
            numbers = _own(asked, first, part)
            classes = part.classes()[numbers]
            partitions = partition_of(classes["gram"], self._partitions)
            for partition in np.unique(partitions):
                chosen = partitions == partition
                found, hashes = part.windows(numbers[chosen], classes[chosen])
                self._windows.inc(len(hashes))
                for heads, own in split_windows(found, hashes, _WINDOWS_IN_VALUE):
                    yield int(partition), _counted(heads, own)


def _own(numbers: npt.NDArray[np.int64], first: int, part: Part) -> npt.NDArray[np.int64]:
    """Of ascending numbers in the shard those of the part, counted from its first class."""
    return numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, first + part.class_count)] - first


def _counted(heads: np.ndarray, values: np.ndarray) -> bytes:
    return len(heads).to_bytes(_HEAD_BYTES, "little") + heads.tobytes() + values.tobytes()


def _uncounted(pieces: Iterable[bytes | memoryview], head: np.dtype, value: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """What `_counted` packed, put together."""
    heads, values = [np.empty(0, head)], [np.empty(0, value)]
    for piece in pieces:
        count = int.from_bytes(piece[:_HEAD_BYTES], "little")
        heads.append(np.frombuffer(piece, head, count, _HEAD_BYTES))
        values.append(np.frombuffer(piece, value, -1, _HEAD_BYTES + count * head.itemsize))
    return np.concatenate(heads), np.concatenate(values)


def _decide_windows(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    """(partition, ASKED records and hashes) -> (shard, CODES of the classes in which any window is repeated)."""
    asked, hashes = _uncounted(group[1], ASKED, np.dtype("<u8"))
    codes = decide_windows(asked, hashes)
    windows = asked["windows"].astype(np.int64)
    starts = np.cumsum(windows) - windows
    told = np.logical_or.reduceat(codes != 0, starts) if starts.size else np.zeros(0, np.bool_)
    shards = (asked["address"] >> _NUMBER_BITS).astype(np.int64)
    for shard in np.unique(shards[told]):
        chosen = np.flatnonzero(told & (shards == shard))
        coded = np.empty(chosen.size, _CODED)
        coded["number"], coded["windows"] = asked["address"][chosen].astype(np.uint32), windows[chosen]
        own = codes[np.repeat(told & (shards == shard), windows)]
        for heads, values in split_windows(coded, own, MAX_VALUE_BYTES // 2 // _CODED.itemsize):
            yield int(shard), of_kind(_CODES, _counted(heads, values))


class _WriteShard(beam.DoFn):
    """(shard, UNIT, VERDICT and CODES) -> the annotation shard; its record."""

    def __init__(self, find: FindSubstrings) -> None:
        self._find = find
        self._documents = beam.metrics.Metrics.counter("substrings", "documents_in")
        self._removed = beam.metrics.Metrics.counter("substrings", "characters_removed")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        find, shard = self._find, group[0]
        _, verdict_values, code_values = by_kind(group[1], (UNIT, _VERDICT, _CODES))
        answers = _Answers.of(verdict_values, code_values)
        totals = dict.fromkeys(SUMMARY, 0)
        with ShardWriter(find.annotation(shard), SUBSTRINGS_SCHEMA) as writer:
            for batch in _rows_at_a_time(self._found(shard, answers, totals), _ROWS_PER_WRITE):
                writer.write(batch)
        written = writer.written
        self._documents.inc(written.rows)
        self._removed.inc(totals["removed_characters"])
        record = {
            **written.record(find.output),
            "books": Books(written.rows, written.rows).to_json(),
            "counts": totals,
        }
        yield json.dumps(record, sort_keys=True).encode()

    def _found(self, shard: int, answers: _Answers, totals: dict[str, int]) -> Iterator[pa.RecordBatch]:
        """The rows of every part; adds to the totals."""
        for documents, part, first in _parts(self._find, shard):
            marks = np.zeros(len(documents.utf8), np.uint8)
            for answer in answers.own(first, part):
                part.mark(marks, answer)
            rows = _rows(self._find, documents, marks)
            removed = rows.column("removed_characters").to_numpy()
            totals["text_bytes"] += len(documents.utf8)
            totals["repeated_bytes"] += int(rows.column("repeated_bytes").to_numpy().sum())
            totals["removed_characters"] += int(removed.sum())
            totals["edited_documents"] += int(np.count_nonzero(removed))
            yield rows


def _rows_at_a_time(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of so many: where the parts began must not show in the row groups of the shard."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            held.append(batch.slice(start, rows - count))
            count += held[-1].num_rows
            start += held[-1].num_rows
            if count == rows:
                yield _one(held)
                held, count = [], 0
    if held:
        yield _one(held)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Made of values alone, so that its size does not tell how many batches it was."""
    joined = pa.concat_batches(batches)
    return joined.take(pa.array(np.arange(joined.num_rows)))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """All that was found out about the classes of a shard, in order of their numbers."""

    settled: np.ndarray  # VERDICTS
    coded: np.ndarray  # CODED
    code_starts: npt.NDArray[np.int64]  # where the codes of each of coded begin
    codes: Bytes

    @classmethod
    def of(cls, verdict_values: Iterable[memoryview], code_values: Iterable[memoryview]) -> _Answers:
        verdicts = unpacked(verdict_values, _VERDICTS)
        settled = verdicts[(verdicts["verdict"] == LATER) | (verdicts["verdict"] == FIRST)]
        coded, codes = _uncounted(code_values, _CODED, np.dtype("u1"))
        windows = coded["windows"].astype(np.int64)
        order = np.argsort(coded["number"], kind="stable")
        starts = (np.cumsum(windows) - windows)[order]
        return cls(settled[np.argsort(settled["number"], kind="stable")], coded[order], starts, codes)

    def own(self, first: int, part: Part) -> Iterator[Answers]:
        """What concerns the part whose first class has this number."""
        edges = (first, first + part.class_count)
        start, stop = np.searchsorted(self.settled["number"], edges)
        settled = self.settled[start:stop]
        yield Answers.settled(settled["number"].astype(np.int64) - first, settled["verdict"].copy())
        start, stop = np.searchsorted(self.coded["number"], edges)
        numbers = self.coded["number"][start:stop].astype(np.int64) - first
        yield Answers.coded(numbers, self.codes, self.code_starts[start:stop])


def _rows(find: FindSubstrings, documents: Slice, marks: Bytes) -> pa.RecordBatch:
    utf8, offsets = documents.utf8, documents.offsets
    repeated = repeated_ranges(marks, offsets, find.min_bytes)
    removed = cut(removed_ranges(marks, offsets, find.min_bytes, find.keep), utf8, offsets, at_lines=find.at_lines)
    shown = cut(repeated, utf8, offsets)
    count = len(documents.doc_ids)
    starts, ends = code_points(removed, utf8, offsets)
    edits = edits_column(
        starts,
        ends,
        np.zeros(len(removed), np.int64),
        np.zeros(len(removed), np.int64),
        _list_offsets(removed.documents, count),
        rule_names=(RULE,),
    )
    if documents.edits is not None:
        edits = compose_columns(documents.edits, edits)
    shown_starts, shown_ends = code_points(shown, utf8, offsets)
    spans_type = SUBSTRINGS_SCHEMA.field("repeated").type
    spans = pa.StructArray.from_arrays(
        [pa.array(shown_starts, pa.int32()), pa.array(shown_ends, pa.int32())], fields=list(spans_type.value_type)
    )
    columns: list[Any] = [
        documents.doc_ids,
        pa.ListArray.from_arrays(pa.array(_list_offsets(shown.documents, count), pa.int32()), spans, type=spans_type),
        pa.array(_sums(repeated.documents, repeated.lengths, count)),
        pa.array(_sums(removed.documents, ends - starts, count)),
        edits,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SUBSTRINGS_SCHEMA)


def _list_offsets(documents: npt.NDArray[np.int64], count: int) -> Offsets:
    return np.append(0, np.cumsum(np.bincount(documents, minlength=count)))


def _sums(documents: npt.NDArray[np.int64], values: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    out = np.zeros(count, np.int64)
    np.add.at(out, documents, values)
    return out
