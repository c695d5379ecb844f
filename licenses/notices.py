"""Licence notices: the sentences that say under which licence a file is, without the licence's text.

They are matched on the words of `licenses.tokens` joined by single spaces, so comment marks and line breaks
do not matter.  Every pattern is a bounded number of words, so the search is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from licenses.tokens import Words


class Notice(NamedTuple):
    """words [first, last) that name the licence, the SPDX expression, and how sure (0..1)."""

    first: int
    last: int
    expression: str
    confidence: float


# A name counts as a notice only after one of these, at most LEAD_WORDS words before it.
_LEAD = re.compile(
    r"\b(?:under|governed by|subject to|covered by|licensed?|licenses this|released|distributed|"
    r"redistribut\w+|available|"
    r"terms of|conditions of|published|provided|dual|dedicated|placed|copyright|c (?:19|20)\d\d|"
    r"v\d+(?:\.\d+)+)\b"
)
LEAD_WORDS = 14
_MENTION = re.compile(r"^ (?:in)?compatible|^ style\b|^ like\b")
_NEGATED = re.compile(
    r"\b(?:not|isn t|neither|unlike|replaces?|instead of|previously|formerly|was|were)(?: \S+){0,3} $"
)

# (pattern on joined words, expression).  One table: names of licences as notices write them.
_NAMED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"\b(?:{pattern})(?![\w.])"), expression)
    for pattern, expression in (
        (
            r"apache (?:software )?licenses? (?:version )?v?(?:2|2\.0)|apache 2(?:\.0)? license|apache "
            r"license apache 2\.0|"
            r"apache license 2\.0|apache (?:v|version )2(?:\.0)?|apache 2\.0|www apache org licenses "
            r"license 2\.0",
            "Apache-2.0",
        ),
        (r"apache (?:software )?license (?:version )?1\.1", "Apache-1.1"),
        (
            r"mit x11 licenses?|mit expat licenses?|expat licenses?|(?:the )?mit licenses?(?: mit)?|"
            r"license(?:d|s)?(?: under)?(?: the)? mit|"
            r"opensource org licenses mit(?: license)?(?: php| html)?|mit style license found|mit",
            "MIT",
        ),
        (
            r"(?:3|three) clause bsd(?: licenses?)?|bsd 3 clause(?: licenses?)?|(?:new|modified|"
            r"revised) bsd(?: licenses?)?|bsd3|"
            r"opensource org licenses bsd 3 clause",
            "BSD-3-Clause",
        ),
        (
            r"(?:2|two) clause bsd(?: licenses?)?|bsd 2 clause(?: licenses?)?|simplified bsd(?: "
            r"licenses?)?|bsd2|"
            r"opensource org licenses bsd 2 clause",
            "BSD-2-Clause",
        ),
        (r"isc licenses?|license isc", "ISC"),
        (r"zero clause bsd(?: license)?|0bsd", "0BSD"),
        (
            r"mozilla public license (?:mpl )?(?:version |v )?v?2(?:\.0)?|mpl (?:v|version )?2(?:\.0)?|"
            r"mplv?2(?:\.0)?|"
            r"mozilla org mpl 2\.0",
            "MPL-2.0",
        ),
        (r"mozilla public license (?:version |v )?v?1\.1|mpl 1\.1", "MPL-1.1"),
        (r"mozilla public license (?:version |v )?v?1\.0", "MPL-1.0"),
        (r"netscape public license (?:version )?1\.1", "NPL-1.1"),
        (r"eclipse public license (?:\S+ )?(?:version |v )?v?2(?:\.0)?|epl (?:v|version )?2\.0", "EPL-2.0"),
        (r"eclipse public license (?:\S+ )?(?:version |v )?v?1\.0|epl (?:v|version )?1\.0", "EPL-1.0"),
        (r"eclipse distribution license (?:version |v )?v?1\.0", "BSD-3-Clause"),
        (r"common development and distribution license (?:\S+ )?(?:version )?v?1\.1", "CDDL-1.1"),
        (r"common development and distribution license (?:\S+ )?(?:version )?v?1\.0", "CDDL-1.0"),
        (r"common public license (?:version )?v?1\.0", "CPL-1.0"),
        (r"boost software license (?:version )?v?1\.0|bsl 1\.0", "BSL-1.0"),
        (r"academic free license (?:version )?v?3\.0", "AFL-3.0"),
        (r"academic free license (?:version )?v?2\.1", "AFL-2.1"),
        (r"open software license (?:osl )?(?:version )?v?3\.0", "OSL-3.0"),
        (r"artistic license (?:version )?v?2(?:\.0)?", "Artistic-2.0"),
        (
            r"same terms as perl itself|same terms as the perl 5 programming language system itself",
            "Artistic-1.0-Perl OR GPL-1.0-or-later",
        ),
        (r"european union public licen\w+ (?:\S+ )?(?:version |v )?v?1\.2|eupl (?:v )?1\.2", "EUPL-1.2"),
        (r"european union public licen\w+ (?:\S+ )?(?:version |v )?v?1\.1|eupl (?:v )?1\.1", "EUPL-1.1"),
        (r"sil open font license (?:version )?1\.1", "OFL-1.1"),
        (r"zlib libpng license|zlib license", "Zlib"),
        (r"universal permissive license (?:\S+ )?v? ?1\.0", "UPL-1.0"),
        (r"microsoft public license|ms pl", "MS-PL"),
        (r"microsoft reciprocal license", "MS-RL"),
        (r"zope public license (?:zpl )?(?:version )?2\.1", "ZPL-2.1"),
        (r"zope public license (?:zpl )?(?:version )?2\.0", "ZPL-2.0"),
        (r"(?:python software foundation|psf) license(?: agreement)?(?: version 2)?", "PSF-2.0"),
        (r"university of illinois (?:ncsa )?open source license|illinois ncsa open source license", "NCSA"),
        (r"do what the fuck you want to public license|wtfpl", "WTFPL"),
        (r"unlicense|unlicense org", "Unlicense"),
        (
            r"cc0(?: 1\.0)?(?: universal)?|creative commons zero(?: v?1\.0)?(?: universal)?|"
            r"publicdomain zero 1\.0",
            "CC0-1.0",
        ),
        (r"q public license", "QPL-1.0"),
        (r"postgresql license", "PostgreSQL"),
        (r"blue oak model license(?: version)? 1\.0\.0", "BlueOak-1.0.0"),
        (r"business source license(?: version)? 1\.1", "BUSL-1.1"),
        (r"server side public license(?: version 1)?", "SSPL-1.0"),
        (r"elastic license (?:version )?2\.0", "Elastic-2.0"),
        (r"w3c software (?:notice and )?license", "W3C"),
        (r"cecill c(?: license)?", "CECILL-C"),
        (r"cecill b(?: license)?", "CECILL-B"),
        (r"ruby s license", "Ruby"),
        (r"openssl license", "OpenSSL"),
        (r"llvm exceptions?", "WITH LLVM-exception"),
    )
)

# One of these is in every text that the patterns of an expression match: the search for a word is a hundred
# times faster than a pattern, and most texts name one licence.
_NEEDS: dict[str, tuple[str, ...]] = {
    "Apache-2.0": ("apache",),
    "Apache-1.1": ("apache",),
    "MIT": ("mit", "expat"),
    "BSD-3-Clause": ("bsd", "eclipse distribution"),
    "BSD-2-Clause": ("bsd",),
    "ISC": ("isc",),
    "0BSD": ("bsd",),
    "MPL-2.0": ("mozilla", "mpl"),
    "MPL-1.1": ("mozilla", "mpl"),
    "MPL-1.0": ("mozilla",),
    "NPL-1.1": ("netscape",),
    "EPL-2.0": ("eclipse", "epl"),
    "EPL-1.0": ("eclipse", "epl"),
    "CDDL-1.1": ("common development",),
    "CDDL-1.0": ("common development",),
    "CPL-1.0": ("common public",),
    "BSL-1.0": ("boost", "bsl"),
    "AFL-3.0": ("academic free",),
    "AFL-2.1": ("academic free",),
    "OSL-3.0": ("open software",),
    "Artistic-2.0": ("artistic",),
    "Artistic-1.0-Perl OR GPL-1.0-or-later": ("same terms as",),
    "EUPL-1.2": ("european union", "eupl"),
    "EUPL-1.1": ("european union", "eupl"),
    "OFL-1.1": ("open font",),
    "Zlib": ("zlib",),
    "UPL-1.0": ("universal permissive",),
    "MS-PL": ("microsoft", "ms pl"),
    "MS-RL": ("microsoft",),
    "ZPL-2.1": ("zope",),
    "ZPL-2.0": ("zope",),
    "PSF-2.0": ("python software", "psf"),
    "NCSA": ("illinois",),
    "WTFPL": ("wtfpl", "the fuck"),
    "Unlicense": ("unlicense",),
    "CC0-1.0": ("cc0", "commons zero", "publicdomain"),
    "QPL-1.0": ("q public",),
    "PostgreSQL": ("postgresql",),
    "BlueOak-1.0.0": ("blue oak",),
    "BUSL-1.1": ("business source",),
    "SSPL-1.0": ("server side public",),
    "Elastic-2.0": ("elastic",),
    "W3C": ("w3c",),
    "CECILL-C": ("cecill",),
    "CECILL-B": ("cecill",),
    "Ruby": ("ruby s",),
    "OpenSSL": ("openssl",),
    "WITH LLVM-exception": ("llvm",),
}

_GPL = re.compile(
    r"\b(?:gnu )?(?:(?P<kind>lesser|library|affero) )?(?:gnu )?(?:gpl )?general public licenses?\b"
    r"|\b(?P<short>[al]?gpl)(?: ?v| version )? ?(?P<number>[123](?:\.[01])?)?(?P<plus>\+)?(?![\w.])"
)
_VERSION_AFTER = re.compile(
    r"^(?: \S+){0,24}? (?:version|v) ?(?P<number>[123](?:\.[01])?)(?P<plus>\+)?(?![\w.])|^(?: "
    r"a?l?gpl)? v?(?P<bare>[123](?:\.[01])?)(?P<bareplus>\+)?(?![\w.])"
)
_VERSION_BEFORE = re.compile(
    r"\bversion (?P<number>[123](?:\.[01])?) (?P<later>or (?:at your option )?(?:any )?later "
    r"(?:version )?)?of (?:the )?$"
)
_LATER = re.compile(
    r"^(?: \S+){0,8}? (?:or (?:at your (?:option|choice) )?(?:any |a )?(?:later|newer|greater|higher|"
    r"above)|and later|any later version|"
    r"or \S+ \S+ \S+ any later)\b(?: versions?)?"
)
_RECEIVED = re.compile(r"\b(?:received|copy of|see|along with)(?: \S+){0,4} $")
_FILE_NAME = re.compile(r"^ (?:txt|html|md|rst|php)\b")

_CC = re.compile(
    r"\bcreativecommons org licenses (?P<code>by(?: nc)?(?: nd| sa)?) (?P<version>[1-4]\.\d)"
    r"|\bcreative commons attribution(?P<nc> non ?commercial)?(?P<nd> no ?deriv\w*)?(?P<sa> share ?alike)?"
    r"(?: international| unported| license)? (?:license )?(?:version |v )?(?P<number>[1-4]\.\d)"
)
_PUBLIC_DOMAIN = re.compile(
    r"\b(?:released|placed|put|dedicated?d?|donated|contributed|is|are|hereby)(?: \S+){0,5}? (?:in|"
    r"into|to|as) (?:the )?public domain\b"
    r"|\bpublic domain no (?:rights|copyright|warranty)\b|^(?:\S+ ){0,12}?public domain$|\bthis "
    r"(?:code|file|program|software|work) is public domain\b"
)
_PROPRIETARY = re.compile(
    r"\bproprietary and confidential\b|\bconfidential and proprietary\b|\bunauthori[sz]ed copying of "
    r"this (?:file|software)\b"
    r"|\bthis (?:software|file|source code) is (?:the )?(?:confidential|proprietary)\b|\bunpublished "
    r"proprietary source code\b"
)


def find_notices(words: Words, skip: np.ndarray | None = None) -> list[Notice]:
    """Notices in order of place.  `skip` [words] bool marks words that belong to a licence text already
    found."""
    if not words.words:
        return []
    joined = " ".join(words.words)
    lengths = np.array([len(word) + 1 for word in words.words])
    places = np.concatenate([[0], np.cumsum(lengths)])[:-1]

    def word_at(position: int) -> int:
        return int(np.searchsorted(places, position, side="right")) - 1

    found: list[Notice] = []
    for start, end, expression, confidence in _raw(joined):
        first, last = word_at(start), word_at(max(start, end - 1)) + 1
        if skip is not None and skip[first:last].any():
            continue
        found.append(Notice(first, last, expression, confidence))
    return _settle(sorted(found, key=lambda n: (n.first, -n.last)), joined, places)


def _raw(joined: str) -> Iterator[tuple[int, int, str, float]]:
    leads = [match.end() for match in _LEAD.finditer(joined)]
    lead_ends = np.array(leads, dtype=np.int64)

    def led(position: int) -> int | None:
        """Start of the nearest lead at most LEAD_WORDS words before `position`, else None."""
        at = int(np.searchsorted(lead_ends, position + 10, side="right")) - 1
        while at >= 0 and leads[at] > position + 10:
            at -= 1
        if at < 0 or position - leads[at] > 200:
            return None
        return leads[at] if joined.count(" ", leads[at], max(leads[at], position)) <= LEAD_WORDS else None

    for pattern, expression in _NAMED:
        if not any(word in joined for word in _NEEDS[expression]):
            continue
        for match in pattern.finditer(joined):
            start, end = match.span()
            before, after = joined[max(0, start - 60) : start], joined[end : end + 20]
            if _MENTION.match(after) or _NEGATED.search(before):
                continue
            bare = match.group() in ("mit", "cc0", "unlicense", "wtfpl", "0bsd", "apache 2.0", "bsd3", "bsd2")
            if bare and not re.search(r"\b(?:licensed?|under|under the|license is|licenses|or|and|dual) $", before):
                continue
            lead = led(start)
            if lead is None:
                continue
            yield start, end, expression, 0.9 if "license" in match.group() else 0.8
    for match in _GPL.finditer(joined) if "gpl" in joined or "general public" in joined else ():
        found = _gpl(joined, match, led(match.start()) is not None)
        if found is not None:
            yield found
    for match in _CC.finditer(joined) if "creative" in joined else ():
        if match["code"]:
            yield *match.span(), f"CC-{match['code'].replace(' ', '-').upper()}-{match['version']}", 0.9
        elif led(match.start()) is not None:
            code = "BY" + "".join(f"-{name.upper()}" for name in ("nc", "nd", "sa") if match[name])
            yield *match.span(), f"CC-{code}-{match['number']}", 0.9
    for match in _PUBLIC_DOMAIN.finditer(joined) if "public domain" in joined else ():
        if not re.search(r"\bnot\b", match.group()):
            yield *match.span(), "LicenseRef-scancode-public-domain", 0.8
    for match in _PROPRIETARY.finditer(joined) if "proprietary" in joined or "copying of this" in joined else ():
        yield *match.span(), "LicenseRef-scancode-proprietary-license", 0.8


def _gpl(joined: str, match: re.Match[str], led: bool) -> tuple[int, int, str, float] | None:
    start, end = match.span()
    before, after = joined[max(0, start - 90) : start], joined[end : end + 260]
    if _MENTION.match(after) or _NEGATED.search(before):
        return None
    short = match["short"]
    kind = {"lesser": "L", "library": "L", "affero": "A", None: ""}[match["kind"]]
    if short:
        kind = short[:-3].upper()
        if not led or _FILE_NAME.match(after) or before.endswith(("licenses ", "copyleft ")):
            return None
    number, later = match["number"] if short else None, bool(short and match["plus"])
    if number is None:
        back = _VERSION_BEFORE.search(before)
        if back:
            number, later = back["number"], bool(back["later"])
        else:
            # Not into the next licence's name: "GNU General Public License or the MIT License version 1".
            reach = _GPL.search(after)
            window = after[: reach.start()] if reach and (short or reach["short"] is None) else after
            if _RECEIVED.search(before):
                window = " ".join(window.split(" ")[:6])  # "received a copy of the ...": only its own version
            forward = _VERSION_AFTER.match(window)
            if forward:
                number = forward["number"] or forward["bare"]
                later = bool(forward["plus"] or forward["bareplus"])
                end += forward.end()
    if number is None and not led:
        return None
    if number is None and _RECEIVED.search(before) and not led:
        return None
    tail = _LATER.match(joined[end : end + 120])
    if tail and not re.search(r"\b(?:general public|gpl|mit|bsd|apache)\b", tail.group()):
        later = True
        end += tail.end()
    if number is None:
        # "If the Program does not specify a version number ... any version ever published": GPL 1 section 7
        # and on.
        base = {"": "GPL-1.0", "L": "LGPL-2.0", "A": "AGPL-3.0"}[kind]
        return start, end, f"{base}-or-later", 0.5
    version = number if "." in number else f"{number}.0"
    if kind == "L" and version == "1.0" or kind == "A" and version == "2.0":
        return None
    return start, end, f"{kind}GPL-{version}-{'or-later' if later else 'only'}", 0.95 if not short else 0.85


_OR_BETWEEN = re.compile(r"\b(?:or|alternatively|either|at your option|your choice)\b")
_DUAL = re.compile(
    r"\b(?:dual|dually|tri|triple|multi) ?licensed?\b|\beither\b|"
    r"\bat your (?:option|choice)\b|\bdual license\b"
)


def _settle(found: list[Notice], joined: str, places: np.ndarray) -> list[Notice]:
    """Removes notices inside others, unversioned GPL beside versioned, and repeats; joins choices with OR."""
    kept: list[Notice] = []
    for notice in found:
        if kept and notice.first < kept[-1].last:
            if notice.last - notice.first > kept[-1].last - kept[-1].first and notice.confidence >= kept[-1].confidence:
                kept[-1] = notice
            continue
        kept.append(notice)
    families = {_family(n.expression) for n in kept if n.confidence > 0.5}
    kept = [n for n in kept if n.confidence > 0.5 or _family(n.expression) not in families]
    seen: set[str] = set()
    merged: list[Notice] = []
    for notice in kept:
        if notice.expression.startswith("WITH "):
            if merged and " OR " not in merged[-1].expression and notice.first - merged[-1].last <= 6:
                previous = merged[-1]
                if " WITH " not in previous.expression:
                    expression = f"{previous.expression} {notice.expression}"
                    merged[-1] = previous._replace(last=notice.last, expression=expression)
            continue
        if notice.expression in seen:
            continue
        if merged:
            previous = merged[-1]
            between = joined[int(places[previous.last - 1]) : int(places[notice.first])].split(" ", 1)[-1]
            count = between.count(" ")
            ahead = joined[max(0, int(places[previous.first]) - 90) : int(places[previous.first]) + 30]
            behind = joined[int(places[notice.first]) : int(places[notice.first]) + 160]
            choice = count <= 30 and bool(_OR_BETWEEN.search(between))
            choice = choice or count <= 120 and "alternatively" in between.split(" ")[-20:]
            choice = choice or count <= 12 and bool(_DUAL.search(ahead) or re.search(r"\bat your option\b", behind))
            if choice:
                seen.add(notice.expression)
                joinable = f"{previous.expression} OR {notice.expression}"
                confidence = min(previous.confidence, notice.confidence)
                merged[-1] = Notice(previous.first, notice.last, joinable, confidence)
                continue
        seen.add(notice.expression)
        merged.append(notice)
    return merged


def _family(expression: str) -> str:
    match = re.match(r"([LA]?GPL)-", expression)
    return match.group(1) if match else expression
