"""Licence marks of web pages: rel=license, ccREL (RDFa, Dublin Core), schema.org, and links to Creative Commons.

    for mark in license_marks(html): mark.expression, html[mark.start:mark.end], mark.confidence, mark.source
    page_license(html)                  one answer for the page, or None

Only what the page declares; nothing is fetched, no entity of an XML declaration is expanded (the page is read as
text), and every search is bounded, so the time is linear in the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from licenses.detect import Match
from licenses.expressions import join
from licenses.names import normalise
from licenses.urls import url_expression

# How sure each mark is about the page as a whole.  HTML's rel=license is by definition about the page's main content;
# a link alone may stand below somebody else's picture.
CONFIDENCE = {
    "rel_license": 0.95,
    "cc_rel": 0.95,
    "json_ld": 0.9,
    "meta": 0.85,
    "cc_link": 0.5,
}
SOURCES: tuple[str, ...] = tuple(CONFIDENCE)
"""Kinds of marks, the surest first."""
MAX_MARKS = 200  # of one page
MAX_JSON_NODES = 2_000
MAX_TAG = 4_096  # characters
_TAG = re.compile(
    rf"<(a|link|meta|span|div|p|img|area|form|section|article|footer|body|html|dd|li|td|small)\s([^<>]{{1,{MAX_TAG}}})>",
    re.I,
)
_ATTRIBUTE = re.compile(r"""([-\w:]{1,40})\s{0,4}=\s{0,4}(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_JSON_LD = re.compile(r"<script\b[^<>]{0,256}?application/ld\+json[^<>]{0,256}>", re.IGNORECASE)
_SCRIPT_END = re.compile(r"</script", re.IGNORECASE)
MAX_JSON = 100_000  # characters of one block
_QUICK = re.compile(r"licen[sc]e|creativecommons\.org|rights", re.IGNORECASE)
# <meta name=...> and property=... that hold a licence or a statement of rights.
_META = frozenset(
    ("dc.rights", "dcterms.rights", "dc.rights.license", "dcterms.license", "dc.license", "dc:rights", "dct:license",
     "dc:license", "dcterms:license", "dcterms:rights", "license", "rights", "copyright", "rights-standard",
     "citation_license", "eprints.license", "og:license")
)  # fmt: skip
# RDFa: the property or relation, with the prefixes that ccREL and its older forms used.
_RDFA = frozenset(
    ("cc:license", "dct:license", "dcterms:license", "dc:license", "xhv:license", "http://creativecommons.org/ns#license",
     "http://purl.org/dc/terms/license", "http://www.w3.org/1999/xhtml/vocab#license", "dc:rights", "dct:rights")
)  # fmt: skip
# An RDF block in a comment, as Creative Commons gave it out until 2008.
_RDF_BLOCK = re.compile(
    r"<(?:cc:)?license\s{1,4}(?:rdf:)?(?:resource|about)\s{0,4}=\s{0,4}[\"']([^\"'<>]{8,300})[\"']", re.I
)
_LINK_TAGS = frozenset(("a", "area"))


def license_marks(html: str) -> list[Match]:
    """Every mark of a page in order of place: expression, code points of the value that says it, confidence and source
    (one of SOURCES).  At most MAX_MARKS."""
    if _QUICK.search(html) is None:
        return []
    found: dict[tuple[int, int], Match] = {}
    for mark in _marks(html):
        key = (mark.start, mark.end)
        if key not in found or mark.confidence > found[key].confidence:
            found[key] = mark
        if len(found) >= MAX_MARKS:
            break
    return sorted(found.values(), key=lambda each: (each.start, each.end))


def page_license(html: str) -> Match | None:
    """The licence of the page: what its surest kind of mark says, None if it has no mark.

    Marks of one kind that disagree (parts of the page under different licences) hold together, AND, at half the
    confidence.  The span is that of the first mark of the kind.
    """
    marks = license_marks(html)
    for source in SOURCES:
        mine = [each for each in marks if each.source == source]
        if not mine:
            continue
        distinct = list(dict.fromkeys(each.expression for each in mine))
        expression = join("AND", distinct)
        if expression is None:
            continue
        sure = CONFIDENCE[source] / (1 if len(distinct) == 1 else 2)
        return Match(expression, mine[0].start, mine[0].end, round(sure, 4), source)
    return None


def _marks(html: str) -> Iterator[Match]:
    for tag in _TAG.finditer(html):
        body = tag.group(2)
        if _QUICK.search(body) is None:
            continue
        yield from _of_tag(tag.group(1).lower(), body, tag.start(2))
    for block in _RDF_BLOCK.finditer(html):
        expression = url_expression(unescape(block.group(1)))
        if expression:
            yield Match(expression, block.start(1), block.end(1), CONFIDENCE["cc_rel"], "cc_rel")
    script = _JSON_LD.search(html)
    while script is not None:
        end = _SCRIPT_END.search(html, script.end())
        if end is None:
            return
        data = html[script.end() : min(end.start(), script.end() + MAX_JSON)]
        if _QUICK.search(data):
            yield from _of_json(data, script.end())
        script = _JSON_LD.search(html, end.end())


def _of_tag(name: str, body: str, base: int) -> Iterator[Match]:
    values: dict[str, tuple[str, int, int]] = {}
    for attribute in _ATTRIBUTE.finditer(body):
        which = next(group for group in (2, 3, 4) if attribute.group(group) is not None)
        start, end = attribute.span(which)
        values.setdefault(attribute.group(1).lower(), (unescape(attribute.group(which)), base + start, base + end))
    target = values.get("href") or values.get("resource") or values.get("src") or values.get("content")
    if target is None:
        return
    relations = values.get("rel", ("", 0, 0))[0].lower().split()
    properties = " ".join(values.get(key, ("", 0, 0))[0] for key in ("property", "rel")).lower().split()
    # rel=license with `about` speaks of something else than the page: a picture, a file.
    elsewhere = "about" in values and values["about"][0] not in ("", "#", ".")
    if "license" in relations or "licence" in relations:
        expression = url_expression(target[0]) or _said(target[0])
        if expression:
            source = "cc_link" if elsewhere else "rel_license"
            yield Match(expression, target[1], target[2], CONFIDENCE[source], source)
            return
    if not elsewhere and any(each in _RDFA for each in properties):
        expression = url_expression(target[0]) or _said(target[0])
        if expression:
            yield Match(expression, target[1], target[2], CONFIDENCE["cc_rel"], "cc_rel")
            return
    if name == "meta" and "content" in values:
        key = (values.get("name") or values.get("property") or values.get("itemprop") or ("", 0, 0))[0].lower()
        if key in _META:
            text, start, end = values["content"]
            expression = _said(text)
            if expression:
                yield Match(expression, start, end, CONFIDENCE["meta"], "meta")
        return
    if values.get("itemprop", ("", 0, 0))[0].lower() == "license":
        expression = url_expression(target[0]) or _said(target[0])
        if expression:
            yield Match(expression, target[1], target[2], CONFIDENCE["json_ld"], "json_ld")
            return
    if name in _LINK_TAGS and "creativecommons.org" in target[0].lower():
        expression = url_expression(target[0])
        if expression:
            yield Match(expression, target[1], target[2], CONFIDENCE["cc_link"], "cc_link")


_ADDRESS = re.compile(r"https?://[^\s\"'<>()]{4,300}")


def _said(text: str) -> str | None:
    """The licence that a statement of rights names: an address in it, else the statement is a name."""
    for address in _ADDRESS.findall(text)[:8]:
        expression = url_expression(address.rstrip(".,;"))
        if expression:
            return expression
    if len(text) > 200:
        return None
    expression = normalise(text)
    # "All rights reserved" below a page is a habit, and says no more than the absence of a licence.
    return None if expression == "LicenseRef-scancode-proprietary-license" else expression


def _of_json(block: str, base: int) -> Iterator[Match]:
    """schema.org's `license` of the page's own entities: a URL, a name, or a CreativeWork with one of them."""
    try:
        pending: list[Any] = [json.loads(block)]
    except (ValueError, RecursionError):
        return
    searched = 0
    for _ in range(MAX_JSON_NODES):
        if not pending:
            return
        node = pending.pop(0)
        if isinstance(node, list):
            pending.extend(node[:MAX_JSON_NODES])
            continue
        if not isinstance(node, dict):
            continue
        if "ImageObject" not in str(node.get("@type", "")):
            stated = node.get("license")
            for value in stated if isinstance(stated, list) else [stated]:
                if isinstance(value, dict):
                    value = value.get("@id") or value.get("url") or value.get("name")
                expression = (url_expression(value) or _said(value)) if isinstance(value, str) else None
                if expression and isinstance(value, str):
                    at, end = _place(block, value, searched)
                    searched = end
                    yield Match(expression, base + at, base + end, CONFIDENCE["json_ld"], "json_ld")
        for key in ("@graph", "mainEntity", "mainEntityOfPage"):
            if isinstance(node.get(key), list | dict):
                pending.append(node[key])


def _place(block: str, value: str, searched: int) -> tuple[int, int]:
    """Where a block of JSON writes the value, slashes escaped or not; else its first key `license`."""
    for written in (value, value.replace("/", "\\/"), json.dumps(value)[1:-1]):
        at = block.find(written, searched)
        if at >= 0:
            return at, at + len(written)
    at = max(0, block.find("license"))
    return at, at + len("license")
