"""An HTTP response as a crawler stored it: status, headers, transfer and content encoding (RFC 9112, RFC
9110)."""

from __future__ import annotations

import dataclasses
import io
import re

from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused
from pipelines.readers.streams import inflated, read_limited

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_SNIFF = re.compile(rb"<!doctype\s+html|<html[\s>]|<head[\s>]", re.I)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([-\w:.]+)", re.I)
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}\s*(?:;[^\r\n]*)?\r?\n")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
# The header may be repeated, once for each crawler.
_ROBOTS = "x-robots-tag"
_HTML_TYPES = ("text/html", "application/xhtml+xml")


def media_type(content_type: str | None) -> str | None:
    """`text/html` of `Text/HTML; charset=x`; None if there is none."""
    return (content_type or "").partition(";")[0].strip().lower() or None


def is_html(content_type: str | None, body: bytes) -> bool:
    """By the declared type; by the first bytes where none is declared."""
    declared = media_type(content_type)
    return declared in _HTML_TYPES if declared else _SNIFF.search(body[:1024]) is not None


def looks_like_html(body: bytes) -> bool:
    return _SNIFF.search(body[:1024]) is not None


def is_http(body: bytes) -> bool:
    """Whether a status line stands at the begin."""
    return body.startswith(b"HTTP/")


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]  # lower-case names; of repeated ones the first, of X-Robots-Tag a line each
    raw: bytes  # after the headers, as stored

    @property
    def charset(self) -> str | None:
        match = _CHARSET.search(self.headers.get("content-type", ""))
        return match[1] if match else None

    def content(self, limits: Limits) -> bytes:
        """The body without chunking and compression; raises Refused.

        Crawlers often undo an encoding and keep its header: where the bytes do not begin as the header says,
        they are taken as they are.
        """
        data = self.raw
        if "chunked" in self.headers.get("transfer-encoding", "").lower() and _CHUNK_SIZE.match(data):
            data = _unchunk(data)
        for encoding in reversed(self.headers.get("content-encoding", "").lower().split(",")):
            data = _decompress(data, encoding.strip(), limits)
        return data


def read_response(body: bytes, limits: Limits) -> Response:
    """Raises Refused('broken_record') where no status line or no end of the headers is found."""
    status = _STATUS.match(body)
    end = _HEADERS_END.search(body)
    if not status:
        raise Refused("broken_record", "no HTTP status line")
    if not end:
        raise Refused("broken_record", "HTTP headers without end")
    headers: dict[str, str] = {}
    for line in body[: end.start()].split(b"\n")[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            continue
        key, value = name.strip().lower(), value.strip()
        if key == _ROBOTS and key in headers:
            headers[key] += "\n" + value
        else:
            headers.setdefault(key, value)
    return Response(int(status[1]), headers, body[end.end() :])


def _unchunk(data: bytes) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while match := _CHUNK_SIZE.match(data, at):
        size = int(match[0].split(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        at = match.end() + size
        if at > len(data):
            raise Refused("truncated", "HTTP: ends inside a chunk")
        pieces.append(data[match.end() : at])
        at += 2 if data[at : at + 2] == b"\r\n" else 1
    if at >= len(data):
        raise Refused("truncated", "HTTP: no last chunk")
    raise Refused("broken_record", "HTTP: no chunk size where one was expected")


def _decompress(data: bytes, encoding: str, limits: Limits) -> bytes:
    match encoding:
        case "" | "identity" | "none" | "utf-8":
            return data
        case "gzip" | "x-gzip":
            kind = "gzip" if data.startswith(b"\x1f\x8b") else None
        case "zstd":
            kind = "zstd" if data.startswith(b"\x28\xb5\x2f\xfd") else None
        case "deflate":
            return _inflate(data, limits)
        case "br":
            if _is_text(data):  # brotli has no magic number
                return data
            kind = "brotli"
        case _:
            if _SNIFF.search(data[:1024]):
                return data
            raise Refused("unsupported", f"HTTP: content encoding {encoding[:40]!r}")
    return read_limited(inflated(io.BytesIO(data), kind, limits), limits.max_item_bytes, "a page")


def _is_text(data: bytes) -> bool:
    """Whether the first bytes are UTF-8 without control characters, as compressed data hardly ever is."""
    head = data[:4096]
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or len(head) < 4096:
            return _SNIFF.search(data[:1024]) is not None
        text = head[: error.start].decode()
    return len(data) >= 16 and _CONTROL.search(text) is None


def _inflate(data: bytes, limits: Limits) -> bytes:
    """`deflate` is sent with and without the zlib header (RFC 9110, 8.4.1.2)."""
    import zlib

    for window in (15, -15):
        decoder = zlib.decompressobj(window)
        try:
            content = decoder.decompress(data, limits.max_item_bytes + 1)
        except zlib.error:
            continue
        if len(content) > limits.max_item_bytes:
            raise Refused("too_large", f"a page is longer than {limits.max_item_bytes} bytes")
        if not decoder.eof:
            raise Refused("truncated", "HTTP: deflate data is cut off")
        return content
    if _SNIFF.search(data[:1024]):
        return data
    raise Refused("broken_record", "HTTP: no deflate data")
