"""The graph of a search for documents of similar meaning, from document shards to annotation shards."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.keep import LENGTH, keep_order
from dedup.semantic import Embeddings, Vectors, fit_cells, keep_first, nearest_cell, read_embeddings
from pipelines import storage
from pipelines.corpus_search import (
    DUPLICATE_OF,
    UNIT,
    RemoveSpill,
    SpreadShards,
    as_unit,
    file_record,
    nothing,
    record_of,
)
from pipelines.documents import REJECTED_SCHEMA
from pipelines.exchange import MAX_VALUE_BYTES, by_kind, of_kind, packed, unpacked
from pipelines.find_duplicates.members import from_ipc, scattered_rows, to_ipc
from pipelines.find_duplicates.plan import address, read_column, row_of, shard_of
from pipelines.find_similar_meaning.plan import (
    MEANING_EVIDENCE_SCHEMA,
    MEANING_SCHEMA,
    SIMILAR,
    TO_CENTRE,
    FindSimilarMeaning,
    encoded_length,
)
from pipelines.ingest import REJECTED, part, rejected_batch
from pipelines.manifest import Books
from pipelines.shards import split_by_bytes, write_shard

SUMMARY = ("embedded", "cells", "largest_cell", "dropped")
_LARGEST = "largest_cell"
# Kinds of values that meet at a shard, and at a cell.
_WIDTH, _PLACED, _FAULTS, _VERDICT = range(UNIT + 1, UNIT + 5)
_ROWS = UNIT + 5
_PLACES = np.dtype([("row", "<u4"), ("cell", "<u4"), ("to_centre", "<f8")])
_VERDICTS = pa.schema([("row", pa.uint64()), ("kept", pa.string()), ("similarity", pa.float64())])
_PAIR = tuple[int, bytes]
# Rows of a shard that wait before they are sent: fewer, larger values.
_BUFFER_BYTES = 32 << 20
_RECORDS, _EVIDENCE, _BY_SHARD, _COUNTS = "records", "evidence", "by_shard", "counts"


def build_find_similar_meaning(pipeline: beam.Pipeline, find: FindSimilarMeaning) -> beam.PCollection[bytes]:
    """JSON records: one a written file, with books; one {"summary": ...}."""
    return pipeline | "FindSimilarMeaning" >> _FindSimilarMeaning(find)


@dataclasses.dataclass(eq=False)
class _FindSimilarMeaning(beam.PTransform):
    find: FindSimilarMeaning

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        find = self.find
        find.check_inputs()
        exchange, documents = find.through, find.count_documents()
        shards = root.pipeline | SpreadShards(find.shards)
        units = shards | "AsUnit" >> beam.Map(as_unit).with_output_types(_PAIR)
        empty = root.pipeline | "Nothing" >> nothing()
        sample = shards | "Sample" >> beam.ParDo(_Sample(find, documents)).with_output_types(_PAIR)
        fitted = (
            (sample, empty)
            | "OneSample" >> exchange
            | "FitCells"
            >> beam.ParDo(_FitCells(find))
            .with_output_types(_PAIR, counts=bytes, records=bytes)
            .with_outputs(_COUNTS, _RECORDS, main=_BY_SHARD)
        )
        placed = (
            (units, fitted[_BY_SHARD])
            | "WithCentres" >> exchange
            | "PlaceInCells"
            >> beam.ParDo(_PlaceInCells(find))
            .with_output_types(_PAIR, by_shard=_PAIR)
            .with_outputs(_BY_SHARD, main="by_cell")
        )
        compared = (
            placed["by_cell"]
            | "ByCell" >> exchange
            | "Compare"
            >> beam.ParDo(_Compare(find)).with_output_types(_PAIR, counts=bytes).with_outputs(_COUNTS, main=_BY_SHARD)
        )  # fmt: skip
        written = (
            (units, placed[_BY_SHARD], compared[_BY_SHARD])
            | "ByShard" >> exchange
            | "WriteShard"
            >> beam.ParDo(_WriteShard(find))
            .with_output_types(bytes, evidence=_PAIR)
            .with_outputs(_EVIDENCE, main=_RECORDS)
        )
        evidence = (
            (written[_EVIDENCE], empty)
            | "OneEvidence" >> exchange
            | "WriteEvidence" >> beam.ParDo(_WriteEvidence(find)).with_output_types(bytes)
        )
        summary = (
            (fitted[_COUNTS], compared[_COUNTS])
            | "AllCounts" >> beam.Flatten()
            | "KeyCounts" >> beam.Map(_one_count).with_output_types(_PAIR)
            | "GroupCounts" >> beam.GroupByKey()
            | "AddUp" >> beam.Map(_add_up).with_output_types(bytes)
        )
        records = (fitted[_RECORDS], written[_RECORDS], evidence, summary) | "Records" >> beam.Flatten()
        return records | RemoveSpill(find.through.spill_dir)


def _one_count(count: bytes) -> tuple[int, bytes]:
    return 0, count


def _add_up(group: tuple[int, Iterable[bytes]]) -> bytes:
    totals = dict.fromkeys(SUMMARY, 0)
    for value in group[1]:
        for name, count in json.loads(value).items():
            totals[name] = max(totals[name], count) if name == _LARGEST else totals[name] + count
    return json.dumps({"summary": totals}, sort_keys=True).encode()


class _Sample(beam.DoFn):
    """Shard -> under one key: a JSON record of how many vectors of which width it has; those of its sample by width."""

    def __init__(self, find: FindSimilarMeaning, documents: int) -> None:
        self._find, self._documents = find, documents

    def process(self, shard: int) -> Iterator[tuple[int, bytes]]:
        widths: Counter[int] = Counter()
        for batch, column in self._find.read(shard):
            found = read_embeddings(column)
            widths.update(value.size for value in found.values)
            ids = batch.column("doc_id").to_pylist()
            chosen = self._find.sampled([ids[row] for row in found.rows], self._documents)
            sampled = Embeddings(_where(found.rows, chosen), _where(found.values, chosen), [])
            for width in sorted({value.size for value in sampled.values}):
                vectors = sampled.of_width(width)[1]
                step = max(MAX_VALUE_BYTES // 2 // (4 * width), 1)
                for start in range(0, len(vectors), step):
                    yield 0, of_kind(width, vectors[start : start + step].tobytes())
        yield 0, of_kind(0, json.dumps(dict(sorted(widths.items()))).encode())


def _where(values: list[Any], chosen: npt.NDArray[np.bool_]) -> list[Any]:
    return [value for value, own in zip(values, chosen, strict=True) if own]


class _FitCells(beam.DoFn):
    """The samples of all shards -> centres.npy and its record; for every shard the width of vectors."""

    def __init__(self, find: FindSimilarMeaning) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        find = self._find
        widths: Counter[int] = Counter()
        samples: dict[int, list[Vectors]] = {}
        for value in group[1]:
            width = int.from_bytes(value[:8], "little")
            if width:
                samples.setdefault(width, []).append(np.frombuffer(value, np.float32, offset=8).reshape(-1, width))
            elif value:
                widths.update({int(each): count for each, count in json.loads(value[8:]).items()})
        if not widths:
            raise ValueError(f"no document has an embedding in {find.embeddings}")
        width = min(widths, key=lambda each: (-widths[each], each))
        sample = np.concatenate([np.zeros((0, width), np.float32), *samples.get(width, [])])
        del samples
        centres = fit_cells(sample, find.cells_of(widths[width]), seed=find.seed)
        file = io.BytesIO()
        np.save(file, centres)
        yield beam.pvalue.TaggedOutput(_RECORDS, file_record(find.output, find.centres, file.getvalue()))
        counts = {"embedded": widths[width], "cells": len(centres)}
        yield beam.pvalue.TaggedOutput(_COUNTS, json.dumps(counts).encode())
        for shard in range(find.shards):
            yield shard, of_kind(_WIDTH, width.to_bytes(8, "little"))


class _PlaceInCells(beam.DoFn):
    """(shard, UNIT and the width) -> by cell its documents with their vectors; by shard their cells and its faults."""

    def __init__(self, find: FindSimilarMeaning) -> None:
        self._find = find
        self._embedded = beam.metrics.Metrics.counter("meaning", "documents_embedded")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        find, shard = self._find, group[0]
        width = int.from_bytes(by_kind(group[1], (UNIT, _WIDTH))[1][0], "little")
        with storage.open_read(find.centres) as file:
            centres = np.load(io.BytesIO(file.read()), allow_pickle=False)
        keys = find.keys(shard)
        waiting: list[pa.RecordBatch] = []
        faults: list[tuple[str, str, str]] = []
        start = 0
        for batch, column in find.read(shard, ["text"] if find.reads_text else []):
            rows, vectors, wrong = read_embeddings(column).of_width(width)
            ids = batch.column("doc_id")
            faults += [(ids[row].as_py(), error, message) for row, error, message in wrong]
            cells, similarity = nearest_cell(vectors, centres)
            places = np.empty(len(rows), _PLACES)
            places["row"], places["cell"], places["to_centre"] = rows + start, cells, similarity
            for value in packed(places, _PLACED):
                yield beam.pvalue.TaggedOutput(_BY_SHARD, (shard, value))
            waiting.append(self._members(shard, start, batch, rows, vectors, places, keys))
            start += batch.num_rows
            self._embedded.inc(len(rows))
            if sum(each.nbytes for each in waiting) >= _BUFFER_BYTES:
                yield from _by_cell(waiting)
                waiting = []
        yield from _by_cell(waiting)
        if faults:
            yield beam.pvalue.TaggedOutput(_BY_SHARD, (shard, of_kind(_FAULTS, json.dumps(faults).encode())))

    def _members(
        self,
        shard: int,
        start: int,
        batch: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        vectors: Vectors,
        places: np.ndarray,
        keys: dict[str, pa.Array],
    ) -> pa.RecordBatch:
        told = {"cell": pa.array(places["cell"].astype(np.int64)), "address": pa.array(address(shard, rows + start))}
        told["doc_id"] = batch.column("doc_id").take(pa.array(rows))
        for i, key in enumerate(self._find.policy):
            if key.column == LENGTH:
                told[f"key{i}"] = encoded_length(key, batch.column("text").take(pa.array(rows)))
            elif key.column == TO_CENTRE:
                told[f"key{i}"] = key.encoded(pa.array(places["to_centre"]))
            else:
                told[f"key{i}"] = keys[f"key{i}"].take(pa.array(rows + start))
        flat = pa.array(vectors.reshape(-1))
        told["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        return pa.RecordBatch.from_pydict(told)


def _by_cell(waiting: list[pa.RecordBatch]) -> Iterator[tuple[int, bytes]]:
    if waiting:
        rows = pa.concat_batches(waiting)
        yield from scattered_rows(rows.column("cell").to_numpy(), rows, _ROWS)


class _Compare(beam.DoFn):
    """(cell, its documents) -> by shard those that go, and for whom."""

    def __init__(self, find: FindSimilarMeaning) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        policy = self._find.policy
        members = from_ipc(by_kind(group[1], (_ROWS,))[0]).combine_chunks()
        columns = [members.column(f"key{i}").chunk(0) for i in range(len(policy))]
        order = keep_order(members.column("cell").chunk(0), columns, members.column("doc_id").chunk(0), policy)
        vectors = members.column("vector").chunk(0)
        vectors = vectors.flatten().to_numpy().reshape(len(order), -1)[order]
        best, similarity = keep_first(vectors, self._find.threshold)
        went = np.flatnonzero(best >= 0)
        ids, addresses = members.column("doc_id").chunk(0), members.column("address").to_numpy()[order[went]]
        verdicts = pa.RecordBatch.from_arrays(
            [
                pa.array(row_of(addresses).astype(np.uint64)),
                ids.take(pa.array(order[best[went]])),
                pa.array(similarity[went]),
            ],
            schema=_VERDICTS,
        )
        yield from scattered_rows(shard_of(addresses), verdicts, _VERDICT)
        counts = {_LARGEST: len(order), "dropped": len(went)}
        yield beam.pvalue.TaggedOutput(_COUNTS, json.dumps(counts).encode())


class _WriteShard(beam.DoFn):
    """(shard, cells, verdicts and faults of its documents) -> the annotation shard; its records, its evidence."""

    def __init__(self, find: FindSimilarMeaning) -> None:
        self._find = find
        self._documents = beam.metrics.Metrics.counter("meaning", "documents_in")
        self._dropped = beam.metrics.Metrics.counter("meaning", "documents_dropped")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        find, shard = self._find, group[0]
        _, placed, told_faults, told = by_kind(group[1], (UNIT, _PLACED, _FAULTS, _VERDICT))
        ids = read_column(find.document(shard), "doc_id")
        cells, to_centre = np.full(len(ids), -1, np.int32), np.full(len(ids), np.nan)
        places = unpacked(placed, _PLACES)
        cells[places["row"]], to_centre[places["row"]] = places["cell"], places["to_centre"]
        verdicts = from_ipc(told, _VERDICTS).combine_chunks()
        index = np.full(len(ids), -1)
        index[verdicts.column("row").to_numpy()] = np.arange(verdicts.num_rows)
        chosen = pa.array(index, mask=index < 0)
        kept, similarity = (
            pa.concat_arrays([*verdicts.column(name).take(chosen).chunks, pa.array([], _VERDICTS.field(name).type)])
            for name in ("kept", "similarity")
        )
        without = cells < 0
        rows = pa.RecordBatch.from_arrays(
            [ids, pa.array(cells, mask=without), pa.array(to_centre, mask=without), kept, similarity],
            schema=MEANING_SCHEMA,
        )
        written = write_shard(storage.join(find.folder, part(shard)), MEANING_SCHEMA, split_by_bytes(rows))
        faults = sorted(tuple(fault) for value in told_faults for fault in json.loads(bytes(value)))
        failed = Counter(error for _, error, _ in faults)
        drops = verdicts.num_rows
        books = Books(len(ids), len(ids) - drops - len(faults), {SIMILAR: drops} if drops else {}, dict(failed))
        self._documents.inc(len(ids))
        self._dropped.inc(drops)
        yield record_of(written.record(find.output), books)
        if faults:
            stage = f"annotate/{find.folder.rpartition('/')[2]}"
            refused = [(identity, None, stage, error, message[:500]) for identity, error, message in faults]
            path = storage.join(find.output, REJECTED, f"{find.folder.rpartition('/')[2]}-{part(shard)}")
            yield record_of(write_shard(path, REJECTED_SCHEMA, [rejected_batch(refused)]).record(find.output), Books())
        evidence = rows.filter(rows.column(DUPLICATE_OF).is_valid())
        columns = [evidence.column(name) for name in ("doc_id", DUPLICATE_OF, "similarity", "cell")]
        for piece in split_by_bytes(pa.RecordBatch.from_arrays(columns, schema=MEANING_EVIDENCE_SCHEMA)):
            yield beam.pvalue.TaggedOutput(_EVIDENCE, (0, to_ipc(piece)))


class _WriteEvidence(beam.DoFn):
    """One row a document that goes, sorted by its id.  Memory: about 200 bytes a row."""

    def __init__(self, find: FindSimilarMeaning) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        proof = from_ipc((value for value in group[1] if value), MEANING_EVIDENCE_SCHEMA).sort_by("dropped_id")
        path = storage.join(self._find.folder, "evidence.parquet")
        written = write_shard(path, MEANING_EVIDENCE_SCHEMA, proof.to_batches(max_chunksize=1 << 16))
        yield record_of(written.record(self._find.output), Books())  # the documents are in the books of their shards


__all__ = ["SUMMARY", "build_find_similar_meaning"]
