"""What a search for duplicates is asked to do, where its files lie and how its partitions are sized."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dedup.bands import Bands, choose_bands
from dedup.components import KEEP_POLICIES, Keep
from dedup.hashing import Hashes
from dedup.minhash import PERMUTATIONS
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.exchange import MODES, PARTITION_RECORDS, Exchange, Mode, partition_count
from pipelines.shards import read_batches, row_count

Method = Literal["exact", "minhash"]
METHODS: tuple[Method, ...] = ("exact", "minhash")
# A set partition of 64 MB at 4 kB a document: 500 shingles, 3 kB of text, and every document a candidate.
_PARTITION_SETS = 16_000
# Members (about 100 bytes each as Arrow, 400 as Python objects) of a partition of clusters.
_PARTITION_MEMBERS = 250_000
_ROWS_PER_READ = 1024
# Kinds of values that meet in one partition.
UNIT, COPIES, QUESTION, ANSWER, VERDICT, SIMILARITY, PAIRS, SETS = range(8)


def part(shard: int) -> str:
    return f"part-{shard:05d}.parquet"


@dataclasses.dataclass(frozen=True)
class FindDuplicates:
    """A search over documents/ and annotations/<annotator>/ below `output`; writes annotations/dedup/ there.

    shards     number of document shards; shard i is documents/part-0000i.parquet

    method     exact: equal texts only.  minhash: also pairs with Jaccard >= threshold, and what they connect
    keep       which document of a cluster stays: `dedup.choose_kept`
    exchange   files: through files below the output, memory: through the runner's shuffle, None: files where
               the output is a directory of this machine or of a shared mount
    workers    how many the engine has; sizes partitions, changes no byte of the result

    Memory of a worker, the largest of: the ids of one shard; one partition (24 to 64 MB, twice while it is
    sorted); 110 bytes a document that has any duplicate (components, one worker); 200 bytes a dropped
    document (evidence, one worker).  Disk of exchange=files: 24 bytes a document, 16 a band of a document,
    24 a pair and band, and the shingle sets of the candidates.
    """

    output: str
    shards: int
    method: Method = "minhash"
    threshold: float = 0.8
    keep: Keep = "longest"
    annotator: str = "minhash@1"
    permutations: int = PERMUTATIONS
    exchange: Mode | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, allowed are {', '.join(METHODS)}")
        if self.keep not in KEEP_POLICIES:
            raise ValueError(f"keep is {self.keep!r}, allowed are {', '.join(KEEP_POLICIES)}")
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, allowed is 0 < threshold <= 1")
        if self.exchange is not None and self.exchange not in MODES:
            raise ValueError(f"exchange is {self.exchange!r}, allowed are {', '.join(MODES)} and None")
        if self.shards < 0 or self.workers < 1:
            raise ValueError(f"shards is {self.shards}, workers is {self.workers}")

    @property
    def documents(self) -> str:
        return storage.join(self.output, "documents")

    @property
    def folder(self) -> str:
        return storage.join(self.output, "annotations", "dedup")

    @property
    def spill_dir(self) -> str | None:
        mode = self.exchange or ("memory" if storage.is_remote(self.output) else "files")
        return storage.join(self.folder, "spill") if mode == "files" else None

    @property
    def bands(self) -> Bands:
        return choose_bands(self.threshold, self.permutations)

    def document(self, shard: int) -> str:
        return storage.join(self.documents, part(shard))

    def annotation(self, shard: int) -> str:
        return storage.join(self.output, "annotations", self.annotator, part(shard))

    def count_documents(self) -> int:
        """From the manifest of the document shards if there is one, else from their footers."""
        ingest = manifests.load(manifests.stage_manifest(self.output, "documents"))
        if ingest is not None:
            return ingest.rows
        return sum(row_count(self.document(shard)) for shard in range(self.shards))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all parts of one graph share: the options, the exchange and the number of documents."""

    find: FindDuplicates
    exchange: Exchange
    documents: int

    def partitions(self, records: int, per_partition: int = PARTITION_RECORDS) -> int:
        return partition_count(records, self.find.workers, per_partition)

    @property
    def pair_partitions(self) -> int:
        return self.partitions(self.documents, _PARTITION_SETS)

    @property
    def cluster_partitions(self) -> int:
        return self.partitions(self.documents, _PARTITION_MEMBERS)


# Inside the graph a document is 8 bytes: shard number << 32 | row.  A shard has fewer than 2^32 rows.
_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(0xFFFFFFFF)


def address(shard: int, rows: npt.NDArray[np.int64]) -> Hashes:
    return np.uint64(shard << 32) | rows.astype(np.uint64)


def shard_of(addresses: Hashes) -> npt.NDArray[np.int64]:
    return (addresses >> _ROW_BITS).astype(np.int64)


def row_of(addresses: Hashes) -> npt.NDArray[np.int64]:
    return (addresses & _ROW_MASK).astype(np.int64)


def read_column(path: str, name: str) -> pa.Array:
    """One column of a whole shard; memory: that column."""
    parts = [batch.column(0) for batch in read_batches(path, [name])]
    if parts:
        return pa.concat_arrays(parts)
    with storage.open_read(path) as file:
        return pa.array([], pq.read_schema(file).field(name).type)


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


def counted(**counts: int) -> bytes:
    """A contribution to the summary of the stage."""
    return json.dumps(counts, sort_keys=True).encode()


def one_key(record: bytes) -> tuple[int, bytes]:
    return 0, record
