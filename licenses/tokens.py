"""Words of a text with their places, as licence matching sees them.

Two texts that differ only in comment marks, line breaks, punctuation, letter case, list markers (`1.`, `a)`,
`*`), copyright lines and the spelling licence/license have the same words.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

# A copyright line says who, not what; it goes only where a sign, a year or a template's bracket follows the
# word, since wrapped text may begin a line with COPYRIGHT too.
_COPYRIGHT = re.compile(
    r"^[^\w\n]{0,12}(?:(?:portions|parts?|all)[ ]{1,3})?(?:copyright|\(c\)|©)[ ]{0,4}"
    r"(?:by|\(c\)|©|&copy;|[<\[{(]|\d{4}|notice:)[^\n]*$|^[^\w\n]{0,12}all rights reserved\.?[ ]*$",
    re.IGNORECASE | re.MULTILINE,
)
_MARKER = re.compile(r"^[^\w\n]{0,12}(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)](?=\s)", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+(?:\.\d+)*\+?")


class Words(NamedTuple):
    """words: lower case; starts, ends: [words] int64 code points in the text."""

    words: list[str]
    starts: np.ndarray
    ends: np.ndarray


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def words(text: str, base: int = 0) -> Words:
    """Words of `text`; `base` is added to the places.  Linear time."""
    text = _MARKER.sub(_blank, _COPYRIGHT.sub(_blank, text))
    found = [(match.group().lower(), match.start(), match.end()) for match in _WORD.finditer(text)]
    if not found:
        return Words([], np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    tokens, starts, ends = zip(*found, strict=True)
    spelt = [w.replace("licenc", "licens") if "licenc" in w else w for w in tokens]
    return Words(spelt, np.array(starts, dtype=np.int64) + base, np.array(ends, dtype=np.int64) + base)
