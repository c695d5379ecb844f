"""Corpora for the search for duplicates, and what a search wrote."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from dedup.minhash import MinHash
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.find_duplicates import FindDuplicates, build_find_duplicates
from pipelines.shards import write_shard

THRESHOLD = 0.8
Documents = list[tuple[str, str]]  # doc_id, text


def write_corpus(output: Path, shards: list[Documents], rows_per_write: int = 40) -> None:
    """Document shards and their minhash@1 annotations."""
    annotator = MinHash()
    schema = pa.schema([DOCUMENT_SCHEMA.field("doc_id"), *annotator.schema])
    for index, documents in enumerate(shards):
        rows = [{"doc_id": d, "source": "s", "kind": "web", "text": t, "meta": []} for d, t in documents]
        batches = [
            pa.RecordBatch.from_pylist(rows[i : i + rows_per_write], schema=DOCUMENT_SCHEMA)
            for i in range(0, len(rows), rows_per_write)
        ]
        annotations = [
            pa.RecordBatch.from_arrays([b.column("doc_id"), *annotator.annotate(b).columns], schema=schema)
            for b in batches
        ]
        name = f"part-{index:05d}.parquet"
        write_shard(str(output / "documents" / name), DOCUMENT_SCHEMA, batches)
        write_shard(str(output / "annotations" / "minhash@1" / name), schema, annotations)


@dataclasses.dataclass
class Searched:
    """What a search wrote into its folder, and its records."""

    folder: Path
    records: list[dict[str, Any]]

    @property
    def summary(self) -> dict[str, int]:
        (summary,) = [r["summary"] for r in self.records if "summary" in r]
        return summary

    @property
    def files(self) -> dict[str, bytes]:
        return {str(f.relative_to(self.folder)): f.read_bytes() for f in self.folder.rglob("*") if f.is_file()}


@dataclasses.dataclass
class Result(Searched):
    @property
    def output(self) -> Path:
        return self.folder.parent.parent

    @property
    def books(self) -> dict[str, dict[str, Any]]:
        return {r["path"]: r["books"] for r in self.records if "books" in r}

    @property
    def rows(self) -> list[dict[str, Any]]:
        shards = sorted(self.folder.glob("part-*.parquet"))
        return [row for shard in shards for row in pq.read_table(shard).to_pylist()]

    @property
    def evidence(self) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "evidence.parquet").to_pylist()

    @property
    def clusters(self) -> set[frozenset[str]]:
        found: dict[str, set[str]] = {}
        for row in self.rows:
            if row["cluster_id"] is not None:
                found.setdefault(row["cluster_id"], set()).add(row["doc_id"])
        return {frozenset(members) for members in found.values()}


def records_of(
    output: Path, build: Callable[[beam.Pipeline], beam.PCollection[bytes]], *flags: str
) -> list[dict[str, Any]]:
    """What a graph says of the files that it writes."""
    records = output / "records.jsonl"
    with beam.Pipeline("FnApiRunner", PipelineOptions(list(flags))) as pipeline:
        (
            build(pipeline)
            | "Decode" >> beam.Map(bytes.decode)
            | "Records" >> beam.io.WriteToText(str(records), num_shards=1, shard_name_template="")
        )
    return [json.loads(line) for line in records.read_text().splitlines()]


def search(output: Path, find: FindDuplicates, *flags: str) -> Result:
    records = records_of(output, lambda pipeline: build_find_duplicates(pipeline, find), *flags)
    return Result(output / "annotations" / "dedup", records)


def find_in(output: Path, shards: list[Documents], **options: Any) -> Result:
    write_corpus(output, shards)
    return search(output, FindDuplicates(str(output), len(shards), **options))


def write_columns(output: Path, rows: list[dict[str, Any]], shards: int = 2) -> None:
    """Document shards of rows with any columns, and their minhash@1 and length@1 annotations."""
    annotator = MinHash()
    for index in range(shards):
        full = [{"source": "s", "kind": "web", "text": "", "meta": [], **row} for row in rows[index::shards]]
        batch = pa.RecordBatch.from_pylist(full, schema=DOCUMENT_SCHEMA)
        made = annotator.annotate(batch)
        name = f"part-{index:05d}.parquet"
        write_shard(str(output / "documents" / name), DOCUMENT_SCHEMA, [batch])
        schema = pa.schema([DOCUMENT_SCHEMA.field("doc_id"), *annotator.schema])
        table = pa.RecordBatch.from_arrays([batch.column("doc_id"), *made.columns], schema=schema)
        write_shard(str(output / "annotations" / "minhash@1" / name), schema, [table])
        scores = pa.array([row["score"] for row in rows[index::shards]] if "score" in rows[0] else [0.0] * len(full))
        schema = pa.schema([DOCUMENT_SCHEMA.field("doc_id"), pa.field("score", pa.float64())])
        scored = pa.RecordBatch.from_arrays([batch.column("doc_id"), scores.cast(pa.float64())], schema=schema)
        write_shard(str(output / "annotations" / "score@1" / name), schema, [scored])
