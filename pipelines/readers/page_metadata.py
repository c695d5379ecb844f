"""What a page declares about itself: title, date, author, licence and URL, from meta tags, links and JSON-LD.

Only declared facts, no guesses from the layout: the same for every extractor, and 20 times cheaper than the
extraction of trafilatura (which also compares dates with today's).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from pipelines.readers.records import safe_text

_TAG = re.compile(r"<(?:link|meta)\s[^>]{1,4096}>", re.I)
_ATTRIBUTE = re.compile(r"""([-\w:]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_TITLE = re.compile(r"<title[^>]{0,256}>([^<]{1,2000})</title", re.I)
_TIME = re.compile(r"<time\s[^>]{0,512}?datetime\s*=\s*[\"']?([^\"'>\s]{8,40})", re.I)
_JSON_LD = re.compile(
    r"<script[^>]{1,256}?application/ld\+json[^>]{0,256}>(.{2,100000}?)</script", re.I | re.S
)
_DATE = re.compile(r"((?:19|20)\d\d)-(\d\d)-(\d\d)(?:$|[T ])")
_CREATIVE_COMMONS = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/[\w./-]+", re.I
)
_HOST = re.compile(
    r"(?=.{1,253}$)(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{0,62}$|\d{1,3}(?:\.\d{1,3}){3}$"
)
# In order of trust: the time of first publication before others.
_DATE_KEYS = (
    "article:published_time", "og:published_time", "datepublished", "dc.date.issued", "dcterms.issued",
    "dcterms.created", "dc.date", "date", "publish-date", "pubdate", "sailthru.date", "parsely-pub-date",
)  # fmt: skip
_AUTHOR_KEYS = (
    "author",
    "article:author",
    "dc.creator",
    "dcterms.creator",
    "parsely-author",
    "sailthru.author",
)
_TITLE_KEYS = ("og:title", "twitter:title", "dc.title", "dcterms.title")
_MAX_VALUE = 500
_MAX_JSON_NODES = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class PageMetadata:
    """None where the page does not say."""

    title: str | None = None
    date: str | None = None  # YYYY-MM-DD
    author: str | None = None
    license: str | None = None  # URL of a Creative Commons licence
    url: str | None = None


def plausible_url(url: str | None) -> str | None:
    """An absolute http(s) URL with a host that could exist, else None."""
    url = (url or "").strip()
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or "@" in parts.netloc or not _HOST.match(host):
        return None
    return safe_text(url)[0] if len(url) <= 2048 and not re.search(r"[\s<>\"\x00-\x1f]", url) else None


def page_metadata(html: str) -> PageMetadata:
    declared: dict[str, str] = {}
    for tag in _TAG.finditer(html):
        values = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(tag[0])}
        if values.get("rel", "").lower() == "canonical":
            declared.setdefault("canonical", unescape(values.get("href", "")))
        key = values.get("property") or values.get("name") or values.get("itemprop") or ""
        if key and values.get("content"):
            declared.setdefault(key.lower(), unescape(values["content"]))
    for key, value in _json_ld(html):
        declared.setdefault(key, value)
    if title := _TITLE.search(html):
        declared.setdefault("title", unescape(title[1]))
    if time := _TIME.search(html):
        declared.setdefault("date", time[1])
    return PageMetadata(
        title=_first(declared, (*_TITLE_KEYS, "title")),
        date=next((day for key in _DATE_KEYS if (day := _day(declared.get(key)))), None),
        author=_author(_first(declared, _AUTHOR_KEYS)),
        license=_license(html),
        url=plausible_url(declared.get("canonical")) or plausible_url(declared.get("og:url")),
    )


def _first(declared: dict[str, str], keys: tuple[str, ...]) -> str | None:
    return next(
        (value for key in keys if (value := " ".join(declared.get(key, "").split())[:_MAX_VALUE])), None
    )


def _author(value: str | None) -> str | None:
    """A URL of a profile is no name."""
    return None if value is None or value.startswith(("http://", "https://")) else value


def _day(value: str | None) -> str | None:
    match = _DATE.match(value.strip()) if value else None
    valid = match and 1 <= int(match[2]) <= 12 and 1 <= int(match[3]) <= 31
    return f"{match[1]}-{match[2]}-{match[3]}" if match and valid else None


def _json_ld(html: str) -> Iterator[tuple[str, str]]:
    """datePublished and author names of the first nodes that have them."""
    for block in _JSON_LD.finditer(html):
        try:
            pending: list[Any] = [json.loads(block[1])]
        except (ValueError, RecursionError):  # a page's own script: not an item that could be lost
            continue
        for _ in range(_MAX_JSON_NODES):
            if not pending:
                break
            node = pending.pop(0)
            if isinstance(node, list):
                pending.extend(node)
            elif isinstance(node, dict):
                if isinstance(node.get("datePublished"), str):
                    yield "datepublished", node["datePublished"]
                author = node.get("author")
                names = (
                    [a.get("name") if isinstance(a, dict) else a for a in author]
                    if (isinstance(author, list))
                    else [author.get("name") if isinstance(author, dict) else author]
                )
                known = [name for name in names if isinstance(name, str)]
                if known:
                    yield "author", ", ".join(known)
                pending.extend(node["@graph"] if isinstance(node.get("@graph"), list) else [])


def _license(html: str) -> str | None:
    """The Creative Commons licence that the page links to, if it links to one only."""
    found = {match[0].rstrip("/.").lower() for match in _CREATIVE_COMMONS.finditer(html)}
    roots = {
        re.sub(
            r"/(?:deed[.\w-]*|legalcode[.\w-]*|rdf)$", "", re.sub(r"^https?://(?:www\.)?", "https://", url)
        )
        for url in found
    }
    roots = {
        root
        for root in roots
        if re.search(r"/(?:licenses/[a-z-]+|publicdomain/\w+)(?:/[\d.]+)?(?:/\w+)?$", root)
    }
    return roots.pop() + "/" if len(roots) == 1 else None
