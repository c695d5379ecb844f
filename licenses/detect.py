"""Licence of a text: SPDX header, full texts, notices; `detect_text` and what `license@1` and the archive
reader use."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from licenses.classes import license_class
from licenses.expressions import join, parse_expression
from licenses.notices import find_notices
from licenses.texts import TextMatch, index
from licenses.tokens import Words, words

# Any of these, case-folded, is in every text that the detectors could find something in.
MARKS = (
    "licen",
    "redistribut",
    "permission",
    "public domain",
    "publicdomain",
    "gpl",
    "copyleft",
    "confidential",
    "proprietary",
    "creativecommons",
    "warrant",
    "unlimited use",
    "you may use",
    "may be used",
    "lizenz",
    "same terms as perl",
    "copyright notice",
    "legal notice",
    "freely",
    "unrestricted",
    "is permitted",
    "way you want",
    "ever you want",
)
# In code, a licence deeper in the file is more often data (a table of licence texts, a generator) than a
# notice about the file; whole texts of files that are named like licence files are read up to
# MAX_LICENSE_FILE.
HEAD_CHARS = 16_000
TAIL_CHARS = 6_000
MAX_LICENSE_FILE = 400_000
# A file with more different identifiers is a list of licences; the first ones stand for it.
MAX_IDENTIFIERS = 100
MAX_QUOTED = 3  # different headers that a licence's text quotes at most
LONG_TEXT = 3_000  # characters; the licences that quote their own header are longer
_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]{1,300})", re.IGNORECASE)
_HEADER_END = re.compile(r"\s*(?:\*+/|-->|--%?>|[#%]}|\"\"\"|'''|\*\)|-}|\\n|[\"'`<*#;,|]).*$")


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """One find: the SPDX expression, code points [start, end) that show it, 0..1, and spdx_header | file_text
    | file_notice."""

    expression: str
    start: int
    end: int
    confidence: float
    source: str


def has_mark(text: str) -> bool:
    """Whether anything in the text could be found by `detect_text`; some microseconds per 10 kB."""
    lowered = text.lower()
    return any(mark in lowered for mark in MARKS)


def spdx_headers(text: str) -> list[Match]:
    """`SPDX-License-Identifier:` lines whose expression parses, each expression once; template lines and prose about
    the header do not."""
    found: list[Match] = []
    if "spdx-" not in text.lower():
        return found
    seen: set[str] = set()
    for match in _HEADER.finditer(text):
        value = _HEADER_END.sub("", match.group(1)).strip()
        expression = parse_expression(value)
        if expression is not None and expression not in seen:
            seen.add(expression)
            if len(seen) > MAX_IDENTIFIERS:
                break
            end = match.start(1) + match.group(1).find(value) + len(value)
            found.append(Match(expression, match.start(), end, 1.0, "spdx_header"))
    return found


def detect_text(text: str, *, headers: bool = True) -> list[Match]:
    """Licences that a text is, holds or names, in order of place.

    1. `SPDX-License-Identifier` headers (unless headers=False): if there is one, nothing else is looked for.  One
       inside a licence's text is that text's example and no header.
    2. Licence texts of the SPDX list, by shingles of words; an exception's text joins the GNU licence beside
    it. 3. Notices outside those texts.  "version 2 of the License, or (at your option) any later version"
    gives -or-later,
       no such words -only, no version at all "any version" (GPL-1.0-or-later).  A bare text of a GNU licence
       gives -only, the least that it grants; a notice of the same version beside it decides.
    The whole text is read, in linear time; callers bound it.
    """
    if headers:
        marked = spdx_headers(text)
        if 0 < len(marked) <= MAX_QUOTED and len(text) > LONG_TEXT:
            found = [each for each in _texts_and_notices(text, 0) if each.source == "file_text"]
            own = [mark for mark in marked if not any(each.start < mark.start < each.end for each in found)]
            marked = own or ([] if found else marked)
        if marked:
            return marked
    return _texts_and_notices(text, 0)


def _texts_and_notices(text: str, base: int) -> list[Match]:
    found_words = words(text, base)
    if not found_words.words:
        return []
    texts = _whole_texts(index().find(found_words))
    skip = np.zeros(len(found_words.words), dtype=bool)
    for match in texts:
        skip[match.first : match.last] = True
    places: list[tuple[int, int, str, float, str]] = []
    exceptions = [match for match in texts if match.kind == "exception"]
    for match in texts:
        if match.kind != "exception":
            expression = parse_expression(match.identifier) or match.identifier
            places.append((match.first, match.last, expression, round(match.score, 4), "file_text"))
    for notice in find_notices(found_words, skip):
        if notice.confidence <= 0.5 and places:
            continue  # "unlike the GPL" in the history around a licence's text
        places.append((notice.first, notice.last, notice.expression, notice.confidence, "file_notice"))
    places.sort()
    places = _join_exceptions(places, exceptions, found_words)
    places = _join_gnu(places)
    places = _join_choices(places, found_words.words)
    return [
        Match(expression, int(found_words.starts[first]), int(found_words.ends[last - 1]), confidence, source)
        for first, last, expression, confidence, source in places
    ]


def _whole_texts(found: list[TextMatch]) -> list[TextMatch]:
    """Drops the GPL text that the LGPL 3.0 and AGPL carry along when both pieces were found one after
    another."""
    ids = {match.identifier for match in found}
    if "LGPL-3.0-only" in ids and "GPL-3.0-only" in ids:
        found = [match for match in found if match.identifier != "GPL-3.0-only"]
    return found


_Place = tuple[int, int, str, float, str]
_GNU = re.compile(r"^([LA]?GPL|GFDL)-(\d\.\d)-(only|or-later)$")
MAX_EXCEPTION_WORDS = 200  # an exception stands in the same comment as the notice it changes


def _join_exceptions(places: list[_Place], exceptions: list[TextMatch], found: Words) -> list[_Place]:
    """Each exception WITH the nearest licence beside it, else with the GNU notice that its text holds."""
    for exception in exceptions:
        near = None
        for at, place in enumerate(places):
            distance = max(exception.first - place[1], place[0] - exception.last)
            close = distance <= MAX_EXCEPTION_WORDS and (near is None or distance < near[0])
            if close and " " not in place[2] and _excepts(exception.identifier, place[2]):
                near = (distance, at)
        if near is None:
            held = _notices_of(found, exception)
            if not held:
                continue
            near = (0, len(places))
            places.append(held[0])
        first, last, expression, confidence, source = places[near[1]]
        joined = parse_expression(f"{expression} WITH {exception.identifier}")
        if joined is None:
            continue
        first, last = min(first, exception.first), max(last, exception.last)
        places[near[1]] = (first, last, joined, min(confidence, round(exception.score, 4)), source)
    return sorted(places)


# Exceptions to licences that ask for little already.
_OF_PERMISSIVE = ("LLVM-exception", "Swift-exception", "SHL-2.0", "SHL-2.1", "fmt-exception", "Google-Patent-WebM")


def _excepts(exception: str, expression: str) -> bool:
    """Whether an exception can be one to this licence: a file may hold the texts of several."""
    return exception in _OF_PERMISSIVE or license_class(expression).startswith("copyleft")


def _notices_of(found: Words, exception: TextMatch) -> list[_Place]:
    """The notices with a version inside an exception's text: some are published as the notice that they go with."""
    first, last = exception.first, exception.last
    part = Words(found.words[first:last], found.starts[first:last], found.ends[first:last])
    return [
        (first + each.first, first + each.last, each.expression, each.confidence, "file_notice")
        for each in find_notices(part)
        if each.confidence > 0.5 and " " not in each.expression
    ]


def _join_gnu(places: list[_Place]) -> list[_Place]:
    """A notice of the same GNU licence and version decides between -only and -or-later for the text beside
    it."""
    notices: dict[tuple[str, ...], str] = {}
    for place in places:
        gnu = _GNU.match(place[2].split(" WITH ")[0])
        if gnu and place[4] == "file_notice":
            notices.setdefault(gnu.group(1, 2), place[2])
    out: list[_Place] = []
    texts: set[str] = set()
    for first, last, expression, confidence, source in places:
        gnu = _GNU.match(expression)
        if gnu and source == "file_text" and gnu.group(1, 2) in notices:
            expression = notices[gnu.group(1, 2)]
            texts.add(expression)
        out.append((first, last, expression, confidence, source))
    return [place for place in out if place[4] == "file_text" or place[2] not in texts]


def _join_choices(places: list[_Place], tokens: list[str]) -> list[_Place]:
    """`Alternatively, ...` or `or` alone between two neighbours makes them a choice."""
    out: list[_Place] = []
    for place in places:
        if out:
            first, last, expression, confidence, source = out[-1]
            between = tokens[last : place[0]]
            if len(between) <= 120 and "alternatively" in between[-20:] and expression != place[2]:
                joined = parse_expression(f"({expression}) OR ({place[2]})")
                if joined is not None:
                    out[-1] = (first, place[1], joined, min(confidence, place[3]), source)
                    continue
        out.append(place)
    return out


def combine(matches: list[Match]) -> Match | None:
    """One expression for all matches of a file: each stands for some part of it, so they are joined with
    AND."""
    if not matches:
        return None
    distinct = list(dict.fromkeys(match.expression for match in matches))
    expression = join("AND", distinct) or distinct[0]
    sources = [match.source for match in matches]
    best = min(sources, key=("spdx_header", "file_text", "file_notice").index)
    return Match(
        expression,
        matches[0].start,
        max(match.end for match in matches),
        min(match.confidence for match in matches),
        best,
    )


def detect_code(text: str, *, whole: bool = False) -> Match | None:
    """The licence that a code file states about itself: in its first HEAD_CHARS, else its last TAIL_CHARS
    characters.

    whole=True reads up to MAX_LICENSE_FILE characters (licence files, package metadata).
    """
    if whole:
        return combine(detect_text(text[:MAX_LICENSE_FILE]))
    found = combine(_windows(text[:HEAD_CHARS], 0))
    if found is None and len(text) > HEAD_CHARS:
        base = max(HEAD_CHARS, len(text) - TAIL_CHARS)
        found = combine(_windows(text[base:], base))
    return found


def _mark_places(text: str) -> list[int]:
    """Places of all marks, ascending."""
    lowered = text.replace("\u0130", "i").lower()  # the one character that grows when it is lowered
    places = []
    for mark in MARKS:
        at = lowered.find(mark)
        while at >= 0:
            places.append(at)
            at = lowered.find(mark, at + len(mark))
    return sorted(places)


BEFORE_MARK, AFTER_MARK = (
    1_200,
    2_500,
)  # characters; inside a licence text marks are closer together than this


def _windows(text: str, base: int) -> list[Match]:
    """`detect_text` on the parts of `text` around marks only; ordinary code is never split into words."""
    marks = _mark_places(text)
    if not marks:
        return []
    headers = spdx_headers(text)
    if headers:
        return [dataclasses.replace(m, start=m.start + base, end=m.end + base) for m in headers]
    found: list[Match] = []
    low = high = -1
    for mark in marks:
        if high < 0:
            low = max(0, mark - BEFORE_MARK)
        elif mark - BEFORE_MARK > high:
            found += _texts_and_notices(text[low:high], base + low)
            low = mark - BEFORE_MARK
        high = mark + AFTER_MARK
    if high >= 0:
        found += _texts_and_notices(text[low:high], base + low)
    return found
