"""The graph of a search for duplicates, from document shards to dedup shards and their evidence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import manifest as manifests
from pipelines import storage
from pipelines.corpus_search import UNIT, RemoveSpill, Units, nothing, one_key, record_of
from pipelines.exchange import Values, by_kind
from pipelines.find_duplicates.candidates import (
    Candidates,
    Copies,
    count_candidates,
    count_copies,
    count_verified,
    local_forest,
    verify,
)
from pipelines.find_duplicates.clusters import EXACT_BAND, NO_BAND, VERDICT_SCHEMA, Clusters
from pipelines.find_duplicates.largest import WriteLargest
from pipelines.find_duplicates.measure import MeasurePairs
from pipelines.find_duplicates.members import Members, from_ipc, to_ipc
from pipelines.find_duplicates.plan import (
    VERDICT,
    FindDuplicates,
    Plan,
    read_column,
)
from pipelines.ingest import part
from pipelines.shards import split_by_bytes, write_shard

EXACT, NEAR = "exact_duplicate", "near_duplicate"
LARGEST = "largest_cluster"
# unlike_kept: merged although not similar to the kept document (guard report); 0 for refuse and star.
SUMMARY = (
    "exact_copies", "candidate_pairs", "verified_pairs", "clusters", LARGEST, "refused_merges", "unlike_kept"
)  # fmt: skip
_RECORDS, _EVIDENCE = "records", "evidence"

DEDUP_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("cluster_id", pa.string(), metadata={"description": "smallest doc_id of the cluster"}),
        pa.field("duplicate_of", pa.string(), metadata={"description": "the kept document; null if kept"}),
        pa.field("similarity", pa.float64(), metadata={"description": "exact Jaccard of the shingles of both"}),
    ]
)
_BAND = "first band that found the pair; 'exact' or the name of the key: equal keys; null: measured on request"
EVIDENCE_SCHEMA = pa.schema(
    [
        pa.field("dropped_id", pa.string(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False, metadata={"description": "exact Jaccard"}),
        pa.field("band", pa.string(), metadata={"description": _BAND}),
    ]
)


def build_find_duplicates(pipeline: beam.Pipeline, find: FindDuplicates) -> beam.PCollection[bytes]:
    """JSON records: one a written shard, one of evidence.parquet, one {"summary": ...}."""
    return pipeline | "FindDuplicates" >> _FindDuplicates(find)


@dataclasses.dataclass(eq=False)
class _FindDuplicates(beam.PTransform):
    find: FindDuplicates

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        find = self.find
        find.check_columns()
        plan = Plan(find, find.through, find.count_documents())
        shards = root.pipeline | Units(find.shards)
        copies = shards | "Copies" >> Copies(plan)
        edges = copies | "KeyCopies" >> beam.Map(one_key).with_output_types(tuple[int, bytes])
        counts = [copies | "CountCopies" >> beam.Map(count_copies).with_output_types(bytes)]
        if find.method == "minhash":
            candidates = (shards, copies) | "Candidates" >> Candidates(plan)
            verified = (
                candidates
                | "MeasureCandidates" >> MeasurePairs(plan)
                | "Verify" >> beam.FlatMap(verify, find.threshold).with_output_types(tuple[int, bytes])
            )
            forests = verified | "LocalForest" >> beam.FlatMap(local_forest).with_output_types(tuple[int, bytes])
            members = (edges, forests, verified) | "Members" >> Members(plan)
            counts += [
                candidates | "CountCandidates" >> beam.Map(count_candidates).with_output_types(bytes),
                verified | "CountVerified" >> beam.Map(count_verified).with_output_types(bytes),
            ]
        else:
            members = (edges,) | "Members" >> Members(plan)
        verdicts, decided, reports = members | "Clusters" >> Clusters(plan)
        written = (shards, *verdicts) | "Write" >> _WriteShards(plan)
        summary = (*counts, *decided) | "Summary" >> _Summarise()
        named = (*reports, root.pipeline | "NoReport" >> nothing()) | "Largest" >> _WriteLargest(plan)
        return (written, summary, named) | "Records" >> beam.Flatten() | RemoveSpill(find.through.spill_dir)


@dataclasses.dataclass(eq=False)
class _WriteShards(beam.PTransform):
    """(units, verdicts, similarities, all by shard) -> JSON records of the shards and of the evidence."""

    plan: Plan

    def expand(self, by_shard: tuple[Values, ...]) -> beam.PCollection[bytes]:
        find = self.plan.find
        written = (
            by_shard
            | "ByShard" >> self.plan.exchange
            | "WriteShard"
            >> beam.ParDo(_WriteShard(find))
            .with_output_types(bytes, evidence=tuple[int, bytes])
            .with_outputs(_EVIDENCE, main=_RECORDS)
        )
        evidence = (
            (written[_EVIDENCE], by_shard[0].pipeline | "Nothing" >> nothing())
            | "OneEvidence" >> self.plan.exchange
            | "WriteEvidence" >> beam.ParDo(_WriteEvidence(find)).with_output_types(bytes)
        )
        return (written[_RECORDS], evidence) | "Records" >> beam.Flatten()


@dataclasses.dataclass(eq=False)
class _WriteLargest(beam.PTransform):
    plan: Plan

    def expand(self, reports: tuple[Values, ...]) -> beam.PCollection[bytes]:
        return (
            reports
            | "OneReport" >> self.plan.exchange
            | "WriteLargest" >> beam.ParDo(WriteLargest(self.plan.find)).with_output_types(bytes)
        )


@dataclasses.dataclass(eq=False)
class _Summarise(beam.PTransform):
    """Counts of all parts of the graph -> one record {"summary": ...}."""

    def expand(self, counts: tuple[beam.PCollection[bytes], ...]) -> beam.PCollection[bytes]:
        keyed = (
            counts
            | "AllCounts" >> beam.Flatten()
            | "KeyCounts" >> beam.Map(one_key).with_output_types(tuple[int, bytes])
        )
        return (
            (keyed, counts[0].pipeline | "Nothing" >> nothing())
            | "CountsOrNothing" >> beam.Flatten()
            | "GroupCounts" >> beam.GroupByKey()
            | "AddUp" >> beam.Map(_add_up).with_output_types(bytes)
        )


class _WriteShard(beam.DoFn):
    """(shard, verdicts and similarities of its documents) -> the dedup shard; its record and its evidence."""

    def __init__(self, find: FindDuplicates) -> None:
        self._find = find
        self._documents = beam.metrics.Metrics.counter("dedup", "documents_in")
        self._dropped = beam.metrics.Metrics.counter("dedup", "documents_dropped")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        shard, values = group
        _, verdict_values = by_kind(values, (UNIT, VERDICT))
        rows, exact, bands = self._rows(shard, verdict_values)
        path = storage.join(self._find.folder, part(shard))
        written = write_shard(path, DEDUP_SCHEMA, split_by_bytes(rows))
        dropped = rows.column("duplicate_of").is_valid()
        copies, drops = int(exact.sum()), pc.sum(dropped).as_py() or 0
        books = manifests.Books(rows.num_rows, rows.num_rows - drops, {EXACT: copies, NEAR: drops - copies})
        self._documents.inc(rows.num_rows)
        self._dropped.inc(drops)
        yield record_of(written.record(self._find.output), books)
        evidence = rows.filter(dropped)
        numbers = bands[dropped.to_numpy(zero_copy_only=False)].tolist()
        labels = [_band_label(number, self._find.label) for number in numbers]
        proof = pa.RecordBatch.from_arrays(
            [evidence.column(n) for n in ("doc_id", "duplicate_of", "similarity")] + [pa.array(labels, pa.string())],
            schema=EVIDENCE_SCHEMA,
        )
        for piece in split_by_bytes(proof):
            yield beam.pvalue.TaggedOutput(_EVIDENCE, (0, to_ipc(piece)))

    def _rows(self, shard: int, values: list[memoryview]) -> tuple[pa.RecordBatch, np.ndarray, np.ndarray]:
        """The dedup rows in document order; which are dropped as exact copies; the band numbers."""
        ids = read_column(self._find.document(shard), "doc_id")
        verdicts = from_ipc(values, VERDICT_SCHEMA).combine_chunks()
        index = np.full(len(ids), -1)
        index[verdicts.column("row").to_numpy()] = np.arange(verdicts.num_rows)
        chosen = pa.array(index, mask=index < 0)
        taken = [verdicts.column(n).take(chosen) for n in ("cluster_id", "duplicate_of", "similarity", "band")]
        clusters, kept, similarity, bands = (pa.concat_arrays(column.chunks) for column in taken)
        numbers = pc.fill_null(bands, NO_BAND).to_numpy(zero_copy_only=False)
        dropped = kept.is_valid().to_numpy(zero_copy_only=False)
        rows = pa.RecordBatch.from_arrays([ids, clusters, kept, similarity], schema=DEDUP_SCHEMA)
        return rows, dropped & (numbers == EXACT_BAND), numbers


def _band_label(number: int, exact: str) -> str | None:
    if number == NO_BAND:
        return None
    return exact if number == EXACT_BAND else str(number)


class _WriteEvidence(beam.DoFn):
    """One row a dropped document, sorted by its id.  Memory: about 200 bytes a row."""

    def __init__(self, find: FindDuplicates) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        proof = from_ipc((value for value in group[1] if value), EVIDENCE_SCHEMA)
        proof = proof.sort_by([("dropped_id", "ascending"), ("kept_id", "ascending")])
        path = storage.join(self._find.folder, "evidence.parquet")
        written = write_shard(path, EVIDENCE_SCHEMA, proof.to_batches(max_chunksize=1 << 16))
        # The documents are in the books of their shards already.
        yield record_of(written.record(self._find.output), manifests.Books())


def _add_up(group: tuple[int, Iterable[bytes]]) -> bytes:
    totals = dict.fromkeys(SUMMARY, 0)
    for value in group[1]:
        for name, count in json.loads(value).items() if value else ():
            totals[name] = max(totals[name], count) if name == LARGEST else totals[name] + count
    return json.dumps({"summary": totals}, sort_keys=True).encode()
