"""The one exchange: packed values meet others of their partition, in the runner's memory or through files.

Keys are partition numbers, values are packed records of at most 4 MB, so that a shuffle moves thousands of
values and not billions of elements.  Partition numbers come from the high bits of a hash (`partition_of`) or
are shard numbers.  No order is promised: who consumes a partition sorts it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Literal, cast

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from pipelines import storage

Values = beam.PCollection[tuple[int, bytes]]
Mode = Literal["memory", "files"]
MODES: tuple[Mode, ...] = ("memory", "files")
# Flink refuses records greater than its sort buffer and keeps a value in memory: 4 MB is safe everywhere.
MAX_VALUE_BYTES = 4 << 20
# 16-byte records of a partition: numpy sorts 1.5 million (24 MB) within 2x of a radix sort.
PARTITION_RECORDS = 1_500_000
# Beyond about 20,000 partitions the tiny values and their bookkeeping cost more than they save.
_MAX_PARTITIONS = 1 << 14
# Partitions for each worker: an uneven partition then delays the end by a quarter of a share at most.
_PARTITIONS_PER_WORKER = 4
# A spill file is closed at this size, so that one bundle of a whole corpus does not make one giant file.
_SPILL_FILE_BYTES = 256 << 20
_REFERENCE = struct.Struct("<QQ")  # offset and length; the file's name follows
_KIND_BYTES = 8  # keeps 64-bit records aligned behind the kind


def partition_count(records: int, workers: int = 1, per_partition: int = PARTITION_RECORDS) -> int:
    """A power of two: at least 4 partitions a worker, `per_partition` records each at most, up to 16,384."""
    if records < 0 or workers < 1 or per_partition < 1:
        raise ValueError(f"records {records}, workers {workers}, per_partition {per_partition}")
    least = max(math.ceil(records / per_partition), _PARTITIONS_PER_WORKER * workers)
    return min(1 << (least - 1).bit_length(), _MAX_PARTITIONS)


def partition_of(hashes: npt.NDArray[np.uint64], partitions: int) -> npt.NDArray[np.int64]:
    """The high bits of the hashes; partitions: a power of two."""
    bits = partitions.bit_length() - 1
    if partitions != 1 << bits:
        raise ValueError(f"{partitions} partitions are not a power of two")
    if bits == 0:
        return np.zeros(hashes.shape, np.int64)
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def packed(records: np.ndarray, kind: int | None = None) -> Iterator[bytes]:
    """The records as values of at most 4 MB, each behind its kind, if there is one."""
    step = (MAX_VALUE_BYTES - _KIND_BYTES) // records.dtype.itemsize
    head = b"" if kind is None else kind.to_bytes(_KIND_BYTES, "little")
    for start in range(0, records.size, step):
        yield head + records[start : start + step].tobytes()


def unpacked(values: Iterable[bytes | memoryview], dtype: np.dtype) -> np.ndarray:
    """All records of the values, in one writable array; the values have no kind (any more)."""
    return np.frombuffer(bytearray().join(values), dtype)


def scattered(
    partitions: npt.NDArray[np.int64], records: np.ndarray, kind: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """(partition, value) for the records [n] of which record i belongs to partitions[i]."""
    if not records.size:
        return
    order = np.argsort(partitions, kind="stable")
    partitions, records = partitions[order], records[order]
    numbers, starts = np.unique(partitions, return_index=True)
    for number, part in zip(numbers, np.split(records, starts[1:]), strict=True):
        for value in packed(part, kind):
            yield int(number), value


def of_kind(kind: int, payload: bytes) -> bytes:
    return kind.to_bytes(_KIND_BYTES, "little") + payload


def by_kind(values: Iterable[bytes], kinds: Sequence[int]) -> list[list[memoryview]]:
    """Values of a partition in which several kinds meet: for each of `kinds` its values without the kind."""
    found: dict[int, list[memoryview]] = {kind: [] for kind in kinds}
    for value in values:
        found[int.from_bytes(value[:_KIND_BYTES], "little")].append(memoryview(value)[_KIND_BYTES:])
    return [found[kind] for kind in kinds]


def check_mode(mode: str | None) -> None:
    """Raises ValueError for what is neither a mode nor None."""
    if mode is not None and mode not in MODES:
        raise ValueError(f"exchange is {mode!r}, allowed are {', '.join(MODES)} and None")


@dataclasses.dataclass(eq=False)  # not frozen: Beam writes the label into the transform that it applies
class Exchange(beam.PTransform):
    """(partition, value), of one collection or of several -> (partition, all its values), in no order.

    memory   a GroupByKey over the values: the runner's own shuffle.  Beam's local runner keeps 3 to 4 times
             the bytes in memory.
    files    the values go to files below `spill_dir`, which all workers must see; only references of about
             60 bytes are grouped, and values are read one by one while the group is iterated.  The file names
             are random; which of them counts is said by the references, so a repeated bundle leaves a file
             that nobody reads.  Whoever chose `spill_dir` removes it when the pipeline is done.
    """

    mode: Mode = "memory"
    spill_dir: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"exchange mode is {self.mode!r}, allowed are {', '.join(MODES)}")
        if self.mode == "files" and not self.spill_dir:
            raise ValueError("exchange mode 'files' needs a spill_dir")

    @classmethod
    def chosen(cls, mode: Mode | None, output: str, folder: str) -> Exchange:
        """Of a plan that writes below `folder` of `output`; None: files, but memory where the output is remote."""
        if mode == "memory" or mode is None and storage.is_remote(output):
            return cls()
        return cls("files", storage.join(folder, "spill"))

    def expand(self, values: Values | tuple[Values, ...]) -> beam.PCollection[tuple[int, Iterable[bytes]]]:
        inputs = values if isinstance(values, tuple) else (values,)
        if self.spill_dir is None or self.mode == "memory":
            return _joined(inputs) | "GroupByPartition" >> beam.GroupByKey()
        # Spilled before they are flattened: Beam's local runner keeps what goes into a Flatten in memory.
        references = tuple(
            each | f"SpillInput{i}" >> beam.ParDo(_Spill(self.spill_dir)).with_output_types(tuple[int, bytes])
            for i, each in enumerate(inputs)
        )
        return (
            _joined(references)
            | "GroupByPartition" >> beam.GroupByKey()
            | "Unspill" >> beam.ParDo(_Unspill(self.spill_dir)).with_output_types(tuple[int, Iterable[bytes]])
        )


def _joined(inputs: tuple[Values, ...]) -> Values:
    return inputs[0] if len(inputs) == 1 else inputs | "Join" >> beam.Flatten()


class _Spill(beam.DoFn):
    """Appends the values of a bundle to its own file; a reference counts only if the bundle was committed."""

    def __init__(self, spill_dir: str) -> None:
        self._spill_dir = spill_dir
        self._file: BinaryIO | None = None
        self._bytes = beam.metrics.Metrics.counter("exchange", "bytes_spilled")

    def start_bundle(self) -> None:
        self._close()

    def process(self, element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
        partition, value = element
        if self._file is None:
            self._name = uuid.uuid4().hex
            self._offset = 0
            self._file = _create(storage.join(self._spill_dir, self._name))
        self._file.write(value)
        reference = _REFERENCE.pack(self._offset, len(value)) + self._name.encode()
        self._offset += len(value)
        self._bytes.inc(len(value))
        if self._offset >= _SPILL_FILE_BYTES:
            self._close()
        yield partition, reference

    def finish_bundle(self) -> None:
        self._close()

    def teardown(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _create(path: str) -> BinaryIO:
    if storage.is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        return cast(BinaryIO, FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, "xb")


class _Unspill(beam.DoFn):
    def __init__(self, spill_dir: str) -> None:
        self._spill_dir = spill_dir

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, Iterable[bytes]]]:
        partition, references = group
        yield partition, SpilledValues(self._spill_dir, references)


class SpilledValues:
    """Iterable of the values behind references; one value in memory, one file open; may be iterated again."""

    def __init__(self, spill_dir: str, references: Iterable[bytes]) -> None:
        self._spill_dir = spill_dir
        places = ((r[_REFERENCE.size :].decode(), *_REFERENCE.unpack_from(r)) for r in references)
        self._places: list[tuple[Any, ...]] = sorted(places)

    def __iter__(self) -> Iterator[bytes]:
        name, file = "", None
        try:
            for wanted, offset, length in self._places:
                if wanted != name or file is None:
                    if file is not None:
                        file.close()
                    name, file = wanted, storage.open_read(storage.join(self._spill_dir, wanted))
                file.seek(offset)
                value = file.read(length)
                if len(value) != length:
                    raise OSError(f"spill file {name} ends before byte {offset + length:,}")
                yield value
        finally:
            if file is not None:
                file.close()
