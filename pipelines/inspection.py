"""Looking at what lies in an output folder: rows of a shard, and the way of one document through the rules."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.annotate import annotation_shard
from pipelines.corpus_search import read_rows
from pipelines.curate import CORPORA, LICENSE, WATERFALL, corpus_directory
from pipelines.errors import UsageError
from pipelines.ingest import DOCUMENTS
from pipelines.manifest import stage_manifest
from pipelines.shards import read_batches
from pipelines.split import TRAIN
from quality_signals.edits import COLUMN as EDITS_COLUMN

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
            lines += _lines(row)
        return "\n".join(lines)


def _lines(row: dict[str, Any]) -> list[str]:
    """A row for people: no line for what is null, one for each key of a mapping."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if name == "meta" and value else {name: value}
    return [f"{name}: {_short(value)}" for name, value in flat.items() if value is not None]


def _short(value: Any) -> str:
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= _CELL_CHARS else f"{text[:_CELL_CHARS]}... ({len(text):,} characters)"


def shard_sample(path: str, rows: int) -> Rows:
    """The first rows of a shard.  Raises UsageError for what is not a Parquet file."""
    if not path.endswith(".parquet"):
        raise UsageError(f"{path}: not a .parquet shard; for a document of a run give the output folder and --doc")
    found: list[dict[str, Any]] = []
    for batch in read_batches(path):
        found += batch.slice(0, rows - len(found)).to_pylist(maps_as_pydicts="lossy")
        if len(found) >= rows:
            break
    return Rows(path, found)


@dataclasses.dataclass(frozen=True, slots=True)
class Story:
    """The record of one document from its origin to the corpora: what it is, by which proof it has its licence, how it
    was read, and for each variant the rule that decided, where it lies and what was changed in its text."""

    document: dict[str, Any]
    shard: str
    row: int
    license: dict[str, Any] | None
    read: dict[str, Any]
    variants: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def text(self) -> str:
        lines = _lines(self.document)
        lines.append(f"extracted: {self.shard}, row {self.row}")
        if self.license is not None:
            lines.append(f"licence by {self.license['source'] or 'nothing'}: {_short(self.license)}")
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
            if "shard" in row:
                line += f", {row['shard']}, row {row['row']}"
            for edit in row.get("edits", ()):
                line += f", {edit['removed_characters']:,} characters less by {edit['step']}"
            if row.get("redacted"):
                line += ", redacted " + ", ".join(f"{count} {kind}" for kind, count in row["redacted"].items())
            lines.append(line)
        return "\n".join(lines)


def document_story(output: str, doc_id: str) -> Story:
    """Reads the ids of documents/, then the rows that are needed.  Raises UsageError if no document has that id."""
    shards = sorted(glob.glob(storage.join(output, DOCUMENTS, "*.parquet")))
    found = _place(shards, doc_id)
    if found is None:
        raise UsageError(f"{output}: no document {doc_id!r} in {DOCUMENTS}/")
    shard, row = found
    index = shards.index(shard)
    license_shard = annotation_shard(output, LICENSE, index)
    manifest = storage.read_json(stage_manifest(output, DOCUMENTS))
    document = row_of(shard, row)
    return Story(
        document,
        os.path.relpath(shard, output),
        row,
        _proof(license_shard, row, document["text"]) if storage.exists(license_shard) else None,
        {name: manifest[name] for name in ("code", "versions", "options")},
        {
            path.split("/")[-2]: _in_variant(output, path, doc_id, index, row)
            for path in sorted(glob.glob(storage.join(output, CORPORA, "*", WATERFALL)))
        },
    )


def _place(shards: list[str], doc_id: str) -> tuple[str, int] | None:
    """(shard, row) of a document."""
    for shard in shards:
        first = 0
        for batch in read_batches(shard, ["doc_id"]):
            at = pc.index(batch.column("doc_id"), doc_id).as_py()
            if at >= 0:
                return shard, first + at
            first += batch.num_rows
    return None


def _proof(path: str, row: int, text: str) -> dict[str, Any]:
    """The licence, and the words of the document that prove it, where it is the document's own."""
    license = {name: value for name, value in row_of(path, row).items() if name != "doc_id"}
    start, end = license["span_start"], license["span_end"]
    return {**license, "proof": text[start:end] if start is not None else None}


def _in_variant(output: str, waterfall: str, doc_id: str, index: int, row: int) -> dict[str, Any]:
    """What one variant decided, and what it made of the text, where the document is in its corpus."""
    variant = waterfall.split("/")[-2]
    fall = _place([waterfall], doc_id)
    if fall is None:
        raise UsageError(f"{waterfall}: says nothing of {doc_id!r}; the run is not finished")
    told = {name: value for name, value in row_of(*fall).items() if name != "doc_id"}
    place = _place(sorted(glob.glob(storage.join(output, CORPORA, variant, "data", "*.parquet"))), doc_id)
    if place is None:
        return told
    spans = row_of(*place, ("pii",))["pii"] or []
    told |= {"shard": os.path.relpath(place[0], output), "row": place[1]}
    told["redacted"] = dict(sorted(Counter(span["kind"] for span in spans).items()))
    told["edits"] = []
    if told["verdict"] == TRAIN:
        steps = storage.read_json(stage_manifest(output, corpus_directory(variant)))["options"].get("rules", [])
        editors = [step.removesuffix(f"/{EDITS_COLUMN}") for step in steps if step.endswith(f"/{EDITS_COLUMN}")]
        before = 0
        for editor in editors:
            edits = row_of(annotation_shard(output, editor, index), row, (EDITS_COLUMN,))[EDITS_COLUMN]
            removed = sum(edit["end"] - edit["start"] - len(edit["replacement"]) for edit in edits or [])
            told["edits"].append({"step": f"{editor}/{EDITS_COLUMN}", "removed_characters": removed - before})
            before = removed
    return told


def row_of(path: str, row: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """One row of a shard, of those columns that it has; reads them in its row group up to there."""
    return rows_of(path, [row], columns)[row]


def rows_of(path: str, rows: Sequence[int], columns: Sequence[str] | None = None) -> dict[int, dict[str, Any]]:
    """Some rows of a shard, of those columns that it has; each row group that has one is read once, up to its last."""
    with storage.open_read(path) as file:
        names = pq.read_schema(file).names
    known = [name for name in names if columns is None or name in columns]
    wanted = np.unique(np.array(rows, np.int64))
    found: dict[int, dict[str, Any]] = {}
    for asked, batch in read_rows(path, known, wanted):
        found |= zip(asked.tolist(), batch.to_pylist(maps_as_pydicts="lossy"), strict=True)
        if len(found) == len(wanted):
            break
    return found
