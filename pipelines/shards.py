"""Parquet shards: written once, under a temporary name, with pinned options; read back in small batches.

The same rows give the same bytes (for one pyarrow version): no clock, no random name, no host inside.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage

# Uncompressed bytes of a row group: `MAX_ROW_GROUP_SIZE` of Hugging Face datasets is 100 MB; a third of it
# keeps a writer below 100 MB of memory.
ROW_GROUP_BYTES = 32 << 20
# Bytes of a batch in flight; a single row may be larger.  All rule families in one pass take 65 ms a MB at this size
# and 71 at half of it: a batch has a price of its own.
BATCH_BYTES = 4 << 20
_ROWS_PER_READ = 1024
# Content-defined chunking as huggingface/datasets sets it, so that the Hub can store shards by difference.
CHUNKING = {"min_chunk_size": 262144, "max_chunk_size": 1048576, "norm_level": 0}


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    path: str  # as given to the writer
    rows: int
    bytes: int
    sha256: str

    def record(self, relative_to: str) -> dict[str, object]:
        """The shard as a manifest names it: the path relative to the output folder."""
        prefix = relative_to.rstrip("/") + "/"
        if not self.path.startswith(prefix):
            raise ValueError(f"shard {self.path} does not lie below {relative_to}")
        return {
            "path": self.path[len(prefix) :],
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }


class ShardWriter:
    """Context manager that writes RecordBatches of one schema to one Parquet file.

    The file appears under its name on a clean exit only; then `.shard` tells rows, bytes and sha256.
    Memory: one row group (32 MB of Arrow data) and its compressed pages.
    """

    def __init__(self, path: str, schema: pa.Schema, *, content_defined_chunking: bool = False) -> None:
        self._path = path
        self._schema = schema
        self._chunking = CHUNKING if content_defined_chunking else False
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._rows = 0
        self._stack = contextlib.ExitStack()
        self.shard: Shard | None = None

    def __enter__(self) -> ShardWriter:
        self._file = self._stack.enter_context(storage.atomic_write(self._path))
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"),
            self._schema,
            compression="zstd",
            compression_level=3,
            write_statistics=True,
            write_page_index=True,
            write_page_checksum=True,
            use_content_defined_chunking=self._chunking,
            version="2.6",
        )
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Raises ValueError if the batch has another schema."""
        if not batch.schema.equals(self._schema):
            raise ValueError(f"{self._path}: batch schema {batch.schema} is not the shard's {self._schema}")
        if batch.num_rows == 0:
            return
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self._schema)
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._pending, self._pending_bytes = [], 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        else:
            self._file.discard()
        self._writer.close()
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            self.shard = Shard(self._path, self._rows, self._file.bytes, self._file.sha256)

    @property
    def written(self) -> Shard:
        """The finished shard; an error before the writer has left its `with` block."""
        if self.shard is None:
            raise RuntimeError(f"{self._path} is not finished")
        return self.shard


def write_shard(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Shard:
    with ShardWriter(path, schema) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.written


def split_by_bytes(batch: pa.RecordBatch, limit_bytes: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Slices of the batch of at most `limit_bytes` each (a larger row goes alone); no copy."""
    if batch.nbytes <= limit_bytes or batch.num_rows <= 1:
        if batch.num_rows:
            yield batch
        return
    middle = batch.num_rows // 2
    yield from split_by_bytes(batch.slice(0, middle), limit_bytes)
    yield from split_by_bytes(batch.slice(middle), limit_bytes)


def read_batches(path: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a shard in order, in batches of about 2 MB.  Memory: one row group's pages at a time."""
    with storage.open_read(path) as file, pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_size=_ROWS_PER_READ, columns=columns):
            yield from split_by_bytes(batch)


def equal_batches(batches: Iterable[pa.RecordBatch], rows: int = 1 << 16) -> Iterator[pa.RecordBatch]:
    """The same rows, `rows` to a batch but the last: a file made of them does not depend on how they came."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, rows - count)
            batch = batch.slice(part.num_rows)
            waiting.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.concat_batches(waiting)
                waiting, count = [], 0
    if waiting:
        yield pa.concat_batches(waiting)


def row_count(path: str) -> int:
    with storage.open_read(path) as file:
        return pq.read_metadata(file).num_rows


class RowReader:
    """Hands out exactly the number of rows that is asked for, across batch borders."""

    def __init__(self, path: str, columns: list[str] | None = None) -> None:
        self._path = path
        self._batches = read_batches(path, columns)
        self._rest: pa.RecordBatch | None = None

    def take(self, rows: int) -> pa.RecordBatch:
        parts: list[pa.RecordBatch] = []
        missing = rows
        while missing:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                raise ValueError(f"{self._path} ends {missing} rows too early")
            parts.append(batch.slice(0, missing))
            self._rest = batch.slice(missing) if batch.num_rows > missing else None
            missing -= parts[-1].num_rows
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

    def expect_end(self) -> None:
        if self._rest is not None or next(self._batches, None) is not None:
            raise ValueError(f"{self._path} has more rows than the document shard")


def read_aligned(
    documents: str, annotations: Mapping[str, str], columns: list[str] | None = None
) -> Iterator[tuple[pa.RecordBatch, dict[str, pa.RecordBatch]]]:
    """Batches of a document shard, each with the same rows of the annotation shards of the same number.

    annotations: annotator name -> path.  Raises ValueError, naming the file, where row i is of another document.
    """
    readers = {name: RowReader(path, None) for name, path in annotations.items()}
    for batch in read_batches(documents, columns):
        rows = {name: reader.take(batch.num_rows) for name, reader in readers.items()}
        for name, part in rows.items():
            if not part.column("doc_id").equals(batch.column("doc_id")):
                raise ValueError(f"{annotations[name]}: rows do not belong to the documents of {documents}")
        yield batch, rows
    for reader in readers.values():
        reader.expect_end()
