"""What every annotator does with a batch: read optional columns, build output columns, choose the rows to
compute."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

PROSE_KINDS = ("web", "prose", "conversation")
CODE_KINDS = ("code", "notebook")


def field(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    metadata = {"description": description}
    if unit:
        metadata["unit"] = unit
    return pa.field(name, kind, metadata=metadata)


def optional(batch: pa.RecordBatch, name: str) -> list[str | None]:
    """Values of a string column, all None where the batch has no such column."""
    index = batch.schema.get_field_index(name)
    return [None] * batch.num_rows if index < 0 else batch.column(index).to_pylist()


def texts(batch: pa.RecordBatch, rows: Sequence[bool]) -> list[str | None]:
    """The text of the rows that are asked for, None for the others (which are not decoded)."""
    column = batch.column("text")
    if all(rows):
        return column.to_pylist()
    return [column[i].as_py() if wanted else None for i, wanted in enumerate(rows)]


def of_kinds(batch: pa.RecordBatch, kinds: Sequence[str], null_kind: bool = True) -> list[bool]:
    """Which rows are of one of these kinds and have a text; null_kind: whether a row without kind is."""
    has_text = batch.column("text").is_valid().to_pylist()
    return [
        valid and (null_kind if kind is None else kind in kinds)
        for kind, valid in zip(optional(batch, "kind"), has_text, strict=True)
    ]


def batch_of(
    texts: Sequence[str | None],
    *,
    language: str | Sequence[str | None] | None = None,
    kind: str | Sequence[str | None] | None = None,
    path: Sequence[str | None] | None = None,
    url: Sequence[str | None] | None = None,
) -> pa.RecordBatch:
    """A batch with the columns that annotators read, from plain strings."""
    rows = len(texts)

    def column(values: str | Sequence[str | None] | None) -> pa.Array:
        if values is None or isinstance(values, str):
            return pa.array([values] * rows, pa.string())
        if len(values) != rows:
            raise ValueError(f"{rows} texts, but {len(values)} values for a column")
        return pa.array(list(values), pa.string())

    return pa.RecordBatch.from_pydict(
        {
            "text": pa.array(list(texts), pa.large_string()),
            "language": column(language),
            "kind": column(kind),
            "path": column(path),
            "url": column(url),
        }
    )
