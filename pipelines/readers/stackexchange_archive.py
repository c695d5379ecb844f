"""One member of a .7z archive as a stream: Stack Exchange publishes its dumps as such archives, packed with bzip2.

Only what those archives and 7-Zip's defaults use: folders of one coder (copy, LZMA, LZMA2, bzip2, deflate), headers
plain or packed.  Format: 7zFormat.txt of the LZMA SDK (public domain).  Nothing is unpacked to disk, and the memory is
the decoder's: at most 256 MiB of dictionary.
"""

from __future__ import annotations

import bz2
import dataclasses
import io
import lzma
import struct
import zlib
from typing import Any, BinaryIO

from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused

SIGNATURE = b"7z\xbc\xaf\x27\x1c"
_SIGNATURE_HEADER_BYTES = 32
# A header holds some 100 bytes a member.
_MAX_HEADER_BYTES = 64 << 20
# 7-Zip's largest preset ("ultra") has 64 MiB.
_MAX_DICTIONARY_BYTES = 256 << 20
_MAX_PLACE = 1 << 62
_BLOCK = 1 << 16

# Property numbers of 7zFormat.txt.
_END, _HEADER, _STREAMS, _FILES = 0x00, 0x01, 0x04, 0x05
_PACK_INFO, _UNPACK_INFO, _SUBSTREAMS, _SIZE, _CRC, _FOLDER = 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B
_UNPACK_SIZES, _COUNTS, _EMPTY_STREAM, _NAMES, _PACKED_HEADER = 0x0C, 0x0D, 0x0E, 0x11, 0x17

_COPY, _LZMA, _LZMA2, _BZIP2, _DEFLATE, _AES = (
    b"\x00",
    b"\x03\x01\x01",
    b"\x21",
    b"\x04\x02\x02",
    b"\x04\x01\x08",
    b"\x06\xf1\x07\x01",
)
_METHODS = frozenset((_COPY, _LZMA, _LZMA2, _BZIP2, _DEFLATE))


@dataclasses.dataclass(frozen=True, slots=True)
class _Folder:
    """What is packed as one stream."""

    method: bytes
    properties: bytes
    coders: int


@dataclasses.dataclass(slots=True)
class _Streams:
    position: int = 0  # of the packed data behind the signature header
    packed: list[int] = dataclasses.field(default_factory=list)
    folders: list[_Folder] = dataclasses.field(default_factory=list)
    unpacked: list[int] = dataclasses.field(default_factory=list)  # of each folder
    counts: list[int] = dataclasses.field(default_factory=list)  # members of each folder
    sizes: list[int] = dataclasses.field(default_factory=list)  # of each member
    sums: list[int | None] = dataclasses.field(default_factory=list)  # CRC-32 of each member


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member with content, and where it stands in the stream of its folder."""

    name: str
    size: int
    check_sum: int | None
    folder: _Folder
    packed_start: int
    packed_bytes: int
    skip: int  # bytes of the folder's content before it

    def open(self, raw: BinaryIO, limits: Limits) -> io.BufferedReader:
        """Raises Refused; reading it does too, at damage, a wrong check sum and a bomb."""
        return io.BufferedReader(_Content(raw, self, limits), _BLOCK)


class _Cursor:
    """Reads the header's numbers; raises Refused('broken_record') behind its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) < count:
            raise Refused("broken_record", "7z: the header ends too early")
        self._at += count
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """1 to 9 bytes: the leading ones of the first count the bytes that follow."""
        first = self.byte()
        value = 0
        mask = 0x80
        for index in range(8):
            if not first & mask:
                return value + ((first & (mask - 1)) << (8 * index))
            value |= self.byte() << (8 * index)
            mask >>= 1
        return value

    def count(self) -> int:
        """A number of things that each take a byte of the header at least, or a bit."""
        value = self.number()
        if value > 8 * len(self._data):
            raise Refused("broken_record", f"7z: a header of {len(self._data)} bytes with {value} entries")
        return value

    def bits(self, count: int) -> list[bool]:
        data = self.take((count + 7) // 8)
        return [bool(data[index // 8] & (0x80 >> index % 8)) for index in range(count)]

    def check_sums(self, count: int) -> list[int | None]:
        defined = [True] * count if self.byte() else self.bits(count)
        return [struct.unpack("<L", self.take(4))[0] if known else None for known in defined]

    def expect(self, number: int) -> None:
        found = self.byte()
        if found != number:
            raise Refused("broken_record", f"7z: property {found:#x} where {number:#x} is due")


def archive_members(raw: BinaryIO, limits: Limits) -> list[ArchiveMember]:
    """Members that have content.  Raises Refused."""
    raw.seek(0)
    head = raw.read(_SIGNATURE_HEADER_BYTES)
    if not head.startswith(SIGNATURE):
        raise Refused("broken_record", "7z: no archive of this format")
    if len(head) < _SIGNATURE_HEADER_BYTES:
        raise Refused("truncated", "7z: ends inside its first header")
    if zlib.crc32(head[12:]) != struct.unpack("<L", head[8:12])[0]:
        raise Refused("broken_record", "7z: wrong check sum of the first header")
    offset, size, check_sum = struct.unpack("<QQL", head[12:])
    if size > _MAX_HEADER_BYTES or offset > _MAX_PLACE:
        raise Refused("too_large", f"7z: a header of {size} bytes, more than {_MAX_HEADER_BYTES}")
    if not size:
        return []
    raw.seek(_SIGNATURE_HEADER_BYTES + offset)
    data = raw.read(size)
    if len(data) < size:
        raise Refused("truncated", "7z: ends before its list of members")
    if zlib.crc32(data) != check_sum:
        raise Refused("broken_record", "7z: wrong check sum of the list of members")
    try:
        return _list_members(data, raw, limits)
    except ValueError as error:  # lists of different lengths
        raise Refused("broken_record", "7z: the list of members contradicts itself") from error


def _list_members(data: bytes, raw: BinaryIO, limits: Limits) -> list[ArchiveMember]:
    for _ in range(4):  # a packed header may hold a packed header; nobody writes that
        cursor = _Cursor(data)
        kind = cursor.byte()
        if kind == _HEADER:
            return _read_members(cursor, limits)
        if kind != _PACKED_HEADER:
            break
        inner = _members(_read_streams(cursor, limits), [""])
        if len(inner) != 1 or inner[0].size > _MAX_HEADER_BYTES:
            break
        with inner[0].open(raw, limits) as content:
            data = content.read()
    raise Refused("broken_record", "7z: no list of members")


def _read_members(cursor: _Cursor, limits: Limits) -> list[ArchiveMember]:
    streams = _Streams()
    names: list[str] = []
    while (kind := cursor.byte()) != _END:
        if kind == _STREAMS:
            streams = _read_streams(cursor, limits)
        elif kind == _FILES:
            names = _read_names(cursor, limits)
        else:
            raise Refused("unsupported", f"7z: property {kind:#x} of the header")
    return _members(streams, names)


def _read_names(cursor: _Cursor, limits: Limits) -> list[str]:
    """Names of the files that have content, in order."""
    count = cursor.count()
    if count > limits.max_members:
        raise Refused("zip_bomb", f"7z: more than {limits.max_members} members")
    empty = [False] * count
    names = [""] * count
    while (kind := cursor.byte()) != _END:
        data = _Cursor(content := cursor.take(cursor.number()))
        if kind == _EMPTY_STREAM:
            empty = data.bits(count)
        elif kind == _NAMES:
            names = content[1:].decode("utf-16-le", "replace").split("\0")[:count]
    return [name for name, nothing in zip(names, empty, strict=False) if not nothing]


def _read_streams(cursor: _Cursor, limits: Limits) -> _Streams:
    streams = _Streams()
    while (kind := cursor.byte()) != _END:
        if kind == _PACK_INFO:
            streams.position = cursor.number()
            count = cursor.count()
            while (inner := cursor.byte()) != _END:
                if inner == _SIZE:
                    streams.packed = [cursor.number() for _ in range(count)]
                elif inner == _CRC:
                    cursor.check_sums(count)
                else:
                    raise Refused("unsupported", f"7z: property {inner:#x} of the packed streams")
        elif kind == _UNPACK_INFO:
            _read_folders(cursor, streams)
        elif kind == _SUBSTREAMS:
            _read_substreams(cursor, streams, limits)
        else:
            raise Refused("unsupported", f"7z: property {kind:#x} of the streams")
    if not streams.counts:
        streams.counts = [1] * len(streams.folders)
        streams.sizes = list(streams.unpacked)
    streams.sums += [None] * (len(streams.sizes) - len(streams.sums))
    return streams


def _read_folders(cursor: _Cursor, streams: _Streams) -> None:
    cursor.expect(_FOLDER)
    count = cursor.count()
    if cursor.byte():
        raise Refused("unsupported", "7z: folders described elsewhere")
    outputs = []
    for _ in range(count):
        folder, ends = _read_folder(cursor)
        streams.folders.append(folder)
        outputs.append(ends)
    cursor.expect(_UNPACK_SIZES)
    for ends in outputs:
        sizes = [cursor.number() for _ in range(ends)]
        streams.unpacked.append(sizes[0] if sizes else 0)
    while (kind := cursor.byte()) != _END:
        if kind != _CRC:
            raise Refused("unsupported", f"7z: property {kind:#x} of the folders")
        sums = cursor.check_sums(count)
        streams.sums = sums


def _read_folder(cursor: _Cursor) -> tuple[_Folder, int]:
    coders = cursor.count()
    inputs = outputs = 0
    first = _Folder(b"", b"", coders)
    for number in range(coders):
        flags = cursor.byte()
        method = cursor.take(flags & 0x0F)
        ins, outs = (cursor.count(), cursor.count()) if flags & 0x10 else (1, 1)
        properties = cursor.take(cursor.number()) if flags & 0x20 else b""
        inputs += ins
        outputs += outs
        if number == 0 or method == _AES:
            first = _Folder(method, properties, coders)
    pairs = max(0, outputs - 1)
    for _ in range(pairs):
        cursor.number(), cursor.number()
    if inputs - pairs > 1:
        for _ in range(inputs - pairs):
            cursor.number()
    return first, outputs


def _read_substreams(cursor: _Cursor, streams: _Streams, limits: Limits) -> None:
    kind = cursor.byte()
    streams.counts = [1] * len(streams.folders)
    if kind == _COUNTS:
        streams.counts = [cursor.number() for _ in streams.folders]
        kind = cursor.byte()
    if sum(streams.counts) > limits.max_members:
        raise Refused("zip_bomb", f"7z: more than {limits.max_members} members")
    folder_sums = streams.sums or [None] * len(streams.folders)
    known: list[int | None] = []
    for count, unpacked, check_sum in zip(streams.counts, streams.unpacked, folder_sums, strict=True):
        sizes = [cursor.number() for _ in range(count - 1)] if kind == _SIZE else []
        if count and sum(sizes) <= unpacked:
            streams.sizes += [*sizes, unpacked - sum(sizes)]
        elif count:
            raise Refused("broken_record", "7z: members are larger than their folder")
        known += [check_sum] if count == 1 else [None] * count
    if kind == _SIZE:
        kind = cursor.byte()
    while kind != _END:
        if kind != _CRC:
            raise Refused("unsupported", f"7z: property {kind:#x} of the members")
        # Only of members whose sum the folder does not give.
        missing = [index for index, check_sum in enumerate(known) if check_sum is None]
        for index, check_sum in zip(missing, cursor.check_sums(len(missing)), strict=True):
            known[index] = check_sum
        kind = cursor.byte()
    streams.sums = known


def _members(streams: _Streams, names: list[str]) -> list[ArchiveMember]:
    found: list[ArchiveMember] = []
    start = _SIGNATURE_HEADER_BYTES + streams.position
    number = 0
    total = sum(streams.sizes)
    packed = iter(streams.packed)
    for folder, count in zip(streams.folders, streams.counts, strict=True):
        length = next(packed, None)
        if length is None:
            raise Refused("broken_record", "7z: a folder without packed data")
        if max(start + length, total) > _MAX_PLACE:
            raise Refused("broken_record", "7z: data beyond any file's end")
        skip = 0
        for _ in range(count):
            if number >= len(names) or number >= len(streams.sizes):
                raise Refused("broken_record", "7z: a member without a name")
            size = streams.sizes[number]
            found.append(ArchiveMember(names[number], size, streams.sums[number], folder, start, length, skip))
            skip += size
            number += 1
        start += length
        if folder.coders > 1:  # a folder of many coders may take many packed streams: what follows cannot be placed
            break
    return found


def _decoder(folder: _Folder) -> Any:
    """An object with `decompress(data, max_length)`, `eof` and `needs_input`; None for plain data."""
    if folder.method == _AES:
        raise Refused("encrypted", "7z: an encrypted member")
    if folder.coders != 1 or folder.method not in _METHODS:
        raise Refused("unsupported", f"7z: method {folder.method.hex() or 'none'} of {folder.coders} coders")
    if folder.method == _COPY:
        return None
    if folder.method == _BZIP2:
        return bz2.BZ2Decompressor()
    if folder.method == _DEFLATE:
        return _Deflate()
    if folder.method == _LZMA2 and len(folder.properties) == 1 and folder.properties[0] <= 40:
        bits = folder.properties[0]
        size = 0xFFFFFFFF if bits == 40 else (2 | bits & 1) << (bits // 2 + 11)
        options: dict[str, int] = {"id": lzma.FILTER_LZMA2, "dict_size": size}
    elif folder.method == _LZMA and len(folder.properties) == 5 and folder.properties[0] < 9 * 5 * 5:
        rest, lc = divmod(folder.properties[0], 9)
        pb, lp = divmod(rest, 5)
        size = struct.unpack("<L", folder.properties[1:])[0]
        options = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(size, 4096)}
    else:
        raise Refused("broken_record", "7z: properties of LZMA that it cannot have")
    if size > _MAX_DICTIONARY_BYTES:
        raise Refused("unsupported", f"7z: a dictionary of {size} bytes, more than {_MAX_DICTIONARY_BYTES}")
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[options])
    except (lzma.LZMAError, ValueError) as error:
        raise Refused("broken_record", f"7z: {error}") from error


class _Deflate:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(-15)
        self._left = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._left

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._inner.decompress(self._left + data, max_length)
        self._left = self._inner.unconsumed_tail
        return piece


class _Content(io.RawIOBase):
    """The member's bytes."""

    def __init__(self, raw: BinaryIO, member: ArchiveMember, limits: Limits) -> None:
        self._decoder = _decoder(member.folder)
        self._raw = raw
        self._limits = limits
        self._packed_left = member.packed_bytes
        self._member = member
        self._to_skip = member.skip
        self._left = member.size
        self._ready = b""
        self._sum = 0
        self._taken = self._made = 0
        raw.seek(member.packed_start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._left:
            piece = self._next()
            skipped = min(self._to_skip, len(piece))
            self._to_skip -= skipped
            piece = piece[skipped : skipped + self._left]
            self._left -= len(piece)
            self._sum = zlib.crc32(piece, self._sum)
            self._ready = piece
        data = self._ready[: len(buffer)]
        if not data and self._member.check_sum not in (None, self._sum):  # said at the end: the data was given
            raise Refused("broken_record", f"7z: wrong check sum of {self._member.name}")
        self._ready = self._ready[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def _next(self) -> bytes:
        decoder = self._decoder
        block = b""
        if decoder is None or decoder.needs_input:
            block = self._raw.read(min(_BLOCK, self._packed_left))
            self._packed_left -= len(block)
            self._taken += len(block)
            if not block or decoder is not None and decoder.eof:
                raise Refused("truncated", f"7z: the data of {self._member.name} ends too early")
        if decoder is None:
            return block
        try:
            data: bytes = decoder.decompress(block, _BLOCK)
        except (OSError, ValueError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise Refused("broken_record", f"7z: {error}") from error
        self._made += len(data)
        if self._made > self._limits.ratio_floor_bytes + self._limits.max_ratio * self._taken:
            raise Refused("zip_bomb", f"inflates more than {self._limits.max_ratio:g} times")
        if decoder.eof and self._left:
            self._restart(decoder)
        return data

    def _restart(self, decoder: Any) -> None:
        """bzip2 streams may follow one another; others end here."""
        if not isinstance(decoder, bz2.BZ2Decompressor) or not (decoder.unused_data or self._packed_left):
            return
        self._packed_left += len(decoder.unused_data)
        self._taken -= len(decoder.unused_data)
        self._raw.seek(-len(decoder.unused_data), io.SEEK_CUR)
        self._decoder = bz2.BZ2Decompressor()
