"""What every annotator does with a batch: read optional columns, build output columns, choose the rows to
compute."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

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
    chosen = batch.column("text").is_valid()
    index = batch.schema.get_field_index("kind")
    if index >= 0:
        of = batch.column(index).cast(pa.string())
        of_these = pc.is_in(of, pa.array(list(kinds), pa.string()), skip_nulls=True)
        chosen = pc.and_(chosen, pc.or_(of_these, of.is_null()) if null_kind else of_these)
    elif not null_kind:
        return [False] * batch.num_rows
    return chosen.to_pylist()


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
