"""Reservations of rights where they stand: which files of a host hold them, and what a page says of itself.

Only read here, not judged: `licenses.reservations` says what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from urllib.parse import urlsplit

# Kind of a document that holds what a host says about all its pages.
RESERVATION = "reservation"
# RFC 9309, 2.5: a parser must take at least 500 kibibytes of robots.txt; what comes after is not read.
MAX_HOST_FILE = 500 << 10
# Path -> standard.  RFC 9309, 2.3; TDM Reservation Protocol (W3C Community Group report of 2 February 2024), section 4;
# Spawning's ai.txt (site.spawning.ai/spawning-ai-txt).
HOST_FILES = {"/robots.txt": "robots.txt", "/.well-known/tdmrep.json": "tdmrep.json", "/ai.txt": "ai.txt"}
# Directives of meta robots and X-Robots-Tag that speak of training.  noai, noimageai: DeviantArt, November 2022, read
# by datadiligence 0.1.7 (Spawning), evaluators/http.py; noarchive, nocache: Microsoft, 22 September 2023, for Bing.
DIRECTIVES = ("noai", "noimageai", "noarchive", "nocache")
ROBOTS_META, X_ROBOTS_TAG, TDM, TDM_POLICY = "robots_meta", "x_robots_tag", "tdm_reservation", "tdm_policy"
_MAX_MARK = 1000
# The HTML Standard has meta elements in the head only (4.2.5); of a page without the tags, this much is its head.
_HEAD_BYTES = 256 << 10
_HEAD_END = re.compile(rb"</head|<body[\s>]", re.I)
_META = re.compile(rb"<meta[\s/][^>]{1,2048}>", re.I)
# Each name of a directive and of an element that is looked for begins with one of these.
_SPEAKS = (b"noa", b"noimageai", b"nocache", b"tdm-")
_ATTRIBUTE = re.compile(rb"""([-\w:.]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_DIRECTIVE = re.compile(rf"\b(?:{'|'.join(DIRECTIVES)})\b", re.I)


def host_file(url: str | None) -> str | None:
    """`robots.txt`, `tdmrep.json` or `ai.txt` where the URL is the place of one, else None."""
    if not url or not url.endswith((".txt", ".json")):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return HOST_FILES.get(parts.path) if parts.scheme in ("http", "https") and not parts.query else None


def page_marks(body: bytes, headers: Mapping[str, str], metas: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a page and its HTTP headers (lower-case names) reserve, as keys of a document's `meta`.

    x_robots_tag     header lines, if one of them has a directive about training
    robots_meta      lines `name: content` of such meta elements
    tdm_reservation  the page's own value, else the header's;  tdm_policy  likewise
    metas: of the page, lower-case name -> content, where its HTML is not there.
    """
    found: dict[str, str] = {}
    header = headers.get("x-robots-tag")
    if header and _DIRECTIVE.search(header):
        found[X_ROBOTS_TAG] = header[:_MAX_MARK]
    lines = []
    for name, content in [*_metas(body), *(metas or {}).items()]:
        if name in ("tdm-reservation", "tdm-policy"):
            found.setdefault(name.replace("-", "_"), content.strip()[:_MAX_MARK])
        elif _DIRECTIVE.search(content) and re.fullmatch(r"[-\w.*]{1,64}", name):
            lines.append(f"{name}: {content.strip()}")
    if lines:
        found[ROBOTS_META] = "\n".join(lines)[:_MAX_MARK]
    for name in ("tdm-reservation", "tdm-policy"):
        if name in headers:
            found.setdefault(name.replace("-", "_"), headers[name].strip()[:_MAX_MARK])
    return found


def _speaks(data: bytes) -> bool:
    lower = data.lower()
    for word in _SPEAKS:  # no generator: this is asked of every page
        if word in lower:
            return True
    return False


def _metas(body: bytes) -> list[tuple[str, str]]:
    """(lower-case name, content) of the meta elements that could speak of training."""
    end = _HEAD_END.search(body, 0, _HEAD_BYTES)
    head = body[: end.start() if end else _HEAD_BYTES]
    if not _speaks(head):
        return []
    found = []
    for tag in _META.finditer(head):
        if not _speaks(tag[0]):
            continue
        values = {match[1].lower(): match[2] or match[3] or match[4] or b"" for match in _ATTRIBUTE.finditer(tag[0])}
        name, content = (unescape(values.get(key, b"").decode("utf-8", "replace")) for key in (b"name", b"content"))
        if name and content:
            found.append((name.strip().lower(), content))
    return found
