"""datatrove's simplify_text for all texts of a batch: what its MinHash takes the words of.

Reference: datatrove 0.10.1, utils/text.py.  In this order: lower case; a number, with one decimal part, becomes 0;
punctuation becomes a blank; white space is squeezed and stripped; NFD without nonspacing marks (Mn); stripped again.
A mark that stood alone leaves two blanks.

All but the first two steps depend on the character alone, so they are a table.  The order of marks within NFD could
only show where marks other than Mn stand in it (Balinese, Javanese); such texts take the slow way.  Unicode data are
those of the running Python, which the reference takes too, save for digits (`regex`, which knows newer scripts).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.lower_case import lower_case
from quality_signals.codepoints import ASSIGNED, SYMBOLS
from quality_signals.compiled import njit
from quality_signals.dsir_digests import put_utf8
from quality_signals.text_batch import TextBatch

# Marks before a decimal part: full stop, comma, the Arabic ones, and the decimal separator key symbols.
_DECIMAL_MARKS = ".,\u060c\u066b\u2396\u2397\u2398"
_NUMBER = re.compile(rf"\d+(?:[{_DECIMAL_MARKS}]\d+)?")
_SPACES = re.compile(r"\s+")
_BLANKS = str.maketrans(dict.fromkeys(SYMBOLS, " "))

# An entry below HIGH is the one character that results.  Others:
HIGH = 1 << 31
BLANK = np.uint32(HIGH)
DIGIT = np.uint32(HIGH | 1 << 24)
ORDERED = np.uint32(HIGH | 2 << 24)  # a mark whose place in NFD may show
_CHARS = np.uint32(HIGH | 3 << 24)  # and an index: pool[index] characters follow there


def simplify(text: str) -> str:
    """The definition, for one text."""
    text = _NUMBER.sub("0", text.lower()).translate(_BLANKS)
    text = unicodedata.normalize("NFD", _SPACES.sub(" ", text.strip()))
    return "".join(c for c in text if unicodedata.category(c) != "Mn").strip()


class Tables(NamedTuple):
    """codes [1114112] uint32 and pool uint32 as above; marks [1114112] bool, what may precede a decimal part."""

    codes: npt.NDArray[np.uint32]
    pool: npt.NDArray[np.uint32]
    marks: npt.NDArray[np.bool_]


@functools.cache
def tables() -> Tables:
    """Built once a process, in about 0.2 s."""
    codes = np.arange(0x110000, dtype=np.uint32)
    pool: list[int] = [0]  # entry 0: no characters
    for block in ASSIGNED:
        for point in block:
            c = chr(point)
            if c.isdecimal():  # also the full-width 1, which is on the list of punctuation
                codes[point] = DIGIT
            elif point in _BLANKS or c.isspace():
                codes[point] = BLANK
            elif unicodedata.combining(c) or not unicodedata.is_normalized("NFD", c) or unicodedata.category(c) == "Mn":
                whole = unicodedata.normalize("NFD", c)
                left = [ord(part) for part in whole if unicodedata.category(part) != "Mn"]
                if any(unicodedata.combining(chr(part)) for part in left):
                    codes[point] = ORDERED
                elif len(left) == 1:
                    codes[point] = left[0]
                elif not left:
                    codes[point] = _CHARS
                else:
                    codes[point] = int(_CHARS) | len(pool)
                    pool += [len(left), *left]
    marks = np.zeros(0x110000, np.bool_)
    marks[[ord(c) for c in _DECIMAL_MARKS]] = True
    return Tables(codes, np.array(pool, np.uint32), marks)


@njit(inline="always", error_model="numpy")
def after_number(points, i, end, codes, marks):  # type: ignore[no-untyped-def]
    """Behind a number of which the digit before i is the first: its digits, and a decimal part."""
    while i < end and codes[points[i]] == DIGIT:
        i += 1
    if i + 1 < end and marks[points[i]] and codes[points[i + 1]] == DIGIT:
        i += 1
        while i < end and codes[points[i]] == DIGIT:
            i += 1
    return i


@njit(error_model="numpy")
def _simplify(points, offsets, codes, pool, marks, utf8, ends, slow):  # type: ignore[no-untyped-def]
    """points: lower-cased.  Texts that take the slow way are marked, and empty."""
    out = np.int64(0)
    for text in range(len(offsets) - 1):
        start = out
        blank = False  # a blank is due before the next character
        i = offsets[text]
        end = offsets[text + 1]
        while i < end:
            c = points[i]
            code = codes[c]
            i += 1
            if code == BLANK:
                blank = True
                continue
            if code == ORDERED:
                slow[text] = True
                out = start
                break
            if blank:
                if out > start:
                    utf8[out] = 32
                    out += 1
                blank = False
            if code < HIGH:
                out = put_utf8(utf8, out, code)
            elif code == DIGIT:
                i = after_number(points, i, end, codes, marks)
                utf8[out] = 48
                out += 1
            else:
                at = code & np.uint32(0xFFFFFF)
                for k in range(pool[at]):
                    out = put_utf8(utf8, out, pool[at + 1 + k])
        if not slow[text]:
            while out > start and utf8[out - 1] == 32:
                out -= 1
        ends[text + 1] = out
    return out


def _column(points: npt.NDArray[np.uint32], offsets: npt.NDArray[np.int64]) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    codes, pool, marks = tables()
    # A Hangul syllable of 3 bytes becomes 3 letters of 3 bytes; other characters grow less.
    wide = int(np.count_nonzero(points >= 0x80))
    utf8 = np.empty(2 * len(points) + 8 * wide + 1, np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    slow = np.zeros(len(offsets) - 1, np.bool_)
    size = _simplify(points, offsets, codes, pool, marks, utf8, ends, slow)
    column = pa.LargeStringArray.from_buffers(len(slow), pa.py_buffer(ends), pa.py_buffer(utf8[:size]))
    return column, slow


def simplified(texts: TextBatch) -> TextBatch:
    """View: the simplified texts, with the languages of the texts.  Linear time."""
    column, slow = _column(*texts.view(lower_case))
    if slow.any():
        given = np.flatnonzero(slow)
        replaced = column.to_pylist()
        for text in given.tolist():
            replaced[text] = simplify(texts.texts[text].as_py())
        column = pa.array(replaced, pa.large_string())
    languages = pa.array(texts.column("language"), pa.string())
    batch = pa.RecordBatch.from_arrays([column, languages], ["text", "language"])
    return TextBatch(batch, np.ones(len(texts), np.bool_))
