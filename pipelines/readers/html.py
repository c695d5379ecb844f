"""Web pages: bytes to main text and the page's own metadata.

`extract` is the only place that knows the extraction libraries, trafilatura and resiliparse (both Apache-2.0):

careful   trafilatura, in favour of precision
fast      resiliparse, and the rules of html_blocks over what it leaves
auto      fast, and careful for the pages of which the rules are unsure

All run without network, threads or clock; docs/extraction.md compares them.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
from typing import Any, Literal, get_args

import numpy as np

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.html_blocks import Evidence, MainText, all_text, main_text
from pipelines.readers.limits import Limits
from pipelines.readers.page_metadata import page_metadata
from pipelines.readers.records import Document, Refused, Skipped, safe_meta, safe_text

Mode = Literal["careful", "fast", "auto"]
MODES: tuple[Mode, ...] = get_args(Mode)
PAGE_SUFFIXES = (".html", ".htm", ".xhtml")

# The library logs each page without main text; here that is a counted result.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
logging.getLogger("htmldate").setLevel(logging.CRITICAL)

_TAG = re.compile(rb"<(/?[a-z][^\s/>]{0,32})")
# resiliparse 2.0.1 is quadratic in the options of a select element: 0.4 s for 10,000, 8.7 s for 45,000 (measured).
_MAX_OPTIONS = 10_000
_LONG_TAG_BYTES = 20_000
_TO_BRACKET = re.compile(rb"[^<>]+")
# Elements that never nest through a missing end tag (HTML Standard, 13.1.2 void elements and 13.1.2.4
# optional tags).
_FLAT = frozenset(
    slash + name
    for name in (
        b"area base br col embed hr img input link meta source track wbr param frame "
        b"p li td th tr option optgroup dd dt thead tbody tfoot colgroup body html head rp rt".split()
    )
    for slash in (b"", b"/")
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
    language: str | None = None
    mode: Mode = "careful"  # the extractor whose text it is: careful or fast


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """Counts that bound the time of an extractor; one pass over the bytes."""

    tags: int
    depth: int  # upper bound: an element without end tag counts as open for the rest of the page, and an end tag
    # closes one element, if one of its name is open
    attributes: int  # white space runs in the longest tag
    options: int


def shape(data: bytes) -> Shape:
    names = _TAG.findall(data.lower())
    depth = deepest = 0
    opened: dict[bytes, int] = {}
    for name in names:
        if name in _FLAT:
            continue
        if name[0] != ord("/"):
            opened[name] = opened.get(name, 0) + 1
            depth += 1
            if depth > deepest:
                deepest = depth
        elif opened.get(name := name[1:]):
            opened[name] -= 1
            depth -= 1
    options = names.count(b"option") + names.count(b"/option")
    return Shape(len(names), deepest, _brackets(data).attributes, options)


@dataclasses.dataclass(frozen=True, slots=True)
class _Brackets:
    tags: int  # each `<`
    ends: int  # of them those before `/`
    attributes: int  # as of Shape


def _brackets(data: bytes) -> _Brackets:
    content = np.frombuffer(data, np.uint8)
    opens = content == ord("<")
    ends = np.count_nonzero(opens[:-1] & (content[1:] == ord("/")))
    # A long tag covers one of the blocks of half its length.
    block = _LONG_TAG_BYTES // 2
    filled = opens[: len(opens) // block * block].reshape(-1, block).any(axis=1)
    # Blocks with a bracket before one without.
    last = [int(at) * block for at in np.flatnonzero(filled[:-1] & ~filled[1:])]
    attributes = max((_attributes(data, data.rfind(b"<", at, at + block)) for at in last), default=0)
    return _Brackets(int(np.count_nonzero(opens)), int(ends), attributes)


def _attributes(data: bytes, at: int) -> int:
    """White space runs of what stands behind the bracket at `at`, if it is a long tag."""
    tag = _TO_BRACKET.match(data, at + 1)
    if tag is None or len(tag[0]) < _LONG_TAG_BYTES or not tag[0][:1].isalpha():
        return 0
    return len(re.findall(rb"\s[^\s=\"']", tag[0]))


def check_shape(data: bytes, limits: Limits) -> Shape:
    """The counts of a page, or upper bounds of them where those are under all limits; raises Refused('too_large') where
    the page would take an extractor too long."""
    if len(data) > limits.max_html_bytes:
        raise Refused("too_large", f"a page of {len(data)} bytes, more than {limits.max_html_bytes}")
    # Nearly every page is under the limits by the number of its brackets, which is quickly counted.
    quick = _brackets(data)
    opened = quick.tags - quick.ends  # start tags at most
    if quick.tags <= limits.careful_html_tags and opened <= min(limits.max_html_depth, _MAX_OPTIONS):
        found = Shape(quick.tags, opened, quick.attributes, opened)
    else:
        found = shape(data)
    for name, value, limit in (
        ("tags", found.tags, limits.max_html_tags),
        ("open elements", found.depth, limits.max_html_depth),
        ("attributes in one tag", found.attributes, limits.max_tag_attributes),
        ("options to select", found.options, _MAX_OPTIONS),
    ):
        if value > limit:
            raise Refused("too_large", f"a page with {value} {name}, more than {limit}")
    return found


def choose_mode(data: bytes, mode: Mode, limits: Limits) -> Mode:
    """The extractor that may have this page; raises Refused('too_large')."""
    found = check_shape(data, limits)
    if len(data) > limits.careful_html_bytes or found.tags > limits.careful_html_tags:
        return "fast"
    return mode


# Chosen on one half of the annotated pages (docs/extraction.md).  `auto` asks the careful extractor where a smaller
# share was kept of what the page did not mark as menu and the like ...
_UNSURE_SHARE = 0.6
# ... and `fast` gives up its rules, and keeps all of that, below this share or so many characters.
_LOST_KEPT = 250
_LOST_SHARE = 0.3


def extract(html: bytes | str, url: str | None = None, mode: Mode = "careful") -> Extraction:
    """Main text and metadata of a page; an empty text means that there is none.  Raises what the library
    raises."""
    page = html if isinstance(html, str) else decode(html, declared_in_html(html), strip_nul=True)[0]
    text, used = main_text_of(page, mode)
    known = page_metadata(page)
    return Extraction(
        text=text.strip(), title=known.title, date=known.date, author=known.author, license=known.license,
        url=url or known.url, language=known.language, mode=used,
    )  # fmt: skip


def main_text_of(html: str, mode: Mode = "careful") -> tuple[str, Mode]:
    """The main text, and the extractor whose it is: careful or fast."""
    if mode != "careful":
        found = _main_text_fast(html)
        if mode == "fast" or not unsure(found.evidence):
            return found.whole() if lost(found.evidence) else found.text(), "fast"
    return _main_text_careful(html), "careful"


def unsure(evidence: Evidence) -> bool:
    """Whether `auto` asks the careful extractor."""
    return evidence.share < _UNSURE_SHARE


def lost(evidence: Evidence) -> bool:
    """Whether the rules of the fast extractor found too little to be followed."""
    return evidence.kept < _LOST_KEPT or evidence.share < _LOST_SHARE


def html_text(html: str) -> str:
    """All text of a fragment of HTML, nothing left out but scripts and the like: for content whose container says
    that it is the main text.  Linear in the fragment within the limits of `check_shape`."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    return all_text(
        extract_plain_text(
            HTMLTree.parse(html), main_content=False, alt_texts=False, preserve_formatting="minimal_html", links=True
        )
    )


def _main_text_careful(html: str) -> str:
    from trafilatura import bare_extraction

    found: Any = bare_extraction(
        html, favor_precision=True, include_comments=False, deduplicate=False, with_metadata=False
    )
    return found.text or "" if found is not None else ""


def _main_text_fast(html: str) -> MainText:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    reduced = extract_plain_text(
        HTMLTree.parse(html), main_content=True, alt_texts=False, comments=False,
        preserve_formatting="minimal_html", links=True,
    )  # fmt: skip
    return main_text(reduced)


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
    if not data or data.isspace():
        raise Skipped("empty")
    chosen = choose_mode(data, mode, limits)
    declared = [page.charset] if page.charset else []
    html, encoding = decode(data, itertools.chain(declared, declared_in_html(data)), strip_nul=True)
    if b"\0" in data:  # UTF-16 may hold U+0000; no other text does
        html = html.replace("\0", "\ufffd")
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
        "language": found.language, "encoding": encoding if encoding != "utf-8" else None,
        "extractor": found.mode if found.mode != mode else None,
    })}  # fmt: skip
    return Document(
        locator=page.locator, source=page.source, kind=page.kind, text=text, url=page.url or found.url,
        timestamp=page.timestamp, mime=page.mime, content_sha256=sha256_hex(data), swhid=swhid_content(data),
        meta=meta,
    )  # fmt: skip
