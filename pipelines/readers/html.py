"""Web pages: bytes to main text and the page's own metadata.

`extract` is the only place that knows the extraction libraries: trafilatura (Apache-2.0; careful) and resiliparse
(Apache-2.0; fast).  Both run without network, threads or clock; bench/extraction.py compares them.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.limits import Limits
from pipelines.readers.records import Document, Refused, Skipped, content_sha256, safe_meta, safe_text, swhid_content

Mode = Literal["careful", "fast"]
PAGE_SUFFIXES = (".html", ".htm", ".xhtml")

# The library logs each page without main text; here that is a counted result.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
logging.getLogger("htmldate").setLevel(logging.CRITICAL)

# A fixed end of plausible dates: the library's default is today, which would make the result depend on the clock.
_MAX_DATE = "2100-01-01"
_TAG = re.compile(rb"<(/?)([a-zA-Z][^\s/>]{0,32})")
_LONG_TAG = re.compile(rb"<[a-zA-Z][^<>]{20000,}")
# Elements that never nest through a missing end tag (HTML Standard, 13.1.2 void elements and 13.1.2.4 optional tags).
_FLAT = frozenset(
    b"area base br col embed hr img input link meta source track wbr param frame "
    b"p li td th tr option optgroup dd dt thead tbody tfoot colgroup body html head rp rt".split()
)
_HOST = re.compile(r"(?=.{1,253}$)(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{0,62}$|\d{1,3}(?:\.\d{1,3}){3}$")
_CREATIVE_COMMONS = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/[\w./-]+", re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class Extraction:
    """What an extractor made of a page; None where the page does not say."""

    text: str
    title: str | None = None
    date: str | None = None
    author: str | None = None
    license: str | None = None
    url: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """Counts that bound the time of an extractor; one pass over the bytes."""

    tags: int
    depth: int  # upper bound: an element without end tag counts as open for the rest of the page
    attributes: int  # white space runs in the longest tag


def shape(data: bytes) -> Shape:
    tags = depth = deepest = 0
    for match in _TAG.finditer(data):
        tags += 1
        if match[2].lower() in _FLAT:
            continue
        if match[1]:
            depth = max(0, depth - 1)
        else:
            depth += 1
            deepest = max(deepest, depth)
    attributes = max((len(re.findall(rb"\s[^\s=\"']", tag[0])) for tag in _LONG_TAG.finditer(data)), default=0)
    return Shape(tags, deepest, attributes)


def choose_mode(data: bytes, mode: Mode, limits: Limits) -> Mode:
    """The extractor that may have this page; raises Refused('too_large')."""
    if len(data) > limits.max_html_bytes:
        raise Refused("too_large", f"a page of {len(data)} bytes, more than {limits.max_html_bytes}")
    found = shape(data)
    for name, value, limit in (
        ("tags", found.tags, limits.max_html_tags),
        ("open elements", found.depth, limits.max_html_depth),
        ("attributes in one tag", found.attributes, limits.max_tag_attributes),
    ):
        if value > limit:
            raise Refused("too_large", f"a page with {value} {name}, more than {limit}")
    if len(data) > limits.careful_html_bytes or found.tags > limits.careful_html_tags:
        return "fast"
    return mode


def plausible_url(url: str | None, base: str | None = None) -> str | None:
    """An absolute http(s) URL with a host that could exist, else None; relative ones are joined to `base`."""
    if not url:
        return None
    try:
        joined = urljoin(base, url.strip()) if base else url.strip()
        parts = urlsplit(joined)
        host = parts.hostname or ""
        if parts.scheme.lower() not in ("http", "https") or not _HOST.match(host) or parts.username:
            return None
    except ValueError:
        return None
    return safe_text(joined)[0] if len(joined) <= 2048 and not re.search(r"[\s<>\"]", joined) else None


def extract(html: bytes | str, url: str | None = None, mode: Mode = "careful") -> Extraction:
    """Main text and metadata of a page; an empty text means that there is none.  Raises what the library raises."""
    text = html if isinstance(html, str) else decode(html, declared_in_html(html))[0]
    return _extract_careful(text, url) if mode == "careful" else _extract_fast(text, url)


def _extract_careful(html: str, url: str | None) -> Extraction:
    from trafilatura import bare_extraction

    found: Any = bare_extraction(
        html,
        url=url,
        favor_precision=True,
        include_comments=False,
        deduplicate=False,
        with_metadata=True,
        date_extraction_params={"original_date": True, "extensive_search": False, "max_date": _MAX_DATE},
    )
    if found is None:
        return Extraction("")
    return Extraction(
        text=(found.text or "").strip(),
        title=found.title,
        date=found.date,
        author=found.author,
        license=_license(html),
        url=page_url(html, url),
    )


def _extract_fast(html: str, url: str | None) -> Extraction:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    text = extract_plain_text(tree, main_content=True, alt_texts=False, comments=False)
    return Extraction(text=text.strip(), title=tree.title or None, license=_license(html), url=page_url(html, url))


def _license(html: str) -> str | None:
    """The URL of the Creative Commons licence that the page links to, if it links to one only."""
    found = {match[0].rstrip("/").lower() for match in _CREATIVE_COMMONS.finditer(html)}
    roots = {re.sub(r"/(deed[.\w-]*|legalcode[.\w-]*|rdf)$", "", url).replace("http://", "https://") for url in found}
    return roots.pop() + "/" if len(roots) == 1 else None


_LINK_TAG = re.compile(r"<(?:link|meta)\s[^>]{1,4096}>", re.I)
_ATTRIBUTE = re.compile(r"""([-\w:]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")


def page_url(html: str, known: str | None) -> str | None:
    """The known URL, else what <link rel=canonical> or og:url says, if it is absolute and its host plausible."""
    if known:
        return known
    from html import unescape

    graph = None
    for tag in _LINK_TAG.finditer(html):
        values = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(tag[0])}
        if values.get("rel", "").lower() == "canonical":
            if url := plausible_url(unescape(values.get("href", ""))):
                return url
        elif values.get("property", values.get("name", "")).lower() == "og:url":
            graph = graph or plausible_url(unescape(values.get("content", "")))
    return graph


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Where a page came from, as far as its container knows."""

    source: str
    locator: str
    kind: str = "web"
    url: str | None = None
    timestamp: str | None = None
    mime: str = "text/html"
    charset: str | None = None  # of the HTTP header
    meta: dict[str, str] = dataclasses.field(default_factory=dict)


def read_page(data: bytes, page: Page, mode: Mode, limits: Limits) -> Document:
    """One page as a document; raises Refused or Skipped."""
    if not data.strip():
        raise Skipped("empty")
    chosen = choose_mode(data, mode, limits)
    declared: Iterable[str] = [page.charset] if page.charset else []
    html, encoding = decode(data, [*declared, *declared_in_html(data)])
    html = safe_text(html)[0]
    try:
        found = extract(html, page.url, chosen)
    except RecursionError as error:
        raise Refused("too_large", "a page nested too deeply for the extractor") from error
    except Exception as error:  # a library over hostile input: the class is the message, the item is lost, not the unit
        raise Refused("extraction_failed", f"{type(error).__name__}: {error}") from error
    text = safe_text(found.text)[0]
    if not text.strip():
        raise Skipped("no_main_text")
    meta = {**page.meta, **safe_meta({
        "title": found.title, "date": found.date, "author": found.author, "license": found.license,
        "encoding": encoding, "extractor": chosen,
    })}  # fmt: skip
    return Document(
        locator=page.locator, source=page.source, kind=page.kind, text=text, url=page.url or found.url,
        timestamp=page.timestamp, mime=page.mime, content_sha256=content_sha256(data), swhid=swhid_content(data),
        meta=meta,
    )  # fmt: skip


@functools.cache
def extractor_versions() -> dict[str, str]:
    """Name and version of the libraries that decide the text: part of a manifest."""
    from importlib.metadata import version

    return {name: version(name) for name in ("trafilatura", "resiliparse", "charset-normalizer", "lxml")}
