"""Looking at what lies in an output folder: rows of a shard, and the way of one document through the rules."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from pipelines import storage
from pipelines.curate import CORPORA, WATERFALL
from pipelines.errors import UsageError
from pipelines.ingest import DOCUMENTS
from pipelines.shards import read_batches

_CELL_CHARS = 160


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a shard; `text` shortens long cells, `to_json` does not."""

    path: str
    rows: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "rows": self.rows}

    def text(self) -> str:
        lines = []
        for number, row in enumerate(self.rows):
            lines.append(f"-- row {number}")
            lines += [f"{name}: {_short(value)}" for name, value in row.items() if value is not None]
        return "\n".join(lines)


def _short(value: Any) -> str:
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= _CELL_CHARS else f"{text[:_CELL_CHARS]}... ({len(text):,} characters)"


def shard_sample(path: str, rows: int) -> Rows:
    """The first rows of a shard.  Raises UsageError for what is not a Parquet file."""
    if not path.endswith(".parquet"):
        raise UsageError(f"{path}: not a .parquet shard; for a document of a run give the output folder and --doc")
    found: list[dict[str, Any]] = []
    for batch in read_batches(path):
        found += batch.slice(0, rows - len(found)).to_pylist()
        if len(found) >= rows:
            break
    return Rows(path, found)


@dataclasses.dataclass(frozen=True, slots=True)
class Story:
    """A document, and for each variant the rule that decided about it."""

    document: dict[str, Any]
    variants: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def text(self) -> str:
        lines = [f"{name}: {_short(value)}" for name, value in self.document.items() if value is not None]
        for variant, row in self.variants.items():
            line = f"{variant}: {row['verdict']}"
            if row["rule"]:
                line += f" by {row['rule']}"
            if row["value"] is not None:
                line += f", value {row['value']:.6g}"
            if row["threshold"] is not None:
                line += f", threshold {row['threshold']:.6g}"
            if row["duplicate_of"]:
                line += f", duplicate of {row['duplicate_of']} with similarity {row['similarity']:.3f}"
            lines.append(line)
        return "\n".join(lines)


def document_story(output: str, doc_id: str) -> Story:
    """Searches documents/ and every waterfall.  Raises UsageError if no document has that id."""
    document = next(_rows_with(glob.glob(storage.join(output, DOCUMENTS, "*.parquet")), doc_id), None)
    if document is None:
        raise UsageError(f"{output}: no document {doc_id!r} in {DOCUMENTS}/")
    variants = {}
    for path in sorted(glob.glob(storage.join(output, CORPORA, "*", WATERFALL))):
        row = next(_rows_with([path], doc_id), None)
        if row is not None:
            variants[path.split("/")[-2]] = row
    return Story(document, variants)


def _rows_with(paths: list[str], doc_id: str) -> Iterator[dict[str, Any]]:
    for path in sorted(paths):
        for batch in read_batches(path):
            yield from batch.filter(pc.equal(batch.column("doc_id"), doc_id)).to_pylist()
