"""Documents that a huge past has seen already: a Bloom filter of their keys, made once and asked by every new dump."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup.bloom import BloomFilter
from dedup.exact import TEXT, check_key, digest_words
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.corpus_search import nothing, record_of
from pipelines.exchange import Exchange, packed
from pipelines.find_duplicates.candidates import key_values
from pipelines.find_duplicates.plan import FindDuplicates, read_column
from pipelines.ingest import part
from pipelines.shards import split_by_bytes, write_shard

SEEN = "seen"
SEEN_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field(SEEN, pa.bool_(), metadata={"description": "the key is in the filter; null without a key"}),
    ]
)
_DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
# The filter of this process; a worker reads it once.
_loaded: tuple[tuple[str, int, int], BloomFilter] | None = None


def filter_of(path: str) -> BloomFilter:
    """The filter in a file, local or remote, kept by this process until the file is another one."""
    global _loaded
    written = 0 if storage.is_remote(path) else os.stat(path).st_mtime_ns
    known = path, storage.size(path), written
    if _loaded is None or _loaded[0] != known:
        _loaded = None  # never two of them in memory
        with storage.open_read(path) as file:
            _loaded = known, BloomFilter.read(file, path)
    return _loaded[1]


def asked_key(path: str, key: str | None) -> str:
    """What the filter's keys are made of.  Raises ValueError where that is not `key`; BloomFileError, OSError."""
    own = filter_of(path).key
    if key is not None and own and own != key:
        raise ValueError(f"{path}: its keys are made of {own}, asked for is {key}")
    return own or key or TEXT


@dataclasses.dataclass(eq=False)
class MarkSeen(beam.PTransform):
    """Shard numbers -> annotations/<name>/part-*.parquet (SEEN_SCHEMA), one a document shard; records as JSON.

    key: what is looked up; None: what the filter says that its keys are made of, the text where it says nothing.
    Raises ValueError where both are known and differ.

    The filter is asked, never changed, so the columns depend on nothing but the documents and the filter's file;
    documents that repeat inside the dump are found by `FindDuplicates`.  A damaged file is an error before any work.
    Memory of a worker: the filter.
    """

    output: str
    filter_path: str
    key: str | None = None
    name: str = SEEN

    def __post_init__(self) -> None:
        if self.key is not None:
            check_key(self.key)

    def expand(self, shards: beam.PCollection[int]) -> beam.PCollection[bytes]:
        key = asked_key(self.filter_path, self.key)
        return (
            shards
            | "SpreadShards" >> beam.Reshuffle()
            | "MarkSeen" >> beam.ParDo(_MarkSeen(self.output, self.filter_path, key, self.name))
            .with_output_types(bytes)
        )  # fmt: skip


class _MarkSeen(beam.DoFn):
    def __init__(self, output: str, filter_path: str, key: str, name: str) -> None:
        self._find = FindDuplicates(output, 0, method="exact", key=key)
        self._filter_path, self._name = filter_path, name

    def process(self, shard: int) -> Iterator[bytes]:
        found = filter_of(self._filter_path)
        ids = read_column(self._find.document(shard), "doc_id")
        seen = np.zeros(len(ids), np.bool_)
        keyless = np.ones(len(ids), np.bool_)
        start = 0
        for hashes in key_values(self._find, shard):
            rows, words = digest_words(hashes)
            seen[start + rows] = found.contains(words)
            keyless[start + rows] = False
            start += len(hashes)
        batch = pa.RecordBatch.from_arrays([ids, pa.array(seen, mask=keyless)], schema=SEEN_SCHEMA)
        path = storage.join(self._find.output, "annotations", self._name, part(shard))
        written = write_shard(path, SEEN_SCHEMA, split_by_bytes(batch))
        drops = int(seen.sum())
        books = manifests.Books(len(ids), len(ids) - drops, {"seen_before": drops} if drops else {})
        yield record_of(written.record(self._find.output), books)


@dataclasses.dataclass(eq=False)
class BuildFilter(beam.PTransform):
    """Shard numbers -> the filter with the keys of all their documents, in a file; one record {"summary": ...}.

    An `earlier` filter is taken over first: a dump is added to what was seen before it.
    Memory: the filter, on the one worker that makes it.  16 bytes a document are shuffled.
    """

    output: str
    filter_path: str
    capacity: int
    rate: float = 0.01
    key: str = TEXT
    earlier: str | None = None
    spill_dir: str | None = None

    def __post_init__(self) -> None:
        check_key(self.key)

    def expand(self, shards: beam.PCollection[int]) -> beam.PCollection[bytes]:
        if self.earlier is not None:
            asked_key(self.earlier, self.key)
        keys = (
            shards
            | "SpreadShards" >> beam.Reshuffle()
            | "ReadKeys" >> beam.ParDo(_ReadDigests(self.output, self.key)).with_output_types(tuple[int, bytes])
        )
        return (
            (keys, shards.pipeline | "Nothing" >> nothing())
            | "OneFilter" >> Exchange("files" if self.spill_dir else "memory", self.spill_dir)
            | "WriteFilter"
            >> beam.ParDo(
                _WriteFilter(self.filter_path, self.capacity, self.rate, self.key, self.earlier)
            ).with_output_types(bytes)
        )


class _ReadDigests(beam.DoFn):
    def __init__(self, output: str, key: str) -> None:
        self._find = FindDuplicates(output, 0, method="exact", key=key)

    def process(self, shard: int) -> Iterator[tuple[int, bytes]]:
        for hashes in key_values(self._find, shard):
            _, words = digest_words(hashes)
            for value in packed(np.ascontiguousarray(words).view(_DIGEST).reshape(-1)):
                yield 0, value


class _WriteFilter(beam.DoFn):
    def __init__(self, path: str, capacity: int, rate: float, key: str, earlier: str | None) -> None:
        self._path, self._capacity, self._rate, self._key, self._earlier = path, capacity, rate, key, earlier

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        made = BloomFilter(self._capacity, self._rate, key=self._key)
        if self._earlier is not None:
            made.union(filter_of(self._earlier))
        for value in group[1]:
            made.add(np.frombuffer(value, "<u8").reshape(-1, 2))
        file = io.BytesIO()
        made.write(file)
        data = file.getbuffer()
        storage.write_bytes(self._path, data)  # type: ignore[arg-type]
        summary = {
            "key": made.key,
            "keys_seen": made.seen,
            "capacity": made.capacity,
            "stated_rate": made.rate,
            "rate_now": made.false_positive_rate(),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        yield json.dumps({"summary": summary}, sort_keys=True).encode()
