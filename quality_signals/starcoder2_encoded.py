"""Encoded data in files: runs of Base64, of hexadecimal bytes and of Unicode escapes.

The three expressions are those of the StarCoder2 report (arXiv 2402.19173, section 2.1).  `encoded_spans` runs them as
they are and is what `encoded_data` is tested against; `encoded_data` reads each character a bounded number of times.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import SPACE, WORD, class_table
from quality_signals.compiled import njit
from quality_signals.text_batch import TextBatch

MIN_BASE64, MIN_UNITS = 64, 8  # characters; bytes or escapes

PATTERNS = (
    re.compile(r"[a-zA-Z0-9+/\n=]{64,}"),
    re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}"),
    re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}"),
)

_COMMA, _BACKSLASH, _ZERO, _X, _U = (ord(c) for c in ",\\0xu")


def encoded_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of all matches of the three expressions, which may overlap."""
    return [match.span() for pattern in PATTERNS for match in pattern.finditer(text)]


class Encoded(NamedTuple):
    """longest: [texts] int64, characters of the longest match; covered: [texts] int64, characters in any match."""

    longest: npt.NDArray[np.int64]
    covered: npt.NDArray[np.int64]


@njit(error_model="numpy")
def _is_hex(c):  # type: ignore[no-untyped-def]
    return 48 <= c <= 57 or 97 <= c <= 102 or 65 <= c <= 70


@njit(error_model="numpy")
def _hex_end(points, table, at, end):  # type: ignore[no-untyped-def]
    """End of the hexadecimal byte with what may follow it, -1 where none starts here."""
    if at + 1 < end and points[at + 1] == _X and (points[at] == _ZERO or points[at] == _BACKSLASH):
        at += 2
    if at + 1 >= end or not _is_hex(points[at]) or not _is_hex(points[at + 1]):
        return -1
    at += 2
    if at < end:
        if points[at] == _COMMA:
            return at + 1
        if (table[points[at]] & WORD) != 0:
            return -1
        while at < end and (table[points[at]] & SPACE) != 0:
            at += 1
    return at


@njit(error_model="numpy")
def _escape_end(points, at, end):  # type: ignore[no-untyped-def]
    if at + 5 >= end or points[at] != _BACKSLASH or points[at + 1] != _U:
        return -1
    for k in range(at + 2, at + 6):
        if not _is_hex(points[k]):
            return -1
    return at + 6


def _kinds() -> npt.NDArray[np.uint8]:
    """[256] what a character may be part of: 1 Base64, 2 the start of a hexadecimal byte, 4 the start of an escape."""
    kinds = np.zeros(256, np.uint8)
    for c in range(128):
        kinds[c] |= chr(c).isalnum() or chr(c) in "+/=\n"
        kinds[c] |= 2 * (chr(c) in "0123456789abcdefABCDEF\\")
    kinds[_BACKSLASH] |= 4
    return kinds


_KINDS = _kinds()


@njit(error_model="numpy")
def _find(points, offsets, table, kinds, marks, longest, covered):  # type: ignore[no-untyped-def]
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        most = np.int64(0)
        run = begin
        while run + MIN_BASE64 <= end:
            # Backwards from the last character that a run of the least length has: most begin after it.
            at = run + MIN_BASE64 - 1
            while at >= run and points[at] < 256 and kinds[points[at]] & 1:
                at -= 1
            if at >= run:
                run = at + 1
                continue
            at = run + MIN_BASE64
            while at < end and points[at] < 256 and kinds[points[at]] & 1:
                at += 1
            most = max(most, at - run)
            marks[run:at] = 1
            run = at + 1
        hex_after = escape_after = begin  # where the last match ended
        for i in range(begin, end):
            c = points[i]
            kind = kinds[c] if c < 256 else np.uint8(0)
            # a byte has its two digits side by side, behind a mark or not
            if kind & 2 and i >= hex_after and i + 1 < end:
                d = points[i + 1]
                if d < 256 and (kinds[d] & 2 or d == _X):
                    at, units = i, 0
                    next_ = _hex_end(points, table, at, end)
                    while next_ >= 0:
                        at = next_
                        units += 1
                        next_ = _hex_end(points, table, at, end)
                    if units >= MIN_UNITS:
                        most = max(most, at - i)
                        marks[i:at] = 1
                        hex_after = at
            if kind & 4 and i >= escape_after:
                at, units = i, 0
                next_ = _escape_end(points, at, end)
                while next_ >= 0:
                    at = next_
                    units += 1
                    next_ = _escape_end(points, at, end)
                if units >= MIN_UNITS:
                    most = max(most, at - i)
                    marks[i:at] = 1
                    escape_after = at
        longest[text] = most
        total = np.int64(0)
        if most > 0:
            for i in range(begin, end):
                total += marks[i]
        covered[text] = total


def encoded_data(texts: TextBatch) -> Encoded:
    """View.  Time linear in the characters; one byte a character for as long as it runs."""
    longest, covered = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    marks = np.zeros(len(texts.points), np.uint8)
    _find(texts.points, texts.offsets, class_table(), _KINDS, marks, longest, covered)
    return Encoded(longest, covered)
