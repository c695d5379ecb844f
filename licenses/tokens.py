"""Words of a text with their places, as licence matching sees them.

Two texts that differ only in comment marks, line breaks, punctuation, letter case, list markers (`1.`, `a)`,
`*`), copyright lines, HTML tags and the spelling licence/license have the same words.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

# A copyright line says who, not what; it goes only where a sign, a year or a template's bracket follows the
# word, since wrapped text may begin a line with COPYRIGHT too.  A line that is longer or speaks of a licence holds
# more than that: a notice, or the whole text where somebody took its line breaks out.
_COPYRIGHT = re.compile(
    r"^[^\w\n]{0,12}(?:(?:portions|parts?|all)[ ]{1,3})?(?:copyright|\(c\)|©)[ ]{0,4}"
    r"(?:by|\(c\)|©|&copy;|[<\[{(]|\d{4}|notice:)"
    r"(?![^\n]{0,240}(?:permi[ts]|redistribut|licen[sc]|freely|\bmay\b|\bgrant|\buse of\b|gpl|public domain))"
    r"[^\n]{0,240}$|^[^\w\n]{0,12}all rights reserved\.?[ ]*$",
    re.IGNORECASE | re.MULTILINE,
)
# At the beginning of a line, or after the end of a sentence or item.  (c) is the sign more often than an item.
_MARKER = re.compile(
    r"(?:^[^\w\n]{0,12}|(?<=[.;:,] )\(?)(?:\d{1,2}|[abd-zABD-Z]|(?<!\()[cC]|[ivx]{1,4})[.)](?=\s)", re.MULTILINE
)
# Tags by name: <year> and <name of author> are the templates' own.
_MARKUP = re.compile(
    r"</?(?:a|abbr|article|b|blockquote|body|br|center|code|dd|div|dl|dt|em|font|footer|h[1-6]|head|header|hr|html|i|"
    r"img|li|link|main|meta|nav|ol|p|pre|section|small|span|strong|style|sub|sup|table|tbody|td|th|thead|title|tr|tt|u|"
    r"ul)\b[^<>]{0,400}>|<!(?:doctype|--)[^<>]{0,400}>|&(?:[a-z]{2,8}|\#\d{2,5}|\#x[0-9a-f]{2,5});",
    re.IGNORECASE,
)
# Line breaks written out in a literal: `"free of charge\nto any person"`.
_ESCAPED_BREAK = re.compile(r"\\n|\\[rt](?![a-z])")
_WORD = re.compile(r"[^\W_]+(?:\.\d+)*\+?")


class Words(NamedTuple):
    """words: lower case; starts, ends: [words] int64 code points in the text."""

    words: list[str]
    starts: np.ndarray
    ends: np.ndarray


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _break(match: re.Match[str]) -> str:
    """A line break of the same length; the sign of copyright stays."""
    return ("©" if match.group().lower() in ("&copy;", "&#169;") else "\n").ljust(len(match.group()))


def words(text: str, base: int = 0) -> Words:
    """Words of `text`; `base` is added to the places.  Linear time."""
    if "<" in text or "&" in text:
        text = _MARKUP.sub(_break, text)
    if "\\n" in text:
        text = _ESCAPED_BREAK.sub(_break, text)
    text = _MARKER.sub(_blank, _COPYRIGHT.sub(_blank, text))
    found = [(match.group().lower(), match.start(), match.end()) for match in _WORD.finditer(text)]
    if not found:
        return Words([], np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    tokens, starts, ends = zip(*found, strict=True)
    spelt = [w.replace("licenc", "licens") if "licenc" in w else w for w in tokens]
    return Words(spelt, np.array(starts, dtype=np.int64) + base, np.array(ends, dtype=np.int64) + base)
