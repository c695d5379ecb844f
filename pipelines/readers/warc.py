"""WARC, ARC and WET files: record framing that reports every kind of damage, and splitting by byte ranges.

The framing is written here because neither warcio 1.8.1 nor fastwarc 2.0.1 says so when a record is cut off:
both return a short body or end silently, and stop at the first damage (measured on a file cut, overwritten
and with wrong lengths in ten ways).  Tests compare the records of intact files with theirs.

A record-compressed file (one gzip member a record) can be read by ranges: a member belongs to the range in
which it starts, and a start is only taken where the gzip header inflates to a record header.  Known limit: if
a record holds another .warc.gz that deflate stored uncompressed, and a cut falls into it, the inner records
look like records.
"""

from __future__ import annotations

import dataclasses
import io
import re
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.files import Files, Found
from pipelines.readers.html import Mode, Page, read_page
from pipelines.readers.http import is_html, media_type, read_response
from pipelines.readers.limits import Limits
from pipelines.readers.records import (
    Document,
    Item,
    Refused,
    Skipped,
    safe_meta,
    safe_text,
)
from pipelines.readers.streams import compression, inflated
from pipelines.readers.units import Source, UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

# About 70 MB of records, half a minute of extraction.
RANGE_BYTES = 16 << 20
_GZIP_MAGIC = b"\x1f\x8b\x08"
_BLOCK = 1 << 16
# Enough compressed bytes to inflate the first line of a record.
_PROBE_BYTES = 4096
_PROBE_LINE = 512
_MAX_LINE = 1 << 16
_MAX_HEADERS = 1 << 20
# URL, IP, 14-digit date, type, [more fields of version 2,] length: Internet Archive ARC file format 1996.
_ARC_HEADER = re.compile(rb"(\S{1,8192}) (\S*) (\d{14}) (\S*|\S+; ?\S*)(?: \S+){0,5}? (\d{1,19})\r?\n")
_WARC_VERSION = re.compile(rb"WARC/\d\.\d+\r?\n")


def _is_header(line: bytes) -> bool:
    return bool(_WARC_VERSION.fullmatch(line)) or bool(_ARC_HEADER.fullmatch(line))


@dataclasses.dataclass(slots=True)
class _Record:
    type: str
    headers: dict[str, str]  # lower-case names
    body: bytes


class _Pushback:
    """Reads from a source with counted position, and takes bytes back.  `read_some` gives b'' at the end.

    checked: the source itself reports a cut, so that its end is the end.
    """

    def __init__(self, read_some: Callable[[int], bytes], checked: bool) -> None:
        self._read_some = read_some
        self.checked = checked
        self.cut = False
        self._ready = io.BytesIO()
        self.position = 0

    def read(self, size: int) -> bytes:
        data = self._ready.read(size)
        pieces = [data]
        left = size - len(data)
        while left > 0 and (piece := self._read_some(min(left, _BLOCK))):
            pieces.append(piece)
            left -= len(piece)
        data = b"".join(pieces)
        self.position += len(data)
        return data

    def unread(self, data: bytes) -> None:
        self._ready = io.BytesIO(data + self._ready.read())
        self.position -= len(data)

    def readline(self, max_bytes: int) -> bytes:
        """Up to and with the next LF; shorter at the end or at `max_bytes`."""
        line = self._ready.readline(max_bytes)
        while not line.endswith(b"\n") and len(line) < max_bytes:
            more = self._read_some(_BLOCK)
            if not more:
                break
            self._ready = io.BytesIO(more)
            line += self._ready.readline(max_bytes - len(line))
        self.position += len(line)
        return line

    def at_end(self) -> bool:
        data = self.read(1)
        if data:
            self.unread(data)
        return not data


class _GzipMember:
    """The content of the one gzip member that starts at `offset`; `end` is known once it is read to its
    end."""

    def __init__(self, raw: BinaryIO, offset: int, limits: Limits) -> None:
        raw.seek(offset)
        self._raw = raw
        self._limits = limits
        self._decoder = zlib.decompressobj(31)
        self._pending = b""
        self._in = self._out = 0
        self._offset = offset
        self.broken = False
        self.end: int | None = None

    def read_some(self, size: int) -> bytes:
        try:
            return self._read_some(size)
        except Refused:
            self.broken = True
            raise

    def _read_some(self, size: int) -> bytes:
        while self.end is None:
            if not self._pending:
                self._pending = self._raw.read(_BLOCK)
                if not self._pending:
                    raise Refused("truncated", "the compressed record is cut off")
                self._in += len(self._pending)
            try:
                data = self._decoder.decompress(self._pending, size)
            except zlib.error as error:
                raise Refused("broken_record", f"gzip: {error}") from error
            self._pending = self._decoder.unconsumed_tail
            self._out += len(data)
            if self._decoder.eof:
                self.end = self._offset + self._in - len(self._decoder.unused_data)
            used = self._in - len(self._pending)
            if self._out > self._limits.ratio_floor_bytes + self._limits.max_ratio * used:
                raise Refused("zip_bomb", f"inflates more than {self._limits.max_ratio:g} times")
            if data:
                return data
        return b""


def _starts_member(raw: BinaryIO, offset: int) -> bool:
    raw.seek(offset)
    head = raw.read(_PROBE_BYTES)
    if not head.startswith(_GZIP_MAGIC):
        return False
    try:
        # Little output: damage further on must not hide that a record starts here.
        begin = zlib.decompressobj(31).decompress(head, _PROBE_LINE)
    except zlib.error:
        return False
    begin = begin.lstrip(b"\r\n")
    return begin.startswith(b"WARC/") or _is_header(begin[: begin.find(b"\n") + 1])


def _next_member(raw: BinaryIO, offset: int) -> int | None:
    """The first verified record start at or after `offset`."""
    overlap = len(_GZIP_MAGIC) - 1
    while True:
        raw.seek(offset)
        block = raw.read(1 << 20)
        at = -1
        while (at := block.find(_GZIP_MAGIC, at + 1)) >= 0:
            if _starts_member(raw, offset + at):
                return offset + at
        if len(block) <= overlap:
            return None
        offset += len(block) - overlap


_Framed = tuple[str, "_Record | Refused"]


def _gzip_records(
    raw: BinaryIO, name: str, limits: Limits, start: int, stop: int | None
) -> Iterator[_Framed]:
    size = raw.seek(0, io.SEEK_END)
    offset: int | None = start
    if start:
        offset = _next_member(raw, start)
    elif not _starts_member(raw, 0):
        gap, offset = _gap(raw, 0, size)
        yield f"{name}#0", gap
    while offset is not None and (stop is None or offset < stop):
        member = _GzipMember(raw, offset, limits)
        following: int | None = None
        for locator, result in _records(
            _Pushback(member.read_some, True), _member_locator(name, offset), limits
        ):
            if member.broken and isinstance(result, Refused):
                following = _next_member(raw, offset + 1)
                if result.error == "truncated" and following is not None:
                    result = Refused("broken_record", "damaged: the compressed record does not end")
            yield locator, result
        if member.end is None:  # damaged; what follows the damage is looked for
            offset = following
        elif member.end >= size:
            return
        elif _starts_member(raw, member.end):
            offset = member.end
        else:  # reported by the range that owns the record before the gap, and by no other
            gap, following = _gap(raw, member.end, size)
            yield f"{name}#{member.end}", gap
            offset = following


def _member_locator(name: str, offset: int) -> Callable[[int, int], str]:
    return lambda index, position: f"{name}#{offset}" if index == 0 else f"{name}#{offset}.{index}"


def _gap(raw: BinaryIO, offset: int, size: int) -> tuple[Refused, int | None]:
    """What is wrong where no record starts, and where the next one does."""
    raw.seek(offset)
    head = raw.read(len(_GZIP_MAGIC))
    following = _next_member(raw, offset + 1)
    if following is None and size - offset < _PROBE_BYTES and _GZIP_MAGIC.startswith(head):
        return Refused("truncated", "the compressed record is cut off"), None
    return Refused("broken_record", "no record starts here"), following


def _records(stream: _Pushback, locate: Callable[[int, int], str], limits: Limits) -> Iterator[_Framed]:
    """Records until the end of the stream.  After damage the next record header is looked for.

    Memory: one record body up to `max_item_bytes`.
    """
    index = 0
    while True:
        locator = locate(index, stream.position)
        try:
            line = stream.readline(_MAX_LINE)
            while line in (b"\r\n", b"\n"):
                locator = locate(index, stream.position)
                line = stream.readline(_MAX_LINE)
            if not line:
                if stream.cut:
                    yield locator, Refused("truncated", "the record before has no end")
                return
            result = _record(stream, line, limits)
        except Refused as refused:  # the stream itself ended badly
            yield locator, refused
            return
        index += 1
        yield locator, result
        if isinstance(result, Refused) and result.error != "too_large":
            try:
                if not _resynchronise(stream):
                    return
            except Refused as refused:
                if refused.error != result.error:
                    yield locate(index, stream.position), refused
                return


def _resynchronise(stream: _Pushback) -> bool:
    while line := stream.readline(_MAX_LINE):
        if _is_header(line):
            stream.unread(line)
            return True
    return False


def _record(stream: _Pushback, line: bytes, limits: Limits) -> _Record | Refused:
    """The record that begins with `line`, or what is wrong with it; raises Refused if the stream breaks."""
    arc = _ARC_HEADER.fullmatch(line)
    if arc:
        headers = _arc_headers(arc)
    elif _WARC_VERSION.fullmatch(line):
        found = _headers(stream)
        if isinstance(found, Refused):
            return found
        headers = found
    elif not line.endswith(b"\n") and b"WARC/1.0\r\n".startswith(line[:10]):
        return Refused("truncated", "ends inside a record header")
    else:
        return Refused("broken_record", "no record header")
    length_text = headers.get("content-length", "")
    if not re.fullmatch(r"\d{1,18}", length_text):
        return Refused("broken_record", "no usable Content-Length")
    length = int(length_text)
    body = _body(stream, length, limits)
    if body is not None and len(body) < length:
        return _short_body(stream, body, length)
    end = stream.read(1) if arc else stream.read(4)
    good = end in (b"\n", b"") if arc else b"\r\n\r\n".startswith(end) and (len(end) == 4 or stream.at_end())
    if not good:
        stream.unread((body or b"") + end)
        return Refused("wrong_length", f"no record ends {length} bytes after its header")
    stream.cut = not stream.checked and len(end) < (1 if arc else 4)
    stream.at_end()  # lets the decoder check the sum of a compressed record before it is used
    if body is None:
        return Refused("too_large", f"a record of {length} bytes, more than {limits.max_item_bytes}")
    return _Record(headers.get("warc-type", "").lower(), headers, body)


def _headers(stream: _Pushback) -> dict[str, str] | Refused:
    headers: dict[str, str] = {}
    last = ""
    total = 0
    while True:
        line = stream.readline(_MAX_LINE)
        total += len(line)
        if not line.endswith(b"\n"):
            return Refused(
                "truncated" if len(line) < _MAX_LINE else "broken_record", "ends inside a record header"
            )
        if line in (b"\r\n", b"\n"):
            return headers
        if total > _MAX_HEADERS:
            return Refused("broken_record", "a header without end")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text[:1] in " \t" and last:
            headers[last] += " " + text.strip()
        elif ":" in text:
            last, _, value = text.partition(":")
            last = last.strip().lower()
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


def _body(stream: _Pushback, length: int, limits: Limits) -> bytes | None:
    """The body, shorter if the stream ends; None if it was too large to keep."""
    if length <= limits.max_item_bytes:
        return stream.read(length)
    while length:
        piece = stream.read(min(length, _BLOCK))
        if not piece:
            return b""
        length -= len(piece)
    return None


def _short_body(stream: _Pushback, body: bytes, length: int) -> Refused:
    """The stream ended properly inside the body: either the length is wrong, or an uncompressed file was
    cut."""
    wrong = re.search(rb"\n\r?\nWARC/\d\.\d+\r?\n", body) is not None
    whole = body.endswith(b"\r\n\r\n")  # a record's end stands at the end
    if wrong:
        stream.unread(body)
    error = "wrong_length" if wrong or whole else "truncated"
    return Refused(error, f"{len(body)} of {length} bytes")


def cuts(found: Found, source: Source, files: Files) -> list[dict[str, int | None]]:
    """Byte ranges of a large file whose records are compressed one by one."""
    if compression(found.name) != "gzip" or found.size <= RANGE_BYTES:
        return []
    edges = list(range(0, found.size, RANGE_BYTES))
    return [{"start": a, "stop": b} for a, b in zip(edges, [*edges[1:], None], strict=True)]


def read_pages(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Pages of the records of one unit."""
    return _read(raw, file, reading, "warc")


def read_texts(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Extracted texts of the records of one unit."""
    return _read(raw, file, reading, "wet")


def _read(raw: BinaryIO, file: UnitFile, reading: Reading, kind: str) -> Iterator[Item]:
    unit = reading.unit
    mode = cast(Mode, unit.extractor)
    return read_warc(
        raw, file.name, unit.source, kind, unit.document_kind, mode, reading.limits, unit.start, unit.stop
    )


def read_warc(
    raw: BinaryIO,
    name: str,
    source: str,
    kind: str,
    document_kind: str | None,
    mode: Mode,
    limits: Limits,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Item]:
    """Pages of `response` and `resource` records (kind 'warc'), or texts of `conversion` records (kind
    'wet').

    Locator: `name#offset` of the record (in the compressed file), and `.k` for the k-th further record of a
    member.
    """
    packed = compression(name)
    head = raw.read(len(_GZIP_MAGIC))
    raw.seek(0)
    if packed == "gzip" or head == _GZIP_MAGIC:
        framed = _gzip_records(raw, name, limits, start, stop)
    else:
        stream = inflated(raw, packed, limits)
        framed = _records(
            _Pushback(stream.read, packed is not None), lambda index, position: f"{name}#{position}", limits
        )
    for locator, record in framed:
        try:
            if isinstance(record, Refused):
                raise record
            if kind == "wet":
                yield _text(record, locator, source, document_kind)
            else:
                yield _page(record, locator, source, document_kind, mode, limits)
        except Refused as refused:
            yield refused.at(locator)
        except Skipped as skipped:
            yield skipped.at(locator)


def _meta(headers: dict[str, str]) -> dict[str, str]:
    return safe_meta({
        "warc_record_id": headers.get("warc-record-id"),
        "warc_payload_digest": headers.get("warc-payload-digest"),
        "warc_block_digest": headers.get("warc-block-digest"),
        "warc_truncated": headers.get("warc-truncated"),  # by the crawler, on purpose
        "warc_identified_language": headers.get("warc-identified-content-language"),
    })  # fmt: skip


def _url(headers: dict[str, str]) -> str | None:
    return safe_text(headers.get("warc-target-uri", "").strip("<> "))[0] or None


def _text(record: _Record, locator: str, source: str, document_kind: str | None) -> Document:
    if record.type != "conversion":
        raise Skipped("not_a_response")
    try:
        text, replaced = safe_text(record.body.decode())
    except UnicodeDecodeError as error:
        raise Refused("undecodable", f"not UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise Skipped("empty")
    meta = _meta(record.headers)
    if replaced:
        meta["replaced_characters"] = str(replaced)
    return Document(
        locator=locator, source=source, kind=document_kind or "web", text=text, url=_url(record.headers),
        timestamp=record.headers.get("warc-date"), mime=media_type(record.headers.get("content-type")),
        content_sha256=sha256_hex(record.body), swhid=swhid_content(record.body), meta=meta,
    )  # fmt: skip


def _page(
    record: _Record, locator: str, source: str, document_kind: str | None, mode: Mode, limits: Limits
) -> Document:
    headers = record.headers
    if record.type not in ("response", "resource"):
        raise Skipped("not_a_response")
    content_type = headers.get("content-type", "")
    body = record.body
    charset = None
    if record.type == "response" and (
        media_type(content_type) == "application/http" or body.startswith(b"HTTP/")
    ):
        response = read_response(body, limits)
        content_type = response.headers.get("content-type", "")
        charset = response.charset
        if not is_html(content_type, response.raw):
            raise Skipped("not_a_page")
        if not 200 <= response.status < 300:
            raise Skipped("http_status")
        body = response.content(limits)
    elif record.type == "response":
        raise Skipped("not_a_page")  # dns:, ftp: and the like
    elif not is_html(content_type, body):
        raise Skipped("not_a_page")
    page = Page(
        source=source, locator=locator, kind=document_kind or "web", url=_url(headers),
        timestamp=headers.get("warc-date"), mime=media_type(content_type) or "text/html", charset=charset,
        meta=_meta(headers),
    )  # fmt: skip
    return read_page(body, page, mode, limits)
