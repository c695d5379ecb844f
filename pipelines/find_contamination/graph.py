"""The graph of decontamination, from document shards to annotation shards and their report."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
from pipelines.corpus_search import (
    KEEP,
    UNIT,
    CorpusSearch,
    RemoveSpill,
    Texts,
    Units,
    check_name,
    file_record,
    nothing,
    record_of,
)
from pipelines.documents import REJECTED_SCHEMA
from pipelines.exchange import Mode, by_kind, packed, scattered, unpacked
from pipelines.ingest import REJECTED, part, rejected_batch
from pipelines.manifest import Books
from pipelines.shards import ShardWriter, write_shard
from quality_signals.edits import COLUMN as EDITS
from quality_signals.edits import compose_columns

REPORT, REPORT_TEXT = "report.json", "report.md"
_RECORDS, _TALLIES = "records", "tallies"
_COMMON = UNIT + 1
_COUNTED = np.dtype([("gram", "<u8"), ("documents", "<u8")])


@dataclasses.dataclass(frozen=True)
class FindContamination(CorpusSearch):
    """Decontamination over documents/ below `output`; writes annotations/<name>/ there, with report.json and report.md.

    index    path of the index file, which all workers see
    methods  of `dedup.contamination.METHODS`, in the order in which they name the rule
    name     of the annotation; None: contamination@<first 12 digits of the index's sha256>
    common_documents
             13-grams of ngram13@gpt3 that stand in more documents than this are ignored, as published; None: none is.
             It costs a pass over the texts

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
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.check_common()
        if self.common_documents is not None and self.common_documents < 0:
            raise ValueError(f"common_documents is {self.common_documents}, allowed are 0 or more and None")
        check_name(self.name)
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


def build_find_contamination(pipeline: beam.Pipeline, find: FindContamination) -> beam.PCollection[bytes]:
    """JSON records: one a written file, with books; the last {"summary": documents read, hit and dropped}."""
    return pipeline | "FindContamination" >> _FindContamination(find)


@dataclasses.dataclass(eq=False)
class _FindContamination(beam.PTransform):
    find: FindContamination

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        find = self.find
        find.check_after()
        exchange = find.through
        shards = root.pipeline | Units(find.shards)
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
            (written[_TALLIES], root.pipeline | "Nothing" >> nothing())
            | "OneReport" >> exchange
            | "WriteReport" >> beam.ParDo(_WriteReport(find)).with_output_types(bytes)
        )
        return (written[_RECORDS], reported) | "Records" >> beam.Flatten() | RemoveSpill(find.through.spill_dir)


class _CountGrams(beam.DoFn):
    """Shard -> under one key the 13-grams of items that stand in it, and in how many documents."""

    def __init__(self, find: FindContamination) -> None:
        self._find = find

    def process(self, unit: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
        counts: Counter[int] = Counter()
        annotator = self._find.annotator
        for texts in self._find.texts(unit[0], ["doc_id", "text"]):
            grams, documents = documents_of_grams(annotator, texts.batch.filter(pa.array(texts.takes_part)))
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
            for texts in find.texts(shard, ["doc_id", "source", "text"]):
                batch = texts.batch.filter(pa.array(texts.takes_part))
                columns, faults = annotate_rows(annotator, batch)
                tally.add(batch.column("source").to_pylist(), columns)
                columns, batch = _all_rows(columns, texts), texts.batch
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
        yield record_of(written.record(find.output), Books(written.rows, kept, dropped, failed))
        if rejected:
            path = storage.join(find.output, REJECTED, f"{find.annotation}-{part(shard)}")
            refused = write_shard(path, REJECTED_SCHEMA, [rejected_batch(rejected)])
            yield record_of(refused.record(find.output), Books())
        told = {"tally": tally.to_json(), "common": dict(zip(ignored, common["documents"].tolist(), strict=True))}
        yield beam.pvalue.TaggedOutput(_TALLIES, (0, json.dumps(told, sort_keys=True).encode()))


def _all_rows(columns: pa.RecordBatch, texts: Texts) -> pa.RecordBatch:
    """The columns of the documents that take part, for all: the others stay, and nothing else is known of them.

    Edits lead from the documents' texts to what these and those before them leave.
    """
    if texts.takes_part.all() and texts.edits is None:
        return columns
    places = pa.array(np.cumsum(texts.takes_part) - 1, mask=~texts.takes_part)
    arrays = {name: column.take(places) for name, column in zip(columns.schema.names, columns.columns, strict=True)}
    arrays[KEEP] = pc.if_else(pa.array(texts.takes_part), arrays[KEEP], pa.scalar(True))
    if texts.edits is not None and EDITS in arrays:
        # Where it is not known what is to be cut out of a text, nothing is.
        known = pc.or_(arrays[EDITS].is_valid(), pa.array(~texts.takes_part))
        own = pc.fill_null(arrays[EDITS], pa.scalar([], arrays[EDITS].type))
        arrays[EDITS] = pc.if_else(known, compose_columns(texts.edits, own), pa.scalar(None, own.type))
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=columns.schema)


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
            yield file_record(find.output, storage.join(find.folder, name), data)
        yield json.dumps({"summary": found["documents"]}, sort_keys=True).encode()
