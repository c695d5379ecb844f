"""The views of a document that the rpv2 signals share, each built once.

Raw view: code points as they stand, their lines (each with its newline) and WordPunct words
`\\w+|[^\\w\\s]+`. Normalised view: ASCII punctuation deleted, lower case, NFD, words split at white space;
lines as in the raw view.
"""

from __future__ import annotations

import dataclasses
import string
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from quality_signals.codepoints import (
    ALPHA,
    LOWER,
    MARK,
    NUMERIC,
    SPACE,
    UPPER,
    WORD,
    CodePoints,
    class_table,
    code_points,
    find_entry,
    number_ranges,
)

Ints = npt.NDArray[np.int64]

NEWLINE = ord("\n")
# RedPajama-Data app/src/core/quality_signals/lines.py: bullets and end marks of the line signals.
BULLETS = np.array([0x2022, 0x2023, 0x25B6, 0x25C0, 0x25E6, 0x25A0, 0x25A1, 0x25AA, 0x25AB, 0x2013], dtype=np.uint32)
TERMINALS = np.array([ord(c) for c in ".!?\u201d"], dtype=np.uint32)
_JAVASCRIPT = code_points("javascript")

_MAX_MARKS = 256  # in a row, that are left to Python's own normalisation
_PUNCTUATION = string.punctuation.encode()


def normalised(text: str) -> str:
    """`text` without ASCII punctuation, lower-cased, in NFD; white space as it stood.

    Splitting the result at white space gives the words of the reference, which collapses white space before
    NFD: canonical decomposition turns no white space into anything else, nor anything else into white space.
    """
    # ASCII bytes never occur inside a multi-byte UTF-8 sequence, so bytes can be deleted.
    kept = text.encode("utf-8", "surrogatepass").translate(None, _PUNCTUATION)
    lower = kept.decode("utf-8", "surrogatepass").lower()
    if lower.isascii():
        return lower
    if _longest_marks(code_points(lower), class_table()) > _MAX_MARKS:
        return _nfd(lower)
    return unicodedata.normalize("NFD", lower)


def _nfd(text: str) -> str:
    """NFD in time n log n: each character decomposed, then marks in a row sorted by class, equal ones kept in
    order.

    CPython sorts marks by insertion, in quadratic time on a text of nothing but marks.
    """
    out: list[str] = []
    row: list[str] = []
    for c in text:
        for d in unicodedata.normalize("NFD", c):
            if unicodedata.combining(d):
                row.append(d)
                continue
            if row:
                out += sorted(row, key=unicodedata.combining)
                row.clear()
            out.append(d)
    return "".join(out + sorted(row, key=unicodedata.combining))


@njit(cache=True, nogil=True)
def _longest_marks(points, table):  # type: ignore[no-untyped-def]
    """Length of the longest row of combining marks."""
    longest = 0
    row = 0
    for c in points:
        row = row + 1 if table[c] & MARK else 0
        longest = max(longest, row)
    return longest


@njit(cache=True, nogil=True)
def _raw_words(points, table, slots, hashes, offsets, chars):  # type: ignore[no-untyped-def]
    """Counts over WordPunct words: all, with an ASCII letter, in capitals, in the lexicon; and sentences.

    A sentence is a match of `\\b[^.!?]+[.!?]*`.
    """
    n = len(points)
    words = 0
    alphabetic = 0
    capitals = 0
    listed = 0
    i = 0
    while i < n:
        kind = table[points[i]] & (WORD | SPACE)
        if kind & SPACE:
            i += 1
            continue
        start = i
        letters = False
        upper = False
        lower = False
        while i < n and table[points[i]] & (WORD | SPACE) == kind:
            c = points[i]
            letters |= 97 <= (c | 32) <= 122
            upper |= (table[c] & UPPER) != 0
            lower |= (table[c] & LOWER) != 0
            i += 1
        words += 1
        alphabetic += letters
        capitals += upper and not lower
        listed += find_entry(slots, hashes, offsets, chars, points, start, i) >= 0
    sentences = 0
    i = 0
    before = 0
    while i < n:
        c = points[i]
        inside = table[c] & WORD
        if inside == before or c == 46 or c == 33 or c == 63:
            before = inside
            i += 1
            continue
        sentences += 1
        while i < n and points[i] != 46 and points[i] != 33 and points[i] != 63:
            i += 1
        while i < n and (points[i] == 46 or points[i] == 33 or points[i] == 63):
            i += 1
        before = table[points[i - 1]] & WORD
    return words, alphabetic, capitals, listed, sentences


@njit(cache=True, nogil=True)
def _raw_lines(points, table, terminals, bullets):  # type: ignore[no-untyped-def]
    """Per line: end (exclusive, with the newline), capitals, ends in a terminal mark, starts with a bullet,
    ends in an ellipsis."""
    n = len(points)
    lines = 0
    for i in range(n):
        lines += points[i] == NEWLINE
    lines += n > 0 and points[n - 1] != NEWLINE
    ends = np.empty(lines, dtype=np.int64)
    upper = np.zeros(lines, dtype=np.int64)
    terminal = np.zeros(lines, dtype=np.float64)
    bullet = np.zeros(lines, dtype=np.float64)
    ellipsis = 0
    start = 0
    for line in range(lines):
        i = start
        first = -1
        last = -1
        while i < n:
            c = points[i]
            bits = table[c]
            if not bits & SPACE:
                if first < 0:
                    first = i
                last = i
            upper[line] += (bits & UPPER) != 0
            i += 1
            if c == NEWLINE:
                break
        if first >= 0:
            for mark in terminals:
                terminal[line] += points[last] == mark
            for mark in bullets:
                bullet[line] += points[first] == mark
            c = points[last]
            dots = last - first >= 2 and c == 46 and points[last - 1] == 46 and points[last - 2] == 46
            ellipsis += c == 0x2026 or dots
        ends[line] = i
        start = i
    return ends, upper, terminal, bullet, ellipsis


@njit(cache=True, nogil=True)
def _norm_words(points, table, lines, javascript):  # type: ignore[no-untyped-def]
    """Words of the normalised text, and per line: words, length once joined by single spaces, numeric
    characters, words equal to `javascript`.

    returns joined (the words joined by one space), starts and ends of the words in it, and the line columns.
    """
    n = len(points)
    count = 0
    inside = False
    for i in range(n):
        word = not table[points[i]] & SPACE
        count += word and not inside
        inside = word
    starts = np.empty(count, dtype=np.int64)
    ends = np.empty(count, dtype=np.int64)
    joined = np.empty(n + 1, dtype=np.uint32)
    line_words = np.zeros(lines, dtype=np.int64)
    line_length = np.zeros(lines, dtype=np.int64)
    line_numeric = np.zeros(lines, dtype=np.int64)
    line_javascript = np.zeros(lines, dtype=np.int64)
    line = 0
    word = 0
    out = 0
    i = 0
    while i < n:
        c = points[i]
        if table[c] & SPACE:
            line += c == NEWLINE
            i += 1
            continue
        if word:
            joined[out] = 32
            out += 1
        starts[word] = out
        while i < n and not table[points[i]] & SPACE:
            c = points[i]
            line_numeric[line] += (table[c] & NUMERIC) != 0
            joined[out] = c
            out += 1
            i += 1
        ends[word] = out
        length = out - starts[word]
        line_length[line] += length + (line_words[line] > 0)
        line_words[line] += 1
        if length == len(javascript):
            same = True
            for k in range(length):
                same &= joined[starts[word] + k] == javascript[k]
            line_javascript[line] += same
        word += 1
    return joined[:out], starts, ends, line_words, line_length, line_numeric, line_javascript


@njit(cache=True, nogil=True)
def _letters(points, table):  # type: ignore[no-untyped-def]
    """Characters with str.isalnum and with str.isalpha."""
    alphanumeric = 0
    alphabetic = 0
    for c in points:
        bits = table[c]
        alphanumeric += (bits & WORD) != 0 and c != 95
        alphabetic += (bits & ALPHA) != 0
    return alphanumeric, alphabetic


def letters(text: str) -> tuple[int, int]:
    """Number of characters of `text` with str.isalnum and with str.isalpha."""
    return _letters(code_points(text), class_table())


@dataclasses.dataclass(frozen=True, slots=True)
class RawView:
    """The text as it stands."""

    text: str
    words: int  # WordPunct words
    alphabetic_words: int  # with an ASCII letter
    capital_words: int  # str.isupper
    listed_words: int  # in the stop list given
    sentences: int
    line_ends: Ints  # [lines], exclusive, newline included; starts are the ends of the line before
    line_upper: Ints  # [lines] characters with str.isupper
    line_terminal: npt.NDArray[np.float64]  # [lines] 1.0 where the line ends in a terminal mark
    line_bullet: npt.NDArray[np.float64]  # [lines] 1.0 where it starts with a bullet
    ellipsis_lines: int


@dataclasses.dataclass(frozen=True, slots=True)
class NormView:
    """Words of the normalised text; `joined[starts[i]:ends[i]]` is word i."""

    joined: CodePoints  # the words with one space between
    starts: Ints
    ends: Ints
    ids: Ints  # number of the word among the distinct words, in order of first occurrence
    first: Ints  # [distinct] index of the first occurrence
    line_words: Ints
    line_length: Ints  # characters of the normalised line
    line_numeric: Ints
    line_javascript: Ints


def raw_view(text: str, stop_words: tuple[Any, Any, Any, Any]) -> RawView:
    """`stop_words`: the arrays of a `Lexicon`."""
    points, table = code_points(text), class_table()
    counts = _raw_words(points, table, *stop_words)
    return RawView(text, *counts, *_raw_lines(points, table, TERMINALS, BULLETS))


def norm_view(text: str, lines: int) -> NormView:
    """`lines`: number of raw lines; deletion of punctuation may empty the last one, which still counts."""
    points = code_points(normalised(text))
    joined, starts, ends, *columns = _norm_words(points, class_table(), lines, _JAVASCRIPT)
    return NormView(joined, starts, ends, *number_ranges(joined, starts, ends), *columns)
