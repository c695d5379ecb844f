"""The graph of decontamination, from document shards to annotation shards and their report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup.contamination import (
    COMMON_DOCUMENTS,
    GPT3,
    Contamination,
    documents_of_grams,
    gram_texts,
    open_contamination_index,
    searched,
)
from dedup.contamination_report import Tally, markdown, report
from pipelines import storage
from pipelines.annotate import ANNOTATIONS, annotate_rows, annotation_schema
from pipelines.documents import REJECTED_SCHEMA
from pipelines.exchange import MODES, Exchange, Mode, by_kind, packed, scattered, unpacked
from pipelines.find_duplicates.plan import UNIT, one_key, part
from pipelines.ingest import DOCUMENTS, REJECTED, rejected_batch
from pipelines.manifest import Books
from pipelines.shards import ShardWriter, read_batches, write_shard

REPORT, REPORT_TEXT = "report.json", "report.md"
_RECORDS, _TALLIES = "records", "tallies"
_COMMON = UNIT + 1
_COUNTED = np.dtype([("gram", "<u8"), ("documents", "<u8")])


@dataclasses.dataclass(frozen=True)
class FindContamination:
    """Decontamination over documents/ below `output`; writes annotations/<name>/ there, with report.json and report.md.

    shards   number of document shards; shard i is documents/part-0000i.parquet
    index    path of the index file, which all workers see
    methods  of `dedup.contamination.METHODS`, in the order in which they name the rule
    name     of the annotation; None: contamination@<first 12 digits of the index's sha256>
    common_documents
             13-grams of ngram13@gpt3 that stand in more documents than this are ignored, as published; None: none is.
             It costs a pass over the texts
    workers  of the engine; changes no byte of the result

    Memory of a worker: the index (about 60 bytes a character of the items, for each method), one batch of documents;
    of one worker the counts of distinct 13-grams that were found, 16 bytes for each shard that has one.
    """

    output: str
    shards: int
    index: str
    methods: tuple[str, ...] = (GPT3,)
    name: str | None = None
    common_documents: int | None = COMMON_DOCUMENTS
    exchange: Mode | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.shards < 0 or self.workers < 1:
            raise ValueError(f"shards is {self.shards}, workers is {self.workers}")
        if self.common_documents is not None and self.common_documents < 0:
            raise ValueError(f"common_documents is {self.common_documents}, allowed are 0 or more and None")
        if self.exchange is not None and self.exchange not in MODES:
            raise ValueError(f"exchange is {self.exchange!r}, allowed are {', '.join(MODES)} and None")
        if self.name is not None and (not self.name or "/" in self.name):
            raise ValueError(f"name is {self.name!r}, needed is the name of a folder")
        _ = self.annotator  # a missing index or an unknown method stops before any work

    @property
    def annotator(self) -> Contamination:
        return Contamination(self.index, self.methods)

    @property
    def annotation(self) -> str:
        return self.name or self.annotator.name

    @property
    def folder(self) -> str:
        return storage.join(self.output, ANNOTATIONS, self.annotation)

    @property
    def counts_grams(self) -> bool:
        return GPT3 in self.methods and self.common_documents is not None

    @property
    def spill_dir(self) -> str | None:
        mode = self.exchange or ("memory" if storage.is_remote(self.output) else "files")
        return storage.join(self.folder, "spill") if mode == "files" else None

    def document(self, shard: int) -> str:
        return storage.join(self.output, DOCUMENTS, part(shard))


def build_find_contamination(pipeline: beam.Pipeline, find: FindContamination) -> beam.PCollection[bytes]:
    """JSON records: one a written file, with books; the last {"summary": documents read, hit and dropped}."""
    return pipeline | "FindContamination" >> _FindContamination(find)


@dataclasses.dataclass(eq=False)
class _FindContamination(beam.PTransform):
    find: FindContamination

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        find = self.find
        exchange = Exchange("files" if find.spill_dir else "memory", find.spill_dir)
        shards = (
            root.pipeline
            | "Shards" >> beam.Create(list(range(find.shards)), reshuffle=False).with_output_types(int)
            | "SpreadShards" >> beam.Reshuffle()  # after the list of shards, so that workers share them
            | "AsUnit" >> beam.Map(_as_unit).with_output_types(tuple[int, bytes])
        )
        inputs: tuple[beam.PCollection[tuple[int, bytes]], ...] = (shards,)
        if find.counts_grams:
            common = (
                shards
                | "CountGrams" >> beam.ParDo(_CountGrams(find)).with_output_types(tuple[int, bytes])
                | "OneCount" >> exchange
                | "CommonGrams" >> beam.FlatMap(common_grams, find.common_documents, find.shards)
                .with_output_types(tuple[int, bytes])
            )  # fmt: skip
            inputs += (common,)
        written = (
            inputs
            | "ByShard" >> exchange
            | "WriteShard"
            >> beam.ParDo(_WriteShard(find))
            .with_output_types(bytes, tallies=tuple[int, bytes])
            .with_outputs(_TALLIES, main=_RECORDS)
        )
        reported = (
            (written[_TALLIES], root.pipeline | "Nothing" >> _nothing())
            | "OneReport" >> exchange
            | "WriteReport" >> beam.ParDo(_WriteReport(find)).with_output_types(bytes)
        )
        records = (written[_RECORDS], reported) | "Records" >> beam.Flatten()
        if find.spill_dir is None:
            return records
        return (
            records
            | "KeyRecords" >> beam.Map(one_key).with_output_types(tuple[int, bytes])
            | "AwaitAll" >> beam.GroupByKey()
            | "RemoveSpill" >> beam.FlatMap(_remove_spill, find.spill_dir).with_output_types(bytes)
        )


def _as_unit(shard: int) -> tuple[int, bytes]:
    return shard, UNIT.to_bytes(8, "little")


def _nothing() -> beam.PTransform:
    """An empty value under the one key: its group exists also where nothing else has come."""
    return beam.Create([(0, b"")], reshuffle=False).with_output_types(tuple[int, bytes])


def _remove_spill(group: tuple[int, Iterable[bytes]], spill_dir: str) -> list[bytes]:
    """Runs when every file is written: nothing refers to the spilled values any more."""
    records = sorted(group[1])
    storage.remove_tree(spill_dir)
    return records


class _CountGrams(beam.DoFn):
    """Shard -> under one key the 13-grams of items that stand in it, and in how many documents."""

    def __init__(self, find: FindContamination) -> None:
        self._find = find

    def process(self, unit: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
        counts: Counter[int] = Counter()
        annotator = self._find.annotator
        for batch in read_batches(self._find.document(unit[0]), ["text"]):
            grams, documents = documents_of_grams(annotator, batch)
            counts.update(dict(zip(grams.tolist(), documents.tolist(), strict=True)))
        records = np.array(sorted(counts.items()), np.uint64).reshape(-1, 2).view(_COUNTED).reshape(-1)
        for value in packed(records):
            yield 0, value


def common_grams(group: tuple[int, Iterable[bytes]], most: int, shards: int) -> Iterator[tuple[int, bytes]]:
    """All counts -> for each shard the grams that stand in more than `most` documents."""
    counted = unpacked(group[1], _COUNTED)
    grams, places = np.unique(counted["gram"], return_inverse=True)
    documents = np.zeros(len(grams), np.uint64)
    np.add.at(documents, places, counted["documents"])
    common = np.empty(len(grams), _COUNTED)
    common["gram"], common["documents"] = grams, documents
    common = common[documents > most]
    for shard in range(shards):
        yield from scattered(np.full(len(common), shard, np.int64), common, _COMMON)


class _WriteShard(beam.DoFn):
    """(shard, common 13-grams) -> the annotation shard; its records and its counts."""

    def __init__(self, find: FindContamination) -> None:
        self._find = find
        self._documents = beam.metrics.Metrics.counter("contamination", "documents_in")
        self._dropped = beam.metrics.Metrics.counter("contamination", "documents_dropped")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        shard, values = group
        find = self._find
        common = np.sort(unpacked(by_kind(values, (UNIT, _COMMON))[1], _COUNTED), order="gram")
        annotator = find.annotator
        ignored = gram_texts(annotator, common["gram"].tolist())
        annotator = dataclasses.replace(annotator, common=tuple(ignored))
        schema = annotation_schema(annotator.schema)
        tally = Tally()
        rejected: list[tuple[str, str | None, str, str, str]] = []
        with ShardWriter(storage.join(find.folder, part(shard)), schema) as writer:
            for batch in read_batches(find.document(shard), ["doc_id", "source", "text"]):
                columns, faults = annotate_rows(annotator, batch)
                tally.add(batch.column("source").to_pylist(), columns)
                stage = f"annotate/{find.annotation}"
                rejected += [(identity, None, stage, error, message[:500]) for identity, error, message in faults]
                writer.write(pa.RecordBatch.from_arrays([batch.column("doc_id"), *columns.columns], schema=schema))
        written = writer.written
        dropped: Counter[str] = Counter()
        for (rule, _), count in tally.rules.items():
            dropped[rule] += count
        failed = Counter(row[3] for row in rejected)
        kept = written.rows - dropped.total() - failed.total()
        self._documents.inc(written.rows)
        self._dropped.inc(dropped.total())
        yield _record(written.record(find.output), Books(written.rows, kept, dropped, failed))
        if rejected:
            path = storage.join(find.output, REJECTED, f"{find.annotation}-{part(shard)}")
            refused = write_shard(path, REJECTED_SCHEMA, [rejected_batch(rejected)])
            yield _record(refused.record(find.output), Books())
        told = {"tally": tally.to_json(), "common": dict(zip(ignored, common["documents"].tolist(), strict=True))}
        yield beam.pvalue.TaggedOutput(_TALLIES, (0, json.dumps(told, sort_keys=True).encode()))


class _WriteReport(beam.DoFn):
    """Counts of all shards -> report.json, report.md and their records.

    Memory: 300 bytes an item, method and source in which it was found.
    """

    def __init__(self, find: FindContamination) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        find = self._find
        tally = Tally()
        common: dict[str, int] = {}
        for value in group[1]:
            if value:
                told = json.loads(value)
                tally.update(Tally.from_json(told["tally"]))
                common = told["common"]
        opened = open_contamination_index(find.index)
        found = report(tally, opened.manifest["sets"], searched(find.annotator), opened.name, common)
        for name, data in ((REPORT, storage.canonical_json(found)), (REPORT_TEXT, markdown(found).encode())):
            path = storage.join(find.folder, name)
            storage.write_bytes(path, data)
            relative = path[len(find.output.rstrip("/")) + 1 :]
            record = {"path": relative, "rows": 0, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            yield _record(record, Books())
        yield json.dumps({"summary": found["documents"]}, sort_keys=True).encode()


def _record(written: dict[str, object], books: Books) -> bytes:
    return json.dumps({**written, "books": books.to_json()}, sort_keys=True).encode()
