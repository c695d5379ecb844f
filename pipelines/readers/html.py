"""Web pages: bytes to main text and the page's own metadata.

`extract` is the only place that knows the extraction libraries: trafilatura (Apache-2.0; careful) and
resiliparse (Apache-2.0; fast).  Both run without network, threads or clock; bench/extraction.py compares
them.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable
from typing import Any, Literal

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.limits import Limits
from pipelines.readers.page_metadata import page_metadata
from pipelines.readers.records import Document, Refused, Skipped, safe_meta, safe_text

Mode = Literal["careful", "fast"]
PAGE_SUFFIXES = (".html", ".htm", ".xhtml")

# The library logs each page without main text; here that is a counted result.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
logging.getLogger("htmldate").setLevel(logging.CRITICAL)

_TAG = re.compile(rb"<(/?)([a-zA-Z][^\s/>]{0,32})")
_LONG_TAG = re.compile(rb"<[a-zA-Z][^<>]{20000,}")
# Elements that never nest through a missing end tag (HTML Standard, 13.1.2 void elements and 13.1.2.4
# optional tags).
_FLAT = frozenset(
    b"area base br col embed hr img input link meta source track wbr param frame "
    b"p li td th tr option optgroup dd dt thead tbody tfoot colgroup body html head rp rt".split()
)


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
    attributes = max(
        (len(re.findall(rb"\s[^\s=\"']", tag[0])) for tag in _LONG_TAG.finditer(data)), default=0
    )
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


def extract(html: bytes | str, url: str | None = None, mode: Mode = "careful") -> Extraction:
    """Main text and metadata of a page; an empty text means that there is none.  Raises what the library
    raises."""
    page = html if isinstance(html, str) else decode(html, declared_in_html(html), strip_nul=True)[0]
    text = _main_text_careful(page) if mode == "careful" else _main_text_fast(page)
    known = page_metadata(page)
    return Extraction(
        text=text.strip(), title=known.title, date=known.date, author=known.author, license=known.license,
        url=url or known.url,
    )  # fmt: skip


def _main_text_careful(html: str) -> str:
    from trafilatura import bare_extraction

    found: Any = bare_extraction(
        html, favor_precision=True, include_comments=False, deduplicate=False, with_metadata=False
    )
    return found.text or "" if found is not None else ""


def _main_text_fast(html: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    return extract_plain_text(HTMLTree.parse(html), main_content=True, alt_texts=False, comments=False)


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
    html, encoding = decode(data, [*declared, *declared_in_html(data)], strip_nul=True)
    html = safe_text(html)[0]
    try:
        found = extract(html, page.url, chosen)
    except RecursionError as error:
        raise Refused("too_large", "a page nested too deeply for the extractor") from error
    except (
        Exception
    ) as error:  # a library over hostile input: the class is the message, the item is lost, not the unit
        raise Refused("extraction_failed", f"{type(error).__name__}: {error}") from error
    text = safe_text(found.text)[0]
    if not text.strip():
        raise Skipped("no_main_text")
    meta = {**page.meta, **safe_meta({
        "title": found.title, "date": found.date, "author": found.author, "license": found.license,
        "encoding": encoding if encoding != "utf-8" else None,
        "extractor": chosen if chosen != mode else None,
    })}  # fmt: skip
    return Document(
        locator=page.locator, source=page.source, kind=page.kind, text=text, url=page.url or found.url,
        timestamp=page.timestamp, mime=page.mime, content_sha256=sha256_hex(data), swhid=swhid_content(data),
        meta=meta,
    )  # fmt: skip
