"""WARC, ARC, WET and WAT files to documents; the framing of their records is in `warc_framing`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from licenses.identifiers import sha256_hex, swhid_content
from licenses.reservations_marks import MAX_HOST_FILE, RESERVATION, host_file, page_marks
from pipelines.readers.files import Files, Found
from pipelines.readers.html import Mode, Page, read_page
from pipelines.readers.http import is_html, is_http, looks_like_html, media_type, read_response
from pipelines.readers.limits import Limits
from pipelines.readers.records import Document, Dropped, Item, Refused, Skipped, safe_meta, safe_text
from pipelines.readers.streams import compression, inflated
from pipelines.readers.units import Source, UnitFile
from pipelines.readers.warc_framing import Pushback, Record, member_records, plain_records, record_starts, records
from pipelines.readers.warc_members import packing_of

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

Kind = Literal["warc", "wet", "wat"]
# About 70 MB of records, half a minute of extraction.
RANGE_BYTES = 16 << 20
# The same of records that are not compressed.
PLAIN_RANGE_BYTES = 64 << 20
_MAX_TARGET = 2048
_BY_RECORDS = ("gzip", "zstd", "lz4")


def cuts(found: Found, source: Source, files: Files) -> list[dict[str, int | None]]:
    """Byte ranges of a large file whose records are compressed one by one, or not at all."""
    packed = compression(found.name)
    if packed is None:
        return _plain_cuts(found, source, files)
    if packed not in _BY_RECORDS or found.size <= RANGE_BYTES:
        return []
    return _ranges([*range(0, found.size, RANGE_BYTES)])


def _plain_cuts(found: Found, source: Source, files: Files) -> list[dict[str, int | None]]:
    if found.size <= PLAIN_RANGE_BYTES:
        return []
    try:
        if files.link(found.path, found.name) is not None:
            return []
        with files.open(found.path) as raw:
            packing = packing_of(raw, found.name)
            if packing is not None:
                return _ranges([*range(0, found.size, RANGE_BYTES)])
            edges = [0]
            for at in record_starts(raw, source.limits):
                if at - edges[-1] >= PLAIN_RANGE_BYTES:
                    edges.append(at)
    except Refused:  # the reader will say so
        return []
    return _ranges(edges)


def _ranges(edges: list[int]) -> list[dict[str, int | None]]:
    if len(edges) < 2:
        return []
    return [{"start": a, "stop": b} for a, b in zip(edges, [*edges[1:], None], strict=True)]


def read_pages(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Pages of the records of one unit."""
    return _read(raw, file, reading, "warc")


def read_texts(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Extracted texts of the records of one unit."""
    return _read(raw, file, reading, "wet")


def read_metadata(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """What a WAT file says about the responses of one unit."""
    return _read(raw, file, reading, "wat")


def _read(raw: BinaryIO, file: UnitFile, reading: Reading, kind: Kind) -> Iterator[Item]:
    unit = reading.unit
    mode = cast(Mode, unit.extractor)
    host_files = bool(reading.options.get("host_files", False))
    return read_warc(
        raw, file.name, unit.source, kind, unit.document_kind, mode, reading.limits, unit.start, unit.stop, host_files
    )


def read_warc(
    raw: BinaryIO,
    name: str,
    source: str,
    kind: Kind,
    document_kind: str | None,
    mode: Mode,
    limits: Limits,
    start: int = 0,
    stop: int | None = None,
    host_files: bool = False,
    base: int = 0,
) -> Iterator[Item]:
    """Pages of `response` and `resource` records (kind 'warc'), texts of `conversion` records ('wet'), or what
    `metadata` records say about responses ('wat'); of those records that start in [start, stop).

    Locator: `name#offset` of the record (in the compressed file), and `.k` for the k-th further record of a member;
    behind it, for a record that is dropped because its content stands elsewhere, `>` and the place.
    host_files: files in which a host reserves its rights become documents of kind `reservation`.
    base: offset of `raw` in the file that `name` names.
    """
    make = _Maker(source, document_kind, mode, limits, host_files)
    for locator, result in _located(raw, name, limits, start, stop, base):
        try:
            if isinstance(result, Refused):
                raise result
            if kind == "wet":
                yield make.text(result, locator)
            elif kind == "wat":
                yield make.metadata(result, locator)
            else:
                yield make.page(result, locator)
        except Refused as refused:
            yield refused.at(locator)
        except _Elsewhere as elsewhere:
            yield elsewhere.at(locator)
        except Skipped as skipped:
            yield skipped.at(locator)


def _located(
    raw: BinaryIO, name: str, limits: Limits, start: int, stop: int | None, base: int
) -> Iterator[tuple[str, Record | Refused]]:
    try:
        packing = packing_of(raw, name)
    except Refused as refused:
        if not start:
            yield f"{name}#{base}", refused
        return
    raw.seek(0)
    if packing is not None:
        for offset, framed in member_records(raw, packing, limits, start, stop):
            suffix = f".{framed.index}" if framed.index else ""
            yield f"{name}#{base + offset}{suffix}", framed.result
        return
    packed = compression(name)
    if packed is None:
        found = plain_records(raw, limits, start, stop)
    else:
        found = records(Pushback(inflated(raw, packed, limits).read, True), limits)
    for framed in found:
        yield f"{name}#{base + framed.position}", framed.result


class _Elsewhere(Skipped):
    """The record has no content of its own, but names a place that does."""

    def __init__(self, reason: str, target: str | None) -> None:
        super().__init__(reason)
        self.target = safe_text("".join((target or "").split()))[0][:_MAX_TARGET]

    def at(self, locator: str) -> Dropped:
        return Dropped(f"{locator}>{self.target}" if self.target else locator, self.reason)


def _meta(headers: dict[str, str]) -> dict[str, str | None]:
    return {
        "warc_record_id": headers.get("warc-record-id"),
        "warc_payload_digest": headers.get("warc-payload-digest"),
        "warc_block_digest": headers.get("warc-block-digest"),
        "warc_truncated": headers.get("warc-truncated"),  # by the crawler, on purpose
        "warc_identified_language": headers.get("warc-identified-content-language"),
    }


def _url(headers: dict[str, str]) -> str | None:
    return safe_text(headers.get("warc-target-uri", "").strip("<> "))[0] or None


class _Maker:
    """Records to documents; each method raises Refused or Skipped."""

    def __init__(self, source: str, document_kind: str | None, mode: Mode, limits: Limits, host_files: bool) -> None:
        self.source, self.mode, self.limits, self.host_files = source, mode, limits, host_files
        self.document_kind = document_kind

    def _document(
        self, record: Record, locator: str, kind: str, data: bytes, text: str, mime: str | None, meta: dict[str, Any]
    ) -> Document:
        text, replaced = safe_text(text)
        if not text.strip():
            raise Skipped("empty")
        more = {**_meta(record.headers), **meta, "replaced_characters": str(replaced) if replaced else None}
        return Document(
            locator=locator, source=self.source, kind=kind, text=text, url=_url(record.headers),
            timestamp=record.headers.get("warc-date"), mime=mime, content_sha256=sha256_hex(data),
            swhid=swhid_content(data), meta=safe_meta(more),
        )  # fmt: skip

    def text(self, record: Record, locator: str) -> Document:
        if record.type != "conversion":
            raise Skipped("not_a_response")
        mime = media_type(record.headers.get("content-type"))
        text = _utf8(record.body)
        return self._document(record, locator, self.document_kind or "web", record.body, text, mime, {})

    def metadata(self, record: Record, locator: str) -> Document:
        """The JSON of a WAT record about a response, as it stands; what it says most often also in `meta`."""
        if record.type != "metadata" or media_type(record.headers.get("content-type")) != "application/json":
            raise Skipped("not_a_response")
        text = _utf8(record.body)
        try:
            envelope = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused("bad_json", f"WAT: {error}"[:200]) from error
        payload = _at(envelope, "Envelope", "Payload-Metadata", "HTTP-Response-Metadata")
        if not isinstance(payload, dict):
            raise Skipped("not_a_response")
        kind = self.document_kind or "metadata"
        return self._document(record, locator, kind, record.body, text, "application/json", _of_wat(envelope, payload))

    def page(self, record: Record, locator: str) -> Document:
        headers = record.headers
        if record.type == "revisit":
            raise _Elsewhere("revisit", headers.get("warc-refers-to-target-uri") or headers.get("warc-refers-to"))
        if record.type not in ("response", "resource"):
            raise Skipped("not_a_response")
        content_type = headers.get("content-type", "")
        body = record.body
        charset = None
        marks: dict[str, str] = {}
        if record.type == "response":
            if media_type(content_type) != "application/http" and not is_http(body):
                raise Skipped("not_a_page")  # dns:, ftp: and the like
            response = read_response(body, self.limits)
            if 300 <= response.status < 400:
                raise _Elsewhere("redirect", response.headers.get("location"))
            content_type = response.headers.get("content-type", "")
            charset = response.charset
            if self.host_files and 200 <= response.status < 300 and host_file(_url(headers)):
                content = response.content(self.limits)
                if not looks_like_html(content):
                    return self._host_file(record, locator, content)
            if not is_html(content_type, response.raw):
                raise Skipped("not_a_page")
            if not 200 <= response.status < 300:
                raise Skipped("http_status")
            body = response.content(self.limits)
            marks = response.headers
        elif self.host_files and host_file(_url(headers)) and not looks_like_html(body):
            return self._host_file(record, locator, body)
        elif not is_html(content_type, body):
            raise Skipped("not_a_page")
        page = Page(
            source=self.source, locator=locator, kind=self.document_kind or "web", url=_url(headers),
            timestamp=headers.get("warc-date"), mime=media_type(content_type) or "text/html", charset=charset,
            meta=safe_meta({**_meta(headers), **page_marks(body, marks)}),
        )  # fmt: skip
        return read_page(body, page, self.mode, self.limits)

    def _host_file(self, record: Record, locator: str, content: bytes) -> Document:
        name = host_file(_url(record.headers))
        if name == "tdmrep.json" and len(content) > MAX_HOST_FILE:  # half of it would be no JSON
            raise Refused("too_large", f"a tdmrep.json of {len(content)} bytes, more than {MAX_HOST_FILE}")
        text = content[:MAX_HOST_FILE].decode("utf-8", "replace")
        kept = {"host_file": name}
        return self._document(record, locator, RESERVATION, content, text, "text/plain", kept)


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refused("undecodable", f"not UTF-8 at byte {error.start}") from error


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _of_wat(envelope: Any, payload: dict[str, Any]) -> dict[str, str | None]:
    """Title, description, HTTP headers and links of a response, as its WAT record has them (IIPC WAT 1.0)."""
    head = _at(payload, "HTML-Metadata", "Head") or {}
    links = _at(payload, "HTML-Metadata", "Links")
    http = _at(payload, "Headers")
    http = {key.lower(): each for key, each in http.items() if isinstance(each, str)} if isinstance(http, dict) else {}
    metas = _at(head, "Metas")
    named = {
        str(each.get("name") or each.get("property")).lower(): each["content"]
        for each in (metas if isinstance(metas, list) else [])
        if isinstance(each, dict) and isinstance(each.get("content"), str)
    }
    told: dict[str, Any] = {
        "title": _at(head, "Title"),
        "description": named.get("description") or named.get("og:description"),
        "http_status": _at(payload, "Response-Message", "Status"),
        "content_type": http.get("content-type"),
        "links": str(len(links)) if isinstance(links, list) else None,
        "warc_filename": _at(envelope, "Container", "Filename"),
        "warc_offset": _at(envelope, "Container", "Offset"),
    }
    marks = page_marks(b"", http, named)
    return {key: value for key, value in {**told, **marks}.items() if isinstance(value, str)}
