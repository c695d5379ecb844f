"""Annotate: columns beside the text, one shard an annotator and a document shard, row for row.

All annotators that are to run see a batch once.  Those of FILLS go first: what they find out about the language
fills the `language` and `programming_language` columns that the others read.  An editor goes before the families
that see the text after its edits, and is not run again for them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.annotators import Annotator, EditableTexts, annotate_shared, factories
from pipelines.documents import DOCUMENT_SCHEMA, REJECTED_SCHEMA
from pipelines.ingest import DOCUMENTS, REJECTED, part, rejected_batch
from pipelines.manifest import Books
from pipelines.shards import ShardWriter, read_aligned, write_shard
from quality_signals.text_batch import SharedTexts

ANNOTATIONS = "annotations"
# Column of an annotator that fills a column of the document for the annotators after it.
FILLS = {
    "language@1": {"language": "language"},
    "code_stats@1": {"programming_language": "programming_language"},
    "code@1": {"programming_language": "programming_language"},
}


def annotator(name: str) -> Annotator:
    """The annotator of that name with its defaults."""
    return factories()[name]()


def annotation_shard(output: str, name: str, index: int) -> str:
    return storage.join(output, ANNOTATIONS, name, part(index))


def annotation_schema(columns: pa.Schema) -> pa.Schema:
    return pa.schema([DOCUMENT_SCHEMA.field("doc_id"), *columns])


def annotate_rows(
    annotate: Annotator, batch: pa.RecordBatch, shared: SharedTexts | None = None
) -> tuple[pa.RecordBatch, list[tuple[str, str, str]]]:
    """The annotator's columns for every row, and (doc_id, error, message) of the rows that failed (all null).

    shared: the batch's texts, for several annotators, and what editors said of them.  A failing batch is tried again
    row by row, so that one bad document costs itself only.
    """
    try:
        return _checked(annotate, EditableTexts(batch) if shared is None else shared), []
    except Exception:  # any fault of an annotator on hostile text ends as data, row by row below
        parts: list[pa.RecordBatch] = []
        failed: list[tuple[str, str, str]] = []
        for row in range(batch.num_rows):
            single = batch.slice(row, 1)
            try:
                parts.append(_checked(annotate, EditableTexts(single, _of_row(shared, row))))
            except Exception as error:
                failed.append((single.column("doc_id")[0].as_py(), type(error).__name__, str(error)))
                nulls = [pa.nulls(1, field.type) for field in annotate.schema]
                parts.append(pa.RecordBatch.from_arrays(nulls, schema=annotate.schema))
        return pa.concat_batches(parts), failed


def _of_row(shared: SharedTexts | None, row: int) -> dict[str, pa.RecordBatch]:
    """The columns that are known already, of one row."""
    known = shared.known if isinstance(shared, EditableTexts) else {}
    return {name: columns.slice(row, 1) for name, columns in known.items()}


def _checked(annotate: Annotator, shared: SharedTexts) -> pa.RecordBatch:
    batch = shared.batch
    columns = annotate_shared(annotate, shared)
    if columns.num_rows != batch.num_rows or not columns.schema.equals(annotate.schema):
        raise TypeError(
            f"{annotate.name} returned {columns.num_rows} rows of {columns.schema} "
            f"for {batch.num_rows} rows; its schema is {annotate.schema}"
        )
    return columns


def fill_columns(batch: pa.RecordBatch, columns: pa.RecordBatch, fills: Mapping[str, str]) -> pa.RecordBatch:
    """The documents with the null values of a column replaced by an annotator's."""
    for target, origin in fills.items():
        index = batch.schema.get_field_index(target)
        filled = pc.coalesce(batch.column(index), columns.column(origin).cast(batch.schema.field(index).type))
        batch = batch.set_column(index, batch.schema.field(index), filled)
    return batch


@dataclasses.dataclass(frozen=True)
class AnnotateUnits:
    """Worker of the annotate stages: one document shard in, one shard for every pending annotator out.

    given: annotators that are finished, and fill document columns or edit the text for the pending ones.
    """

    output: str
    pending: tuple[Annotator, ...]
    given: tuple[str, ...] = ()

    def run(self, unit: bytes) -> Iterator[dict[str, Any]]:
        index = json.loads(unit)["index"]
        document_path = storage.join(self.output, DOCUMENTS, part(index))
        given = {name: annotation_shard(self.output, name, index) for name in self.given}
        failed: list[tuple[str, str | None, str, str, str]] = []
        rejected: dict[str, Counter[str]] = {a.name: Counter() for a in self.pending}
        with contextlib.ExitStack() as stack:
            writers = {
                a.name: stack.enter_context(
                    ShardWriter(annotation_shard(self.output, a.name, index), annotation_schema(a.schema))
                )
                for a in self.pending
            }
            for batch, known in read_aligned(document_path, given):
                for name, columns in known.items():
                    batch = fill_columns(batch, columns, FILLS.get(name, {}))
                shared = EditableTexts(batch, known)
                for each in self.pending:
                    columns, faults = annotate_rows(each, batch, shared)
                    for identity, error, message in faults:
                        rejected[each.name][error] += 1
                        failed.append((identity, None, f"annotate/{each.name}", error, message[:500]))
                    writers[each.name].write(
                        pa.RecordBatch.from_arrays(
                            [batch.column("doc_id"), *columns.columns], schema=annotation_schema(each.schema)
                        )
                    )
                    if not faults:
                        shared.known[each.name] = columns
                    if each.name in FILLS:
                        batch = fill_columns(batch, columns, FILLS[each.name])
                        shared = EditableTexts(batch, shared.known)
        for each in self.pending:
            shard = writers[each.name].written
            bad = dict(rejected[each.name])
            books = Books(shard.rows, shard.rows - sum(bad.values()), {}, bad)
            yield {**shard.record(self.output), "stage": each.name, "books": books.to_json()}
            rows = [row for row in failed if row[2] == f"annotate/{each.name}"]
            if rows:
                path = storage.join(self.output, REJECTED, f"{each.name}-{part(index)}")
                refused = write_shard(path, REJECTED_SCHEMA, [rejected_batch(rows)])
                yield {**refused.record(self.output), "stage": each.name}
