"""Where the compressed records of a WARC file begin and end, for gzip members, zstd frames and LZ4 frames.

A record-compressed file can be read by byte ranges: a member belongs to the range in which it starts, and a start is
only taken where it inflates to a record header.  Known limit: if a record holds another record-compressed archive that
its own compression stored as it is, and a cut falls into it, the inner records look like records.

zstd: one frame a record; the first frame may be a skippable one with a dictionary for all (IIPC, Use of Zstandard in
WARC files 1.0).  LZ4: one frame a record (LZ4 Frame Format 1.6.1).  Of both the end of a frame is found from the sizes
of its blocks before anything is inflated, so that a cut is told from damage.
"""

from __future__ import annotations

import dataclasses
import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused
from pipelines.readers.streams import compression

_BLOCK = 1 << 16
# Most records of Common Crawl are shorter than this: what is read beyond one is read again for the next.
_FIRST_BLOCK = 1 << 14
_INFLATE_BYTES = 1 << 20
# Enough compressed bytes to inflate the first line of a record.
PROBE_BYTES = 4096
_PROBE_LINE = 512
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
_LZ4 = b"\x04\x22\x4d\x18"
_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte from 0x50 to 0x5f: RFC 8878, 3.1.2; LZ4 has the same
_DICTIONARY = 0x5D  # of the skippable frame with the dictionary (IIPC)
_ZSTD_MAX_BLOCK = 128 << 10  # RFC 8878, 3.1.1.2.4
_LZ4_MAX_BLOCK = 4 << 20
# The reference zstd builds dictionaries of 110 kB; one of more than this is no dictionary of records.
_MAX_DICTIONARY = 16 << 20


class Member(Protocol):
    """The content of one compressed member; `end`, the offset behind it, is known once it is read to its end."""

    broken: bool
    end: int | None

    def read_some(self, size: int) -> bytes: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Packing:
    """How the records of a file are compressed.

    begin   (raw, offset) -> the first inflated bytes of what starts there; b'' where it cannot be
    first   where the first record may start
    """

    magic: bytes
    open: Callable[[BinaryIO, int, Limits], Member]
    begin: Callable[[BinaryIO, int], bytes]
    first: int = 0
    skips: bool = False


def packing_of(raw: BinaryIO, name: str) -> Packing | None:
    """By the first bytes of the file; by its name where they say nothing.  None: not compressed by records.

    Raises Refused where the dictionary of a zstd file is broken.
    """
    raw.seek(0)
    head = raw.read(8)
    kind = compression(name)
    if head.startswith(_GZIP) or kind == "gzip":
        return GZIP
    skippable = len(head) == 8 and head[1:4] == _SKIPPABLE and head[0] >> 4 == 5
    if head.startswith(_LZ4) or kind == "lz4":
        return Packing(_LZ4, _lz4_member, _begin_of_lz4, skips=True)
    if not head.startswith(_ZSTD) and not (skippable and head[0] == _DICTIONARY) and kind != "zstd":
        return None
    dictionary, first = None, 0
    if skippable and head[0] == _DICTIONARY:
        length = int.from_bytes(head[4:8], "little")
        dictionary, first = _dictionary(raw.read(length) if length <= _MAX_DICTIONARY else b"", length), 8 + length
    return Packing(
        _ZSTD,
        lambda raw, offset, limits: _FrameMember(
            raw, offset, limits, _zstd_end, lambda span: _unzstd(span, dictionary)
        ),
        lambda raw, offset: _begin_of_zstd(raw, offset, dictionary),
        first,
        skips=True,
    )


def skip_frames(raw: BinaryIO, offset: int) -> int:
    """Behind the skippable frames that stand at `offset`; before one that is longer than the file."""
    size = raw.seek(0, io.SEEK_END)
    while True:
        raw.seek(offset)
        head = raw.read(8)
        if len(head) < 8 or head[0] >> 4 != 5 or head[1:4] != _SKIPPABLE:
            return offset
        following = offset + 8 + int.from_bytes(head[4:8], "little")
        if following > size:
            return offset
        offset = following


class _Inflating:
    """What members share: a bomb is refused, and an error marks the member as broken."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._out = 0
        self.broken = False
        self.end: int | None = None

    def read_some(self, size: int) -> bytes:
        try:
            return self._read_some(size)
        except Refused:
            self.broken = True
            raise

    def _read_some(self, size: int) -> bytes:
        raise NotImplementedError

    def _check(self, used: int) -> None:
        if self._out > self._limits.ratio_floor_bytes + self._limits.max_ratio * used:
            raise Refused("zip_bomb", f"inflates more than {self._limits.max_ratio:g} times")


class _GzipMember(_Inflating):
    def __init__(self, raw: BinaryIO, offset: int, limits: Limits) -> None:
        super().__init__(limits)
        raw.seek(offset)
        self._raw = raw
        self._decoder = zlib.decompressobj(31)
        self._pending = b""
        self._in = 0
        self._offset = offset
        self._block = _FIRST_BLOCK

    def _read_some(self, size: int) -> bytes:
        while self.end is None:
            if not self._pending:
                self._pending = self._raw.read(self._block)
                self._block = _BLOCK
                if not self._pending:
                    raise Refused("truncated", "the compressed record is cut off")
                self._in += len(self._pending)
            try:
                # What is left of the input is copied each time, so that large pieces cost less.
                data = self._decoder.decompress(self._pending, max(size, _INFLATE_BYTES))
            except zlib.error as error:
                raise Refused("broken_record", f"gzip: {error}") from error
            self._pending = self._decoder.unconsumed_tail
            self._out += len(data)
            if self._decoder.eof:
                self.end = self._offset + self._in - len(self._decoder.unused_data)
            self._check(self._in - len(self._pending))
            if data:
                return data
        return b""


def _begin_of_gzip(raw: BinaryIO, offset: int) -> bytes:
    raw.seek(offset)
    head = raw.read(PROBE_BYTES)
    if not head.startswith(_GZIP):
        return b""
    try:
        # Little output: damage further on must not hide that a record starts here.
        return zlib.decompressobj(31).decompress(head, _PROBE_LINE)
    except zlib.error:
        return b""


GZIP = Packing(_GZIP, _GzipMember, _begin_of_gzip)


# -- frames that say how long their blocks are -------------------------------------------------------------


class _Span(io.RawIOBase):
    """The bytes [start, stop) of a file."""

    def __init__(self, raw: BinaryIO, start: int, stop: int) -> None:
        self._raw = raw
        self._at, self._stop = start, stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._raw.seek(self._at)
        data = self._raw.read(min(len(buffer), self._stop - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _FrameMember(_Inflating):
    def __init__(
        self,
        raw: BinaryIO,
        offset: int,
        limits: Limits,
        end_of: Callable[[BinaryIO, int, int | None], int],
        inflate: Callable[[BinaryIO], Any],
    ) -> None:
        super().__init__(limits)
        self._raw, self._offset, self._end_of, self._inflate = raw, offset, end_of, inflate
        self._stop = 0
        self._stream: Any = None

    def _read_some(self, size: int) -> bytes:
        if self.end is not None:
            return b""
        if self._stream is None:
            self._stop = self._end_of(self._raw, self._offset, None)
            self._stream = self._inflate(io.BufferedReader(_Span(self._raw, self._offset, self._stop), _BLOCK))
        try:
            data: bytes = self._stream.read(size)
        except Refused:
            raise
        except Exception as error:  # OSError of pyarrow, ZstdError: what the decoders raise over damaged data
            raise Refused("broken_record", f"compressed record: {error}") from error
        self._out += len(data)
        self._check(self._stop - self._offset)
        if not data:
            self.end = self._stop
        return data


def _exactly(raw: BinaryIO, offset: int, size: int) -> bytes:
    raw.seek(offset)
    data = raw.read(size)
    if len(data) < size:
        raise Refused("truncated", "the compressed record is cut off")
    return data


def _within(raw: BinaryIO, offset: int) -> int:
    """The offset itself; raises Refused where the file is shorter."""
    if raw.seek(0, io.SEEK_END) < offset:
        raise Refused("truncated", "the compressed record is cut off")
    return offset


def _zstd_end(raw: BinaryIO, offset: int, blocks: int | None) -> int:
    """Behind the zstd frame at `offset`, or behind so many of its blocks (RFC 8878, 3.1.1).  Raises Refused."""
    if _exactly(raw, offset, 5)[:4] != _ZSTD:
        raise Refused("broken_record", "no zstd frame")
    descriptor = _exactly(raw, offset, 5)[4]
    single = descriptor >> 5 & 1
    sizes = (1 if single else 0, 2, 4, 8)
    at = offset + 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + sizes[descriptor >> 6]
    last = 0
    while not last and (blocks is None or blocks > 0):
        header = int.from_bytes(_exactly(raw, at, 3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == 3 or size > _ZSTD_MAX_BLOCK:
            raise Refused("broken_record", "zstd: a block of an unknown kind")
        at += 3 + (1 if kind == 1 else size)
        blocks = None if blocks is None else blocks - 1
    return _within(raw, at + (4 if last and descriptor >> 2 & 1 else 0))


def _unzstd(span: BinaryIO, dictionary: Any) -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(dict_data=dictionary).stream_reader(span)


def _begin_of_zstd(raw: BinaryIO, offset: int, dictionary: Any) -> bytes:
    import zstandard

    try:
        head = _exactly(raw, offset, _zstd_end(raw, offset, 1) - offset)
        return zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj().decompress(head)[:_PROBE_LINE]
    except (Refused, zstandard.ZstdError):
        return b""


def _dictionary(content: bytes, length: int) -> Any:
    import zstandard

    try:
        if len(content) < length or not content:
            raise Refused("truncated", f"the dictionary of {length} bytes is cut off or longer than {_MAX_DICTIONARY}")
        if content.startswith(_ZSTD):
            content = zstandard.ZstdDecompressor().decompress(content, max_output_size=_MAX_DICTIONARY)
        return zstandard.ZstdCompressionDict(content)
    except zstandard.ZstdError as error:
        raise Refused("broken_record", f"zstd dictionary: {error}") from error


def _lz4_end(raw: BinaryIO, offset: int, blocks: int | None) -> int:
    """Behind the LZ4 frame at `offset`, or behind so many of its blocks.  Raises Refused."""
    head = _exactly(raw, offset, 6)
    flags = head[4]
    if head[:4] != _LZ4 or flags >> 6 != 1:
        raise Refused("broken_record", "no LZ4 frame")
    at = offset + 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    while blocks is None or blocks > 0:
        size = int.from_bytes(_exactly(raw, at, 4), "little") & 0x7FFFFFFF  # the high bit: stored as it is
        at += 4
        if size == 0:
            return _within(raw, at + (4 if flags & 4 else 0))
        if size > _LZ4_MAX_BLOCK:
            raise Refused("broken_record", "LZ4: a block of more than 4 MiB")
        at += size + (4 if flags & 16 else 0)
        blocks = None if blocks is None else blocks - 1
    return _within(raw, at)


def _lz4_member(raw: BinaryIO, offset: int, limits: Limits) -> Member:
    return _FrameMember(
        raw, offset, limits, _lz4_end, lambda span: pa.CompressedInputStream(pa.PythonFile(span, "r"), "lz4")
    )


def _begin_of_lz4(raw: BinaryIO, offset: int) -> bytes:
    try:
        head = _exactly(raw, offset, _lz4_end(raw, offset, 1) - offset)
        return pa.CompressedInputStream(pa.BufferReader(head), "lz4").read(_PROBE_LINE)  # type: ignore[no-any-return]
    except (Refused, OSError, pa.ArrowException):
        return b""
