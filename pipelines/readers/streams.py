"""Decompression that tells when data is cut off, and stops at a bomb.

gzip, bz2 and lzma of the standard library raise at a cut stream; for zstd, LZ4 frames and brotli pyarrow's stream
does, while the usual stream reader of `zstandard` ends silently.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any, BinaryIO, cast

import pyarrow as pa

from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd", ".lz4": "lz4"}
_BLOCK = 1 << 16


def compression(name: str) -> str | None:
    """gzip, bz2, xz, zstd, lz4 or None, by the suffix of a file name."""
    dot = name.rfind(".")
    return COMPRESSIONS.get(name[dot:].lower()) if dot >= 0 else None


def strip_compression(name: str) -> str:
    return name[: name.rfind(".")] if compression(name) else name


class _Counted(io.RawIOBase):
    """A reader that knows how many bytes went through it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.bytes += len(data)
        return len(data)


class Inflated(io.RawIOBase):
    """The uncompressed content of a file; raises Refused for truncated, broken and exploding streams.

    Memory: the decoder's window and one block.
    """

    def __init__(self, raw: BinaryIO, kind: str | None, limits: Limits) -> None:
        self._counted = _Counted(raw)
        self._limits = limits
        self._kind = kind
        self._ready = b""
        self.bytes = 0
        source = cast(BinaryIO, self._counted)
        opened: Any
        match kind:
            case None:
                opened = self._counted
            case "gzip":
                opened = gzip.GzipFile(fileobj=io.BufferedReader(self._counted, _BLOCK))
            case "bz2":
                opened = bz2.BZ2File(source)
            case "xz":
                opened = lzma.LZMAFile(source)
            case "zstd" | "lz4" | "brotli":
                opened = pa.CompressedInputStream(pa.PythonFile(self._counted, "r"), kind)
            case _:
                raise ValueError(f"unknown compression {kind!r}")
        self._inner = opened

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._ready:
            self._ready = self._next_block()
        data = self._ready[: len(buffer)]
        self._ready = self._ready[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def _next_block(self) -> bytes:
        # Always the same amount, so that a bomb is found at the same place however the caller reads.
        try:
            data = self._inner.read(_BLOCK)
        except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, OSError, pa.ArrowException) as error:
            raise _explained(error, self._kind) from error
        self.bytes += len(data)
        if self._kind is not None:
            self._check()
        return data

    def _check(self) -> None:
        limits = self._limits
        if self.bytes > limits.max_archive_bytes:
            raise Refused("zip_bomb", f"inflates to more than {limits.max_archive_bytes} bytes")
        if self.bytes > limits.ratio_floor_bytes + limits.max_ratio * self._counted.bytes:
            raise Refused("zip_bomb", f"inflates more than {limits.max_ratio:g} times")


def _explained(error: Exception, kind: str | None) -> Refused:
    text = str(error) or type(error).__name__
    cut = isinstance(error, EOFError) or "Truncated" in text or "truncated" in text
    return Refused("truncated" if cut else "broken_record", f"{kind or 'file'}: {text}")


def inflated(raw: BinaryIO, kind: str | None, limits: Limits) -> io.BufferedReader:
    """A buffered reader over the uncompressed content (kind: gzip, bz2, xz, zstd, lz4, brotli or None)."""
    return io.BufferedReader(Inflated(raw, kind, limits), _BLOCK)


def read_whole(raw: BinaryIO, kind: str | None, limits: Limits, max_bytes: int, what: str = "item") -> bytes:
    """The uncompressed content of a file (kinds as `inflated`); raises Refused('too_large') beyond `max_bytes`."""
    if kind is not None:
        return read_limited(inflated(raw, kind, limits), max_bytes, what)
    try:  # most files are stored as they are, and need no stream around them
        return read_limited(raw, max_bytes, what)
    except OSError as error:
        raise _explained(error, kind) from error


def read_limited(stream: Any, max_bytes: int, what: str = "item") -> bytes:
    """The whole stream; raises Refused('too_large') once it is longer than `max_bytes`."""
    pieces: list[bytes] = []
    total = 0
    while total <= max_bytes:
        piece = stream.read(min(1 << 20, max_bytes + 1 - total))
        if not piece:
            return b"".join(pieces)
        total += len(piece)
        pieces.append(piece)
    raise Refused("too_large", f"{what} is longer than {max_bytes} bytes")
