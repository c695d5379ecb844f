"""The documents beside the index of a lookup: what is told of each, and its text, in small compressed blocks.

A document of a shard lies in the middle of pages that would have to be unpacked up to it, some 40 ms for one; here it
costs the blocks that hold it.

    records        the blocks one after another, each BLOCK bytes before compression (zstd), the last one fewer
    record_blocks  int64[blocks + 1]     where each block begins
    record_starts  int64[documents + 1]  where each document begins, in bytes before compression
"""

from __future__ import annotations

import dataclasses
import json
import os
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.gram_index import mapped

BLOCK = 1 << 16
_LEVEL = 3  # zstd's default
_FILE, _BLOCKS, _STARTS = "records", "record_blocks", "record_starts"


class RecordsWriter:
    """Context manager; documents are numbered in the order in which they are added.  Memory: 16 bytes a document, and
    one batch."""

    def __init__(self, folder: str, columns: tuple[str, ...]) -> None:
        """columns: what is told of a document beside its `text`; strings."""
        self._folder = folder
        self._columns = list(columns)
        self._codec = pa.Codec("zstd", compression_level=_LEVEL)
        self._pending = bytearray()
        self._blocks = [0]
        self._starts = [0]

    def __enter__(self) -> RecordsWriter:
        self._file = open(os.path.join(self._folder, _FILE), "wb")
        return self

    def add(self, batch: pa.RecordBatch) -> None:
        """Documents with `text` and those of the columns that they have; a null text counts as empty."""
        known = [name for name in self._columns if name in batch.schema.names]
        for told, text in zip(batch.select(known).to_pylist(), batch.column("text").to_pylist(), strict=True):
            record = json.dumps(told, ensure_ascii=False).encode() + b"\n" + (text or "").encode()
            self._pending += record
            self._starts.append(self._starts[-1] + len(record))
        whole = len(self._pending) // BLOCK * BLOCK
        for at in range(0, whole, BLOCK):
            self._write(bytes(self._pending[at : at + BLOCK]))
        del self._pending[:whole]

    def _write(self, block: bytes) -> None:
        packed = self._codec.compress(block, asbytes=True)
        self._file.write(packed)
        self._blocks.append(self._blocks[-1] + len(packed))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._pending:
            self._write(bytes(self._pending))
        self._file.close()
        if kind is None:
            np.array(self._blocks, "<i8").tofile(os.path.join(self._folder, _BLOCKS))
            np.array(self._starts, "<i8").tofile(os.path.join(self._folder, _STARTS))


@dataclasses.dataclass(frozen=True)
class Records:
    """Opened records; see the module for the arrays."""

    records: npt.NDArray[np.uint8]
    blocks: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @classmethod
    def open(cls, folder: str) -> Records:
        """Raises OSError; ValueError, naming the folder, where a file is cut off."""
        blocks, starts = (np.memmap(os.path.join(folder, name), "<i8", "r") for name in (_BLOCKS, _STARTS))
        records = mapped(os.path.join(folder, _FILE), np.uint8)
        if len(records) != blocks[-1] or -(-int(starts[-1]) // BLOCK) != len(blocks) - 1:
            raise ValueError(f"{folder}: the files of the index do not fit each other; make it again")
        return cls(records, blocks, starts)

    def read(self, number: int) -> tuple[dict[str, Any], str]:
        """(what is told, text) of a document."""
        start, end = int(self.starts[number]), int(self.starts[number + 1])
        first = start // BLOCK
        parts = [self._block(at) for at in range(first, -(-end // BLOCK))]
        told, _, text = b"".join(parts)[start - first * BLOCK : end - first * BLOCK].partition(b"\n")
        return json.loads(told), text.decode()

    def _block(self, at: int) -> bytes:
        size = min(BLOCK, int(self.starts[-1]) - at * BLOCK)
        packed = self.records[self.blocks[at] : self.blocks[at + 1]]
        unpacked: bytes = pa.Codec("zstd").decompress(packed.tobytes(), size, asbytes=True)
        return unpacked
