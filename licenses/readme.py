"""Licences that a readme states: badges, a section with the word licence as its title, notices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from licenses.detect import Match, combine, detect_text
from licenses.expressions import join
from licenses.names import normalise
from licenses.urls import url_expression

MAX_README = 200_000  # characters
BADGE, SECTION, NOTICE = 0.8, 0.85, 0.7
_NAME = re.compile(
    r"(?:.*[-_.])?read[-_]?me(?:[-_.][\w-]{1,20}){0,2}?(?:\.(?:md|mdx|markdown|mkdn?|rst|txt|adoc|asciidoc|org|rdoc|textile|pod))?",
    re.IGNORECASE,
)
_CODE_SUFFIX = re.compile(
    r"\.(?:py|js|ts|c|h|cpp|go|rs|java|rb|php|sh|html?|css|json|ya?ml|toml|xml|png|svg|pdf)$", re.I
)
# shields.io/badge/LABEL-MESSAGE-COLOUR, where `--` is a dash, `__` an underscore and `_` a space.
_SHIELD = re.compile(
    r"(?:shields\.io|badgen\.net|badge\.fury\.io)/badge/(?:licen[sc]es?)[-/]((?:[^\s\"'()\[\]<>?/-]|--){1,80})",
    re.IGNORECASE,
)
# A link whose text or image says licence: [![License](badge)](target), [License: MIT](target), <a href=target>.
_LINKED = re.compile(
    r"\[!?\[?[^\[\]\n]{0,60}licen[sc]e[^\[\]\n]{0,60}\](?:\([^()\s]{0,300}\)\])?\(\s*<?(https?://[^()\s<>]{4,300})",
    re.IGNORECASE,
)
# `## License`, `License` over a line of dashes or `=`, `<h2>License</h2>`.
_TITLE = re.compile(
    r"^(?:\#{1,6}[ \t]*(?:[^\w\n]{0,8}|\d{1,2}[.)]\ )?(?:the |software |project |code )?"
    r"(?:licen[sc]es?|licensing|copying)"
    r"(?: (?:and|&) [\w ]{1,30}|[ ]?information)?[ \t]*:?[^\w\n]{0,12}\#*[ \t]*$"
    r"|(?:licen[sc]e|licensing|copying)[ \t]*\n[-=~^*+.]{3,80}[ \t]*$"
    r"|<h[1-6][^<>]{0,80}>\s{0,8}licen[sc]e\s{0,8}</h[1-6]>)",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_TITLE = re.compile(r"^(?:\#{1,6}[ \t]*\S|[^\n]{1,80}\n[-=~]{3,80}[ \t]*$|<h[1-6])", re.MULTILINE)
MAX_SECTION = 4_000  # characters after the title


def is_readme(path: str) -> bool:
    """Whether the file's name is that of a readme."""
    name = path.rpartition("/")[2]
    return _NAME.fullmatch(name) is not None and _CODE_SUFFIX.search(name) is None


def readme_match(text: str) -> Match | None:
    """What a readme says of the licence of its directory, source `readme`; None where it says nothing clear.

    The section about the licence is believed first, then badges, then a notice anywhere ("licensed under the ...").
    Several badges for one licence are one; different ones hold together (AND).
    """
    text = text[:MAX_README]
    found = _section(text) or _badges(text)
    if found is not None:
        return found
    noticed = combine([each for each in detect_text(text) if each.source != "file_text" and each.confidence > 0.5])
    if noticed is None:
        return None
    return Match(noticed.expression, noticed.start, noticed.end, min(noticed.confidence, NOTICE), "readme")


def _badges(text: str) -> Match | None:
    found: list[tuple[int, int, str]] = []
    for match in _SHIELD.finditer(text):
        said = re.sub(r"--|__|_", lambda m: {"--": "-", "__": "_", "_": " "}[m[0]], unquote(match.group(1)))
        expression = normalise(said)
        if expression:
            found.append((match.start(1), match.end(1), expression))
    for match in _LINKED.finditer(text):
        expression = url_expression(match.group(1))
        if expression:
            found.append((match.start(1), match.end(1), expression))
    if not found:
        return None
    found.sort()
    expression = join("AND", _least(each[2] for each in found))
    return Match(expression, found[0][0], found[-1][1], BADGE, "readme") if expression else None


def _least(expressions: Iterable[str]) -> list[str]:
    """Distinct expressions; beside `GPL-3.0-or-later`, a link to the text (-only) adds nothing."""
    distinct = list(dict.fromkeys(expressions))
    later = {each.replace("-or-later", "-only") for each in distinct if each.endswith("-or-later")}
    return [each for each in distinct if each not in later]


def _section(text: str) -> Match | None:
    for title in _TITLE.finditer(text):
        begin = title.end()
        after = _NEXT_TITLE.search(text, begin + 1, begin + MAX_SECTION)
        body = text[begin : after.start() if after else begin + MAX_SECTION]
        found = combine(detect_text(body)) or _badges(body) or _first_words(body)
        if found is not None:
            confidence = min(found.confidence, SECTION)
            return Match(found.expression, begin + found.start, begin + found.end, confidence, "readme")
    return None


_LINK = re.compile(r"\[([^\[\]\n]{1,80})\]\([^()\n]{0,300}\)")


def _first_words(body: str) -> Match | None:
    """`MIT`, `[MIT](LICENSE)`, `MIT © Jane Holder`, `Apache-2.0. See LICENSE.` as the first line."""
    line = re.search(r"[^\s][^\n]{0,200}", body)
    if line is None:
        return None
    said = line.group()
    link = _LINK.match(said.lstrip("*_`>- "))
    names = [link.group(1)] if link else []
    names += [re.split(r"[©(,;]|\. |\bsee\b|\bcopyright\b|\[", said, maxsplit=1, flags=re.IGNORECASE)[0], said]
    for name in names:
        plain = name.strip(" *_`.>-:\t")
        expression = normalise(plain) if 0 < len(plain) <= 80 else None
        if expression:
            start = line.start() + said.find(plain)
            return Match(expression, start, start + len(plain), SECTION, "readme")
    return None
