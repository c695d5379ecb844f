"""Records of WARC and ARC files, at any cut, with a report of every kind of damage.

The framing is written here because neither warcio 1.8.1 nor fastwarc 2.0.1 says so when a record is cut off: both
return a short body or end silently, and stop at the first damage (measured on a file cut, overwritten and with wrong
lengths in ten ways).  Tests compare the records of intact files with theirs.

A record belongs to the byte range in which it starts.  In a record-compressed file starts are looked for
(`warc_members`); in an uncompressed one a search could take a record inside a record for one of the file's own, so that
its cuts are starts that were found by going from header to header.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused
from pipelines.readers.warc_members import PROBE_BYTES, Packing, skip_frames

_BLOCK = 1 << 16
_MAX_LINE = 1 << 16
_MAX_HEADERS = 1 << 20
# URL, IP, 14-digit date, type, [more fields of version 2,] length: Internet Archive ARC file format 1996.
_ARC_HEADER = re.compile(rb"(\S{1,8192}) (\S*) (\d{14}) (\S*|\S+; ?\S*)(?: \S+){0,5}? (\d{1,19})\r?\n")
_WARC_VERSION = re.compile(rb"WARC/\d\.\d+\r?\n")
_LENGTH = re.compile(r"\d{1,18}")
_INNER_RECORD = re.compile(rb"\n\r?\nWARC/\d\.\d+\r?\n")


def is_header(line: bytes) -> bool:
    """Whether a line, with its end, is the first one of a record."""
    return bool(_WARC_VERSION.fullmatch(line)) or bool(_ARC_HEADER.fullmatch(line))


@dataclasses.dataclass(slots=True)
class Record:
    type: str
    headers: dict[str, str]  # lower-case names
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Framed:
    """index: of the record in its stream.  position: where it starts, in bytes of the uncompressed stream."""

    index: int
    position: int
    result: Record | Refused


class Pushback:
    """Reads from a source with counted position, and takes bytes back.  `read_some` gives b'' at the end.

    checked: the source itself reports a cut, so that its end is the end.
    """

    def __init__(self, read_some: Callable[[int], bytes], checked: bool, position: int = 0) -> None:
        self._read_some = read_some
        self.checked = checked
        self.cut = False
        self._ready = b""
        self._at = 0  # what of `_ready` is used
        self.position = position

    def read(self, size: int) -> bytes:
        at = self._at
        end = at + size
        if end <= len(self._ready):
            self._at = end
            self.position += size
            return self._ready[at:end]
        pieces = [self._ready[at:]]
        left = size - len(pieces[0])
        self._ready, self._at = b"", 0
        while left > 0 and (piece := self._read_some(_BLOCK)):
            if len(piece) > left:
                self._ready, self._at = piece, left
                piece = piece[:left]
            pieces.append(piece)
            left -= len(piece)
        data = b"".join(pieces)
        self.position += len(data)
        return data

    def unread(self, data: bytes) -> None:
        self._ready, self._at = data + self._ready[self._at :], 0
        self.position -= len(data)

    def readline(self, max_bytes: int) -> bytes:
        """Up to and with the next LF; shorter at the end or at `max_bytes`."""
        end = self._ready.find(b"\n", self._at, self._at + max_bytes) + 1
        if end:
            line = self._ready[self._at : end]
            self._at = end
            self.position += len(line)
            return line
        pieces: list[bytes] = []
        left = max_bytes
        while left:
            line = self._ready[self._at : self._at + left]
            found = line.find(b"\n") + 1
            if found:
                line = line[:found]
            self._at += len(line)
            self.position += len(line)
            left -= len(line)
            pieces.append(line)
            if found or not left:
                break
            self._ready, self._at = self._read_some(_BLOCK), 0
            if not self._ready:
                break
        return b"".join(pieces)

    def until(self, mark: bytes, max_bytes: int) -> bytes | None:
        """Up to and with `mark`, if it is among the bytes that are ready; else nothing is read."""
        end = self._ready.find(mark, self._at, self._at + max_bytes)
        if end < 0:
            return None
        data = self._ready[self._at : end + len(mark)]
        self._at += len(data)
        self.position += len(data)
        return data

    def at_end(self) -> bool:
        if self._at < len(self._ready):
            return False
        self._ready, self._at = self._read_some(_BLOCK), 0
        return not self._ready


# -- record-compressed files -------------------------------------------------------------------------------

# (offset of the member, what is in it); the index counts the records of the member.
Located = tuple[int, Framed]


def _starts_record(raw: BinaryIO, offset: int, packing: Packing) -> bool:
    begin = packing.begin(raw, offset).lstrip(b"\r\n")
    return begin.startswith(b"WARC/") or is_header(begin[: begin.find(b"\n") + 1])


def _next_member(raw: BinaryIO, offset: int, packing: Packing) -> int | None:
    """The first verified record start at or after `offset`."""
    overlap = len(packing.magic) - 1
    while True:
        raw.seek(offset)
        block = raw.read(1 << 20)
        at = -1
        while (at := block.find(packing.magic, at + 1)) >= 0:
            if _starts_record(raw, offset + at, packing):
                return offset + at
        if len(block) <= overlap:
            return None
        offset += len(block) - overlap


def member_records(
    raw: BinaryIO, packing: Packing, limits: Limits, start: int = 0, stop: int | None = None
) -> Iterator[Located]:
    """The records of the members that start in [start, stop) of a record-compressed file."""
    size = raw.seek(0, io.SEEK_END)
    offset: int | None
    if start:
        offset = _next_member(raw, max(start, packing.first), packing)
    else:
        first = skip_frames(raw, packing.first) if packing.skips else packing.first
        if _starts_record(raw, first, packing):
            offset = first
        else:
            gap, offset = _gap(raw, first, size, packing, limits)
            yield first, Framed(0, first, gap)
    while offset is not None and (stop is None or offset < stop):
        member = packing.open(raw, offset, limits)
        following: int | None = None
        for framed in records(Pushback(member.read_some, True), limits):
            result = framed.result
            if member.broken and isinstance(result, Refused):
                following = _next_member(raw, offset + 1, packing)
                if result.error == "truncated" and following is not None:
                    result = Refused("broken_record", "damaged: the compressed record does not end")
                framed = dataclasses.replace(framed, result=result)
            yield offset, framed
        if member.end is None:  # damaged; what follows the damage is looked for
            offset = following
            continue
        after = skip_frames(raw, member.end) if packing.skips else member.end
        if after >= size:
            return
        if _starts_record(raw, after, packing):
            offset = after
        else:  # reported by the range that owns the record before the gap, and by no other
            gap, offset = _gap(raw, member.end, size, packing, limits)
            yield member.end, Framed(0, 0, gap)


def _gap(raw: BinaryIO, offset: int, size: int, packing: Packing, limits: Limits) -> tuple[Refused, int | None]:
    """What is wrong where no record starts, and where the next one does."""
    raw.seek(offset)
    head = raw.read(len(packing.magic))
    following = _next_member(raw, offset + 1, packing)
    if following is None:
        cut = size - offset < PROBE_BYTES and packing.magic.startswith(head)
        if packing.skips and head == packing.magic:  # the first block is not whole, or damaged
            try:
                cut = not packing.open(raw, offset, limits).read_some(1)
            except Refused as refused:
                cut = refused.error == "truncated"
        if cut:
            return Refused("truncated", "the compressed record is cut off"), None
    return Refused("broken_record", "no record starts here"), following


# -- one stream of records ---------------------------------------------------------------------------------


def records(stream: Pushback, limits: Limits, stop: int | None = None) -> Iterator[Framed]:
    """Records until the end of the stream, or those that start before `stop`.  After damage the next record header is
    looked for.

    Memory: one record body up to `max_item_bytes`.
    """
    index = 0
    while True:
        position = stream.position
        try:
            line = stream.readline(_MAX_LINE)
            while line in (b"\r\n", b"\n"):
                position = stream.position
                line = stream.readline(_MAX_LINE)
            if not line:
                if stream.cut:
                    yield Framed(index, position, Refused("truncated", "the record before has no end"))
                return
            if stop is not None and position >= stop:
                return
            result = _record(stream, line, limits)
        except Refused as refused:  # the stream itself ended badly
            yield Framed(index, position, refused)
            return
        index += 1
        yield Framed(index - 1, position, result)
        if isinstance(result, Refused) and result.error != "too_large":
            try:
                if not _resynchronise(stream):
                    return
            except Refused as refused:
                if refused.error != result.error:
                    yield Framed(index, stream.position, refused)
                return


def _resynchronise(stream: Pushback) -> bool:
    while line := stream.readline(_MAX_LINE):
        if is_header(line):
            stream.unread(line)
            return True
    return False


def _record(stream: Pushback, line: bytes, limits: Limits) -> Record | Refused:
    """The record that begins with `line`, or what is wrong with it; raises Refused if the stream breaks."""
    found = _header(stream, line)
    if isinstance(found, Refused):
        return found
    headers, length, is_arc = found
    body = _body(stream, length, limits)
    if body is not None and len(body) < length:
        return _short_body(stream, body, length)
    end = stream.read(1 if is_arc else 4)
    if not _good_end(end, is_arc, stream):
        stream.unread((body or b"") + end)
        return Refused("wrong_length", f"no record ends {length} bytes after its header")
    stream.cut = not stream.checked and len(end) < (1 if is_arc else 4)
    stream.at_end()  # lets the decoder check the sum of a compressed record before it is used
    if body is None:
        return Refused("too_large", f"a record of {length} bytes, more than {limits.max_item_bytes}")
    return Record(headers.get("warc-type", "").lower(), headers, body)


def _good_end(end: bytes, is_arc: bool, stream: Pushback) -> bool:
    if is_arc:
        return end in (b"\n", b"")
    return end == b"\r\n\r\n" or (b"\r\n\r\n".startswith(end) and stream.at_end())


def _header(stream: Pushback, line: bytes) -> tuple[dict[str, str], int, bool] | Refused:
    """Headers, length of the body, and whether it is a record of an ARC file; `line` is its first."""
    is_arc = False
    if _WARC_VERSION.fullmatch(line):
        found = _headers(stream)
        if isinstance(found, Refused):
            return found
        headers = found
    elif arc := _ARC_HEADER.fullmatch(line):
        headers, is_arc = _arc_headers(arc), True
    elif not line.endswith(b"\n") and b"WARC/1.0\r\n".startswith(line[:10]):
        return Refused("truncated", "ends inside a record header")
    else:
        return Refused("broken_record", "no record header")
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        return Refused("broken_record", "no usable Content-Length")
    return headers, int(length), is_arc


def _headers(stream: Pushback) -> dict[str, str] | Refused:
    return _plain_headers(stream) or _any_headers(stream)


def _plain_headers(stream: Pushback) -> dict[str, str] | None:
    """Headers that stand ready as a whole and as nearly all are: CRLF, a colon in each line, no continuation.

    Three times as fast as `_any_headers`, which gives the same; None, and nothing is read, where they are not so.
    """
    block = stream.until(b"\r\n\r\n", _MAX_LINE)
    if block is None:
        return None
    lines = block[:-4].decode("utf-8", "replace").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or line[0] in " \t" or "\n" in line:
            stream.unread(block)
            return None
        headers[name.strip().lower()] = value.strip()
    return headers


def _any_headers(stream: Pushback) -> dict[str, str] | Refused:
    headers: dict[str, str] = {}
    last = ""
    total = 0
    while True:
        line = stream.readline(_MAX_LINE)
        total += len(line)
        if not line.endswith(b"\n"):
            return Refused("truncated" if len(line) < _MAX_LINE else "broken_record", "ends inside a record header")
        if line == b"\r\n" or line == b"\n":
            return headers
        if total > _MAX_HEADERS:
            return Refused("broken_record", "a header without end")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        name, colon, value = text.partition(":")
        if text[:1] in " \t" and last:
            headers[last] += " " + text.strip()
        elif colon:
            last = name.strip().lower()
            headers[last] = value.strip()
        else:
            return Refused("broken_record", "a header line without colon")


def _arc_headers(match: re.Match[bytes]) -> dict[str, str]:
    url, _, date, mime, length = (group.decode("utf-8", "replace") for group in match.groups())
    when = f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:]}Z"
    kind = "warcinfo" if url.startswith("filedesc:") else "response" if url.startswith("http") else "resource"
    return {
        "warc-type": kind, "warc-target-uri": url, "warc-date": when, "content-length": length,
        "content-type": "application/http" if kind == "response" else mime,
    }  # fmt: skip


def _body(stream: Pushback, length: int, limits: Limits) -> bytes | None:
    """The body, shorter if the stream ends; None if it was too large to keep."""
    if length <= limits.max_item_bytes:
        return stream.read(length)
    while length:
        piece = stream.read(min(length, _BLOCK))
        if not piece:
            return b""
        length -= len(piece)
    return None


def _short_body(stream: Pushback, body: bytes, length: int) -> Refused:
    """The stream ended properly inside the body: either the length is wrong, or an uncompressed file was cut."""
    wrong = _INNER_RECORD.search(body) is not None
    whole = body.endswith(b"\r\n\r\n")  # a record's end stands at the end
    if wrong:
        stream.unread(body)
    error = "wrong_length" if wrong or whole else "truncated"
    return Refused(error, f"{len(body)} of {length} bytes")


# -- uncompressed files ------------------------------------------------------------------------------------


def plain_records(raw: BinaryIO, limits: Limits, start: int = 0, stop: int | None = None) -> Iterator[Framed]:
    """The records that start in [start, stop) of an uncompressed file.

    Where `start` is no record header, the file is gone through from its begin.
    """
    if start:
        raw.seek(start)
        if not is_header(raw.readline(_MAX_LINE)):
            found = next((at for at in record_starts(raw, limits) if at >= start), None)
            if found is None:
                return
            start = found
    raw.seek(start)
    yield from records(Pushback(raw.read, False, start), limits, stop)


def record_starts(raw: BinaryIO, limits: Limits) -> Iterator[int]:
    """Where the records of an uncompressed file start, as `records` finds them; bodies are passed over.

    Bytes where a record should start count as one.
    """
    size = raw.seek(0, io.SEEK_END)
    at = 0
    while True:
        raw.seek(at)
        stream = Pushback(lambda _: raw.read(PROBE_BYTES), False, at)
        line = stream.readline(_MAX_LINE)
        while line in (b"\r\n", b"\n"):
            at = stream.position
            line = stream.readline(_MAX_LINE)
        if not line:
            return
        yield at
        found = _header(stream, line)
        damaged = isinstance(found, Refused)
        if not isinstance(found, Refused):
            _, length, is_arc = found
            body = stream.position
            at = body + length
            kept = length <= limits.max_item_bytes
            if at > size:
                raw.seek(body)
                if not kept or not _INNER_RECORD.search(raw.read()):
                    return
                damaged = True
            else:
                raw.seek(at)
                stream = Pushback(raw.read, False, at)
                end = stream.read(1 if is_arc else 4)
                at = stream.position
                damaged = not _good_end(end, is_arc, stream)
            if damaged:
                raw.seek(body if kept else body + length)
                stream = Pushback(raw.read, False, raw.tell())
        if damaged:
            if not _resynchronise(stream):
                return
            at = stream.position
