"""What every search over all document shards shares: options, what it reads, the spread of shards, the graph's end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.annotate import ANNOTATIONS, FILLS, fill_columns
from pipelines.exchange import Exchange, Mode, Values, check_mode, of_kind
from pipelines.ingest import DOCUMENTS, part
from pipelines.manifest import Books
from pipelines.shards import read_aligned
from quality_signals.edits import COLUMN as EDITS
from quality_signals.edits import apply_to_batch

# Columns by which annotations say that a document goes.
KEEP, DUPLICATE_OF, SEEN = "keep", "duplicate_of", "seen"
_ROWS_PER_READ = 1024
# Kind of the value that stands for a shard: its group exists also where nothing else has come.
UNIT = 0
_PAIR = tuple[int, bytes]


class CorpusSearch:
    """Base of the frozen dataclasses that say what a search is to do; these are fields of each of them.

    output    documents/ below it is read, a folder of annotations is written
    shards    number of document shards; shard i is documents/part-0000i.parquet
    exchange  files: through files below the output, memory: through the runner's shuffle, None: files where the
              output is a directory of this machine or of a shared mount; changes no byte of the result, as do
    workers   how many the engine has; sizes partitions
    after     annotators below annotations/: documents that one of them drops (keep is false, it names a duplicate, it
              was seen before) take no part, and of the last one, if it has edits, the edits come first; edits written
              here lead from the document's text to what both leave
    fills     annotators below annotations/ that fill null values of the documents (`pipelines.annotate.FILLS`)
    """

    output: str
    shards: int
    exchange: Mode | None
    workers: int
    after: tuple[str, ...] = ()
    fills: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Of the annotations that are written."""
        raise NotImplementedError

    def check_common(self) -> None:
        """Raises ValueError."""
        check_mode(self.exchange)
        if self.shards < 0 or self.workers < 1:
            raise ValueError(f"shards is {self.shards}, workers is {self.workers}")

    @property
    def through(self) -> Exchange:
        return Exchange.chosen(self.exchange, self.output, self.folder)

    def document(self, shard: int) -> str:
        return storage.join(self.output, DOCUMENTS, part(shard))

    def annotation_of(self, name: str, shard: int) -> str:
        return storage.join(self.output, ANNOTATIONS, name, part(shard))

    def check_after(self) -> None:
        """Raises ValueError where an annotator of `after` is missing or says nothing about what stays."""
        for name in self.after if self.shards else ():
            path = self.annotation_of(name, 0)
            if not storage.exists(path):
                raise ValueError(f"after {name}: {path} does not exist")
            with storage.open_read(path) as file:
                names = pq.read_schema(file).names
            if {KEEP, DUPLICATE_OF, SEEN, EDITS}.isdisjoint(names):
                raise ValueError(f"after {name}: {path} says neither what stays nor {EDITS}, but {', '.join(names)}")

    def texts(self, shard: int, columns: Sequence[str]) -> Iterator[Texts]:
        """The documents of a shard, in order, as `after` and `fills` leave them; columns: of the documents."""
        given = {name: self.annotation_of(name, shard) for name in (*self.fills, *self.after)}
        for batch, known in read_aligned(self.document(shard), given, list(columns)):
            for name in self.fills:
                batch = fill_columns(batch, known[name], _fills(name, columns))
            takes_part = batch.column("text").is_valid()
            for name in self.after:
                takes_part = pc.and_(takes_part, stays(known[name]))
            edits = None
            if self.after and EDITS in known[self.after[-1]].schema.names:
                edits = known[self.after[-1]].column(EDITS)
                batch = apply_to_batch(batch, edits)
            yield Texts(batch, takes_part.to_numpy(zero_copy_only=False), edits)

    def rows(
        self, shard: int, columns: Sequence[str], rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
        """(row numbers, columns) of some documents of a shard (rows ascending, distinct), as `fills` leaves them."""
        filled = [
            (fills, _column_of_rows(self.annotation_of(name, shard), list(fills.values()), rows))
            for name in self.fills
            if (fills := _fills(name, columns))
        ]
        start = 0
        for asked, batch in read_rows(self.document(shard), list(columns), rows):
            for fills, values in filled:
                batch = fill_columns(batch, values.slice(start, batch.num_rows), fills)
            start += batch.num_rows
            yield asked, batch


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """Documents of a shard: what comes before is done to them; which take part; the edits that came before."""

    batch: pa.RecordBatch
    takes_part: npt.NDArray[np.bool_]
    edits: pa.Array | None


def stays(columns: pa.RecordBatch) -> pa.Array:
    """[rows] whether an annotator leaves the document, by whichever way it says so; an annotator that failed on it
    does."""
    names = columns.schema.names
    if KEEP in names:
        return columns.column(KEEP).fill_null(True)
    if DUPLICATE_OF in names:
        return columns.column(DUPLICATE_OF).is_null()
    if SEEN in names:
        return pc.invert(columns.column(SEEN).fill_null(False))
    return pa.array(np.ones(columns.num_rows, np.bool_))


def _fills(name: str, columns: Sequence[str]) -> dict[str, str]:
    return {target: origin for target, origin in FILLS[name].items() if target in columns}


def _column_of_rows(path: str, columns: list[str], rows: npt.NDArray[np.int64]) -> pa.RecordBatch:
    return pa.concat_batches([batch for _, batch in read_rows(path, columns, rows)])


def read_rows(
    path: str, columns: list[str], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
    """The asked rows (ascending, distinct) of a shard, in order: (row numbers, their columns).

    Row groups without an asked row are not read.  Memory: the pages of one row group.
    """
    with storage.open_read(path) as file, pq.ParquetFile(file) as parquet:
        start = 0
        for group in range(parquet.num_row_groups):
            stop = start + parquet.metadata.row_group(group).num_rows
            at = start
            if np.searchsorted(rows, start) < np.searchsorted(rows, stop):
                for batch in parquet.iter_batches(_ROWS_PER_READ, row_groups=[group], columns=columns):
                    asked = rows[np.searchsorted(rows, at) : np.searchsorted(rows, at + batch.num_rows)]
                    if asked.size:
                        yield asked, batch.take(pa.array(asked - at))
                    at += batch.num_rows
            start = stop
        if rows.size and rows[-1] >= start:
            raise ValueError(f"{path} has {start:,} rows, row {rows[-1]:,} was asked for")


def check_name(name: str | None) -> None:
    """Raises ValueError for a name of annotations that is none of a folder."""
    if name is not None and (not name or "/" in name):
        raise ValueError(f"name is {name!r}, needed is the name of a folder")


@dataclasses.dataclass(eq=False)
class SpreadShards(beam.PTransform):
    """The numbers of the shards, on all workers."""

    shards: int

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[int]:
        return (
            root.pipeline
            | "Shards" >> beam.Create(list(range(self.shards)), reshuffle=False).with_output_types(int)
            | "Spread" >> beam.Reshuffle()  # after the list of shards, so that workers share them
        )


@dataclasses.dataclass(eq=False)
class Units(beam.PTransform):
    """(shard, UNIT) for every shard, on all workers."""

    shards: int

    def expand(self, root: beam.pvalue.PBegin) -> Values:
        return root.pipeline | SpreadShards(self.shards) | "AsUnit" >> beam.Map(as_unit).with_output_types(_PAIR)


def as_unit(shard: int) -> tuple[int, bytes]:
    return shard, of_kind(UNIT, b"")


def one_key(record: bytes) -> tuple[int, bytes]:
    return 0, record


def nothing() -> beam.PTransform:
    """An empty value under the one key: its group exists also where nothing else has come."""
    return beam.Create([(0, b"")], reshuffle=False).with_output_types(_PAIR)


@dataclasses.dataclass(eq=False)
class RemoveSpill(beam.PTransform):
    """The records of all that was written; when the last of them is there, nothing refers to spilled values."""

    spill_dir: str | None

    def expand(self, records: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
        if self.spill_dir is None:
            return records
        return (
            records
            | "KeyRecords" >> beam.Map(one_key).with_output_types(_PAIR)
            | "AwaitAll" >> beam.GroupByKey()
            | "Remove" >> beam.FlatMap(_remove, self.spill_dir).with_output_types(bytes)
        )


def _remove(group: tuple[int, Iterable[bytes]], spill_dir: str) -> list[bytes]:
    records = sorted(group[1])
    storage.remove_tree(spill_dir)
    return records


def record_of(written: dict[str, object], books: Books) -> bytes:
    """The record of a written file, with what its documents count in the books of the stage."""
    return json.dumps({**written, "books": books.to_json()}, sort_keys=True).encode()


def file_record(output: str, path: str, data: bytes) -> bytes:
    """Writes a file that is no shard, and its record."""
    sha256 = storage.write_bytes(path, data)
    relative = path[len(output.rstrip("/")) + 1 :]
    return record_of({"path": relative, "rows": 0, "bytes": len(data), "sha256": sha256}, Books())
