"""MediaWiki XML dumps (`pages-articles`, multistream too) to documents: one a page, wikitext made plain text.

    pages-articles.xml  .xml.bz2 (cut at the starts of its streams)  .xml.gz  .xml.zst ...

Kept of a page: title, page and revision number, time, namespace, categories and text.  The contributor's name or
address and the edit's comment are not read.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import io
import re
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.limits import Limits
from pipelines.readers.records import Document, Item, Refused, Rejected, Skipped, safe_meta, safe_text
from pipelines.readers.streams import compression, inflated
from pipelines.readers.wikipedia_dump import (
    STREAM_START,
    bz2_blocks,
    content_before,
    plain_blocks,
    split_pages,
    stream_blocks,
)
from pipelines.readers.wikipedia_text import Namespaces, Shape, wikitext_to_text

if TYPE_CHECKING:
    from pipelines.readers.files import Files, Found
    from pipelines.readers.reading import Reading
    from pipelines.readers.units import Source, UnitFile

# About 70 MB of XML in either case: ten seconds of work.
BZ2_RANGE_BYTES = 16 << 20
PLAIN_RANGE_BYTES = 64 << 20
# A parallel compressor ends a stream every 900 kB of XML at most (bzip2's largest block), which is less than this.
_SECOND_STREAM_WITHIN = 2 << 20
# The head of Wikidata, the longest, has 12 kB.
_HEAD_BYTES = 1 << 18

_SITEINFO = re.compile(r"<siteinfo>(.*?)</siteinfo>", re.S)
_NAMESPACE = re.compile(r'<namespace\s[^<>]*?key="(-?\d+)"[^<>]*?(?:/>|>([^<]*)</namespace>)')
_LANGUAGE = re.compile(r'<mediawiki\s[^<>]*?xml:lang="([^"<>]+)"')
# Content models that are wikitext (mediawiki.org/wiki/Content_handlers); others are JSON, Lua, CSS ...
_TEXT_MODELS = frozenset(("wikitext", "proofread-page"))


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """What the head of a dump says."""

    language: str | None = None
    page_url: str | None = None  # a title follows
    namespaces: dict[int, str] = dataclasses.field(default_factory=dict)
    problem: str | None = None  # why it is no head

    def number(self, namespace: str) -> int | None:
        """Of a namespace's number or name."""
        if re.fullmatch(r"-?\d{1,6}", namespace):
            return int(namespace)
        wanted = namespace.lower().replace("_", " ")
        return next((key for key, name in self.namespaces.items() if name.lower() == wanted), None)


def read_pages(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Locator: `name#page id`; where a page has none, `name@place`."""
    unit = reading.unit
    kind = compression(file.name)
    site = read_site(raw, kind, reading.limits)
    if site.problem and unit.start == 0:
        yield Rejected(file.name, "broken_record", site.problem)
    wanted = {site.number(name) for name in reading.options["namespaces"]}
    if None in wanted:
        if unit.start == 0:
            known = ", ".join(name for name in site.namespaces.values() if name)
            message = f"option namespaces: {', '.join(reading.options['namespaces'])}; the dump has {known or 'none'}"
            yield Rejected(file.name, "unsupported", message)
        return
    make = PageMaker(
        site, frozenset(number for number in wanted if number is not None), file.name, unit.source,
        unit.document_kind or "prose", reading.options["language"] or site.language,
        Shape(reading.options["templates"], reading.options["tables"], reading.options["math"]),
    )  # fmt: skip
    match kind:
        case "bz2":
            blocks = bz2_blocks(raw, unit.start, unit.stop, reading.limits)
        case None:
            blocks = plain_blocks(raw, unit.start, unit.stop)
        case other:
            raw.seek(0)
            blocks = stream_blocks(raw, other, reading.limits)
    before = functools.partial(content_before, raw, unit.start, kind == "bz2", reading.limits)
    for page in split_pages(blocks, reading.limits, unit.start if kind is None else 0, before):
        place = f"{file.name}@{page.place}"
        if isinstance(page.data, Refused):
            if not (site.problem and page.place == "end"):  # said already
                yield page.data.at(place)
            continue
        yield make.item(page.data, place)


def read_site(raw: BinaryIO, kind: str | None, limits: Limits) -> Site:
    """From the first 256 kB of the dump, whatever part of it is read."""
    raw.seek(0)
    try:
        head = inflated(io.BytesIO(raw.read(4 * _HEAD_BYTES)), kind, limits)
        data = b""
        while len(data) < _HEAD_BYTES and b"</siteinfo>" not in data and (block := head.read1(_HEAD_BYTES)):
            data += block
    except Refused:  # reading the pages meets it too, and says so
        if b"</siteinfo>" not in data:
            return Site()
    text = data.decode("utf-8-sig", "replace")
    if "<mediawiki" not in text:
        return Site(problem="no MediaWiki dump: its beginning holds no <mediawiki> element")
    language = _LANGUAGE.search(text)
    info = _SITEINFO.search(text)
    if info is None:
        return Site(language=language[1] if language else None)
    base = re.search(r"<base>([^<\s]+)</base>", info[1])
    url = html.unescape(base[1]).rpartition("/")[0] + "/" if base else None
    names = {int(key): html.unescape(name) for key, name in _NAMESPACE.findall(info[1])}
    return Site(language[1] if language else None, url if url and "://" in url else None, names)


@dataclasses.dataclass(frozen=True, slots=True)
class PageMaker:
    """Turns `<page>` elements of one dump into items."""

    site: Site
    wanted: frozenset[int]
    name: str
    source: str
    kind: str
    language: str | None
    shape: Shape

    def item(self, data: bytes, place: str) -> Item:
        try:
            page = ET.fromstring(data)
        except ET.ParseError as error:
            return Rejected(place, "broken_record", f"page: {error}")
        except (ValueError, LookupError, RecursionError) as error:
            return Rejected(place, "broken_record", f"page: {type(error).__name__}: {error}")
        number = (page.findtext("id") or "").strip()
        if not number.isdecimal() or not number.isascii():
            return Rejected(place, "broken_record", "a page without a number")
        locator = f"{self.name}#{number}"
        try:
            return self._document(page, number, locator)
        except Skipped as skipped:
            return skipped.at(locator)
        except Refused as refused:
            return refused.at(locator)

    def _document(self, page: ET.Element, number: str, locator: str) -> Document:
        namespace = (page.findtext("ns") or "0").strip()
        if not re.fullmatch(r"-?\d{1,6}", namespace):
            raise Refused("broken_record", f"namespace {namespace[:40]!r} is no number")
        if int(namespace) not in self.wanted:
            raise Skipped("other_namespace")
        if page.find("redirect") is not None:
            raise Skipped("redirect")
        revision = _latest(page)
        if revision is None:
            raise Refused("broken_record", "a page without a revision")
        if (revision.findtext("model") or "wikitext").strip() not in _TEXT_MODELS:
            raise Skipped("not_wikitext")
        wikitext = revision.findtext("text") or ""
        if not wikitext.strip():
            raise Skipped("empty")
        text, categories = wikitext_to_text(wikitext, self.shape, Namespaces.of(self.site.namespaces))
        if not text:
            raise Skipped("no_main_text")
        title = (page.findtext("title") or "").strip()
        raw = wikitext.encode()
        url = (
            self.site.page_url + urllib.parse.quote(title.replace(" ", "_"), safe="/:(),!*;@'~$")
            if (self.site.page_url and title)
            else None
        )
        return Document(
            locator=locator, source=self.source, kind=self.kind, text=safe_text(text)[0], url=url,
            timestamp=(revision.findtext("timestamp") or "").strip() or None, mime="text/x-wiki",
            content_sha256=sha256_hex(raw), swhid=swhid_content(raw), language=self.language,
            meta=safe_meta({
                "title": title, "page_id": number, "revision": (revision.findtext("id") or "").strip(),
                "namespace": namespace if namespace != "0" else None,
                "categories": "|".join(dict.fromkeys(categories)),
            }),
        )  # fmt: skip


def _latest(page: ET.Element) -> ET.Element | None:
    """The revision with the latest time; dumps of articles hold one, those of the history all."""
    revisions = page.findall("revision")
    if not revisions:
        return None
    return max(enumerate(revisions), key=lambda pair: (pair[1].findtext("timestamp") or "", pair[0]))[1]


def cuts(found: Found, source: Source, files: Files) -> list[dict[str, int | None]]:
    """Byte ranges of an uncompressed dump or one of many bzip2 streams; none for other files."""
    kind = compression(found.name)
    if kind not in (None, "bz2"):
        return []
    width = PLAIN_RANGE_BYTES if kind is None else BZ2_RANGE_BYTES
    if found.size <= width or kind == "bz2" and not _is_multistream(found, files):
        return []
    edges = list(range(0, found.size, width))
    return [{"start": a, "stop": b} for a, b in zip(edges, [*edges[1:], None], strict=True)]


def _is_multistream(found: Found, files: Files) -> bool:
    try:
        with files.open(found.path) as raw:
            return STREAM_START.search(raw.read(_SECOND_STREAM_WITHIN), 1) is not None
    except Refused:  # reading it says so
        return False
