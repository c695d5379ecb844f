"""The text normaliser of cc_net, over all lines of a batch at once.

Reference: facebookresearch/cc_net @ bda555b, cc_net/text_normalizer.py, `normalize` with its defaults (what the
language models read) and `normalize_for_dedup` (what the paragraph hashes are of).

Every step but two maps one character by itself: the white space at both ends goes first, and a capital sigma is
lower-cased by what stands around it.  So a table with the result of all steps for each code point does the work; a
line with a character that depends on its neighbours (the sigma, or marks that canonical ordering may move and that
stay) is left to Python's own string methods.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint32]

# cc_net @ bda555b, text_normalizer.py, UNICODE_PUNCT.  The full-width 1 never acts: digits became 0 before.
PUNCTUATION = {
    "\uff0c": ",", "\u3002": ".", "\u3001": ",", "\u201e": '"', "\u201d": '"', "\u201c": '"', "\u00ab": '"',
    "\u00bb": '"', "\uff11": '"', "\u300d": '"', "\u300c": '"', "\u300a": '"', "\u300b": '"', "\u00b4": "'",
    "\u2236": ":", "\uff1a": ":", "\uff1f": "?", "\uff01": "!", "\uff08": "(", "\uff09": ")", "\uff1b": ";",
    "\u2013": "-", "\u2014": " - ", "\uff0e": ". ", "\uff5e": "~", "\u2019": "'", "\u2026": "...", "\u2501": "-",
    "\u3008": "<", "\u3009": ">", "\u3010": "[", "\u3011": "]", "\uff05": "%", "\u25ba": "-",
}  # fmt: skip
_DIGIT = re.compile(r"\d")
_CONTROL = {*range(32), *range(127, 160)}  # text_normalizer.py, NON_PRINTING_CHARS_RE
_REPLACED = {**{ord(mark): text for mark, text in PUNCTUATION.items()}, **dict.fromkeys(_CONTROL)}
_REMOVED: dict[int, None] = dict.fromkeys(_REPLACED)


def _steps(text: str) -> str:
    """`normalise` after the strip."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    bare = "".join([c for c in decomposed if unicodedata.category(c) != "Mn"])
    return _DIGIT.sub("0", bare).translate(_REPLACED)


def _dedup_steps(text: str) -> str:
    """`normalise_for_dedup` after the strip."""
    return _DIGIT.sub("0", text.lower()).translate(_REMOVED)


def normalise(text: str) -> str:
    """cc_net's `normalize`: lower case, no accents, digits as 0, plain punctuation, no control characters."""
    return _steps(text.strip())


def normalise_for_dedup(line: str) -> str:
    """cc_net's `normalize_for_dedup`: lower case, digits as 0, no Unicode punctuation, no control characters."""
    return _dedup_steps(line.strip())


def unchanged(text: str) -> str:
    """The text without the white space at its ends."""
    return text.strip()


# Codes of a table beyond the code points: what a character becomes.
_GONE = 0x110000
_BY_PYTHON = 0x110001
_STRINGS = 0x110002  # + number of the string in the pool

_ASSIGNED = (range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0xE1000))  # see codepoints._ASSIGNED
_SIZE = 0x110000
_GROWTH = 3  # bytes that a byte may become at most: a Hangul syllable gives three letters of three bytes


class Table(NamedTuple):
    """codes [1114112] uint32: the code point that a character becomes, or a code above; string n of the pool is
    pool[offsets[n]:offsets[n + 1]]."""

    codes: npt.NDArray[np.uint32]
    offsets: Ints
    pool: Points


_BETWEEN = "|"  # a character that no step changes and that keeps its neighbours apart
_SIGMA = "\u03a3"  # its lower case depends on what stands around it


def _table(steps: Callable[[str], str], moves: bool) -> Table:
    """moves: whether marks other than Mn may stay and change places."""
    chars = [char for block in _ASSIGNED for char in map(chr, block) if char not in (_BETWEEN, _SIGMA)]
    codes = np.arange(_SIZE, dtype=np.uint32)
    strings: dict[str, int] = {}
    for char, became in zip(chars, steps(_BETWEEN.join(chars)).split(_BETWEEN), strict=True):
        if moves and became and unicodedata.combining(became[-1]):
            codes[ord(char)] = _BY_PYTHON
        elif became == char:
            pass
        elif not became:
            codes[ord(char)] = _GONE
        elif len(became) == 1:
            codes[ord(char)] = ord(became)
        else:
            codes[ord(char)] = _STRINGS + strings.setdefault(became, len(strings))
    codes[ord(_SIGMA)] = _BY_PYTHON
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(text) for text in strings], out=offsets[1:])
    return Table(codes, offsets, np.frombuffer("".join(strings).encode("utf-32-le"), np.uint32))


@lru_cache(maxsize=1)
def normalise_table() -> Table:
    """For `normalise`.  Built once a process, in about 0.2 s."""
    return _table(_steps, moves=True)


@lru_cache(maxsize=1)
def dedup_table() -> Table:
    """For `normalise_for_dedup`."""
    return _table(_dedup_steps, moves=False)


@lru_cache(maxsize=1)
def plain_table() -> Table:
    """For `unchanged`."""
    return Table(np.arange(_SIZE, dtype=np.uint32), np.zeros(1, np.int64), np.zeros(0, np.uint32))


FORMS: dict[str, tuple[Callable[[str], str], Callable[[], Table]]] = {
    "ccnet": (normalise, normalise_table),
    "ccnet_dedup": (normalise_for_dedup, dedup_table),
    "none": (unchanged, plain_table),
}


@njit(error_model="numpy")
def _put(utf8, at, c):  # type: ignore[no-untyped-def]
    """Writes a code point at utf8[at:] and returns the place after it."""
    if c < 0x80:
        utf8[at] = c
        return at + 1
    if c < 0x800:
        utf8[at] = 0xC0 | c >> 6
        utf8[at + 1] = 0x80 | c & 0x3F
        return at + 2
    if c < 0x10000:
        utf8[at] = 0xE0 | c >> 12
        utf8[at + 1] = 0x80 | c >> 6 & 0x3F
        utf8[at + 2] = 0x80 | c & 0x3F
        return at + 3
    utf8[at] = 0xF0 | c >> 18
    utf8[at + 1] = 0x80 | c >> 12 & 0x3F
    utf8[at + 2] = 0x80 | c >> 6 & 0x3F
    utf8[at + 3] = 0x80 | c & 0x3F
    return at + 4


@njit(error_model="numpy")
def _mapped(points, starts, ends, classes, codes, pool_offsets, pool, utf8, offsets, by_python):  # type: ignore[no-untyped-def]
    """Fills utf8, offsets [lines + 1] and by_python [lines] (those lines get no bytes)."""
    at = 0
    for line in range(len(starts)):
        start = starts[line]
        end = ends[line]
        while start < end and classes[points[start]] & SPACE:
            start += 1
        while start < end and classes[points[end - 1]] & SPACE:
            end -= 1
        begin = at
        for i in range(start, end):
            code = np.int64(codes[points[i]])
            if code < _GONE:
                at = _put(utf8, at, code)
            elif code == _BY_PYTHON:
                by_python[line] = True
                at = begin
                break
            elif code != _GONE:
                for k in range(pool_offsets[code - _STRINGS], pool_offsets[code - _STRINGS + 1]):
                    at = _put(utf8, at, np.int64(pool[k]))
        offsets[line + 1] = at
    return at


def normalised(points: Points, starts: Ints, ends: Ints, form: str = "ccnet") -> tuple[Bytes, Ints]:
    """The normalised lines points[starts[i]:ends[i]] as UTF-8: line i is utf8[offsets[i]:offsets[i + 1]].

    form: ccnet (`normalise`), ccnet_dedup (`normalise_for_dedup`) or none (`unchanged`).  utf8 uint8, offsets
    [lines + 1] int64.  Time linear in the characters; memory 12 bytes a character at most, most of it untouched.
    """
    by_string, table = FORMS[form]
    codes, pool_offsets, pool = table()
    utf8 = np.empty(int((ends - starts).sum()) * 4 * (_GROWTH if form == "ccnet" else 1), np.uint8)
    offsets = np.zeros(len(starts) + 1, np.int64)
    by_python = np.zeros(len(starts), np.bool_)
    count = _mapped(points, starts, ends, class_table(), codes, pool_offsets, pool, utf8, offsets, by_python)
    lines = np.flatnonzero(by_python)
    if not len(lines):
        return utf8[:count], offsets
    pieces: list[bytes] = []
    sizes = np.diff(offsets)
    done = 0
    for line in lines.tolist():
        text = points[starts[line] : ends[line]].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        piece = by_string(text).encode("utf-8", "surrogatepass")
        pieces += [utf8[offsets[done] : offsets[line]].tobytes(), piece]
        sizes[line] = len(piece)
        done = line + 1
    pieces.append(utf8[offsets[done] : count].tobytes())
    return np.frombuffer(b"".join(pieces), np.uint8), np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
