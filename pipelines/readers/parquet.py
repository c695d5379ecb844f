"""Parquet files, by row groups: one document a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.readers.files import Files, Found
from pipelines.readers.limits import Limits
from pipelines.readers.records import Item, Refused, Rejected
from pipelines.readers.rows import document_from_row
from pipelines.readers.units import Source, UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

_MAGIC = b"PAR1"
# Uncompressed bytes of the row groups of one unit.
RANGE_BYTES = 64 << 20
# Rows decoded at once; with rows at the size limit this is far below a row group.
_BATCH_ROWS = 128
# A footer with strings or lists beyond this is refused by the reader (bytes, elements).
_MAX_THRIFT_BYTES = 64 << 20
_MAX_THRIFT_ELEMENTS = 1_000_000


def _open(raw: BinaryIO) -> pq.ParquetFile:
    head = raw.read(4)
    end = raw.seek(0, 2)
    raw.seek(max(0, end - 4))
    tail = raw.read(4)
    raw.seek(0)
    if head == _MAGIC and (tail != _MAGIC or end < 12):
        raise Refused("truncated", "parquet: no footer")
    try:
        return pq.ParquetFile(
            raw,
            page_checksum_verification=True,  # where the writer stored check sums
            thrift_string_size_limit=_MAX_THRIFT_BYTES,
            thrift_container_size_limit=_MAX_THRIFT_ELEMENTS,
        )
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise Refused("broken_record", f"parquet: {error}") from error


def row_group_ranges(path: str, files: Files, range_bytes: int) -> list[tuple[int, int]]:
    """Runs of row groups of about `range_bytes` uncompressed; empty if the file cannot be read or is one
    run."""
    try:
        with files.open(path) as raw:
            metadata = _open(raw).metadata
            sizes = [metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)]
    except Refused:  # the reader will say so
        return []
    edges = [0]
    weight = 0
    for index, size in enumerate(sizes):
        if weight and weight + size > range_bytes:
            edges.append(index)
            weight = 0
        weight += size
    ranges = list(zip(edges, [*edges[1:], len(sizes)], strict=True))
    return ranges if len(ranges) > 1 else []


def cuts(found: Found, source: Source, files: Files) -> list[dict[str, int | None]]:
    """Row groups of the units into which a large file is cut."""
    if found.size <= RANGE_BYTES // 4:
        return []
    return [{"start": a, "stop": b} for a, b in row_group_ranges(found.path, files, RANGE_BYTES)]


def read_rows(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The rows of one unit."""
    unit = reading.unit
    return read_parquet(raw, file.name, unit.source, unit.document_kind, reading.limits, unit.start, unit.stop)


def _check(group: pq.RowGroupMetaData, limits: Limits) -> None:
    for index in range(group.num_columns):
        column = group.column(index)
        size = column.total_uncompressed_size
        if size < 0 or column.total_compressed_size < 0 or group.num_rows < 0:
            raise Refused("broken_record", "parquet: negative sizes")
        if size > limits.max_archive_bytes or (
            size - limits.max_item_bytes > limits.max_ratio * column.total_compressed_size
        ):
            raise Refused("zip_bomb", f"parquet: {size} bytes from {column.total_compressed_size}")


def read_parquet(
    raw: BinaryIO,
    name: str,
    source: str,
    document_kind: str | None,
    limits: Limits,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Item]:
    """Locator: `name#row`, counted from 0 over the file.  A broken row group is one rejected item, the next
    is read.

    Memory: the compressed column chunks of one row group and one batch of rows.
    """
    try:
        file = _open(raw)
    except Refused as refused:
        yield refused.at(name)
        return
    if "text" not in file.schema_arrow.names:
        yield Rejected(name, "missing_text", f"no column text among {', '.join(file.schema_arrow.names)}"[:300])
        return
    groups = range(start, file.num_row_groups if stop is None else min(stop, file.num_row_groups))
    row = sum(file.metadata.row_group(index).num_rows for index in range(start))
    for index in groups:
        group = file.metadata.row_group(index)
        first, row = row, row + group.num_rows
        at = first
        try:
            _check(group, limits)
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[index]):
                for values in batch.to_pylist():
                    locator = f"{name}#{at}"
                    at += 1
                    try:
                        text = values["text"]
                        if isinstance(text, str | bytes) and len(text) > limits.max_item_bytes:
                            raise Refused("too_large", f"a text of more than {limits.max_item_bytes} bytes")
                        yield document_from_row(values, locator, source, document_kind)
                    except Refused as refused:
                        yield refused.at(locator)
        except Refused as refused:
            yield Rejected(f"{name}#{at}", refused.error, f"row group {index}: {refused.message}")
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            yield Rejected(f"{name}#{at}", "broken_record", f"row group {index}, rest of it: {error}")
