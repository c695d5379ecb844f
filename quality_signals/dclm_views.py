"""What `gopher@dclm` and `refinedweb@dclm` both read: lines, and what is in them, in one pass over the characters."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals import codepoints
from quality_signals.codepoints import class_table, room
from quality_signals.compiled import njit
from quality_signals.text_batch import Ints, TextBatch

# Bits of the table here.
SPACE = 1  # str.isspace
BREAK = 2  # where fastText's tokenize parts words: space, tab to carriage return, NUL
ALPHA = 4  # str.isalpha
ALNUM = 8  # str.isalnum
MARK = 16  # # . U+2026 and NUL, which need a closer look
UPPER = 32  # str.isupper
DIGIT = 64  # str.isdigit
DECIMAL = 128  # str.isdecimal, which is \d of re

NEWLINE = ord("\n")
_DOT = ord(".")
_ELLIPSIS = 0x2026
# dclm @ 361714b, content_filters.py, bullet_count_filter.
_BULLETS = np.array([ord(c) for c in "\u25cf\u2022*-"], dtype=np.uint32)
# content_filters.py, stop_word_filter; as little-endian bytes, so that a short word is one number.
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_STOP = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], dtype=np.uint32)

# Columns of Lines.counts and of Scan.numbers.
LINE_UPPER, LINE_DIGITS, LINE_WORDS, LINE_TOKENS = range(4)
TOKENS, WORDS, WORD_CHARS, NON_ALPHA, STOPS, SYMBOLS, BULLET_LINES, ELLIPSIS_LINES = range(8)


@lru_cache(maxsize=1)
def dclm_table() -> npt.NDArray[np.uint8]:
    """[1114112] uint8: the bits above for every code point."""
    classes = class_table()
    table = np.zeros(len(classes), dtype=np.uint8)
    for bit, source in (
        (SPACE, codepoints.SPACE),
        (ALPHA, codepoints.ALPHA),
        (ALNUM, codepoints.WORD),
        (UPPER, codepoints.UPPER),
    ):
        table[(classes & source) != 0] |= bit
    table[ord("_")] &= ~ALNUM & 0xFF
    for c in (0, 9, 10, 11, 12, 13, 32):
        table[c] |= BREAK
    for c in (0, _DOT, ord("#"), _ELLIPSIS):
        table[c] |= MARK
    for c in np.flatnonzero(classes & codepoints.NUMERIC).tolist():
        table[c] |= DIGIT * chr(c).isdigit() | DECIMAL * chr(c).isdecimal()
    return table


@njit(error_model="numpy")
def _spaced_dots(points, i, end):  # type: ignore[no-untyped-def]
    """Whether ". . ." stands at i."""
    return (
        i + 5 <= end
        and points[i] == _DOT
        and points[i + 1] == 32
        and points[i + 2] == _DOT
        and points[i + 3] == 32
        and points[i + 4] == _DOT
    )


@njit(error_model="numpy")
def _is_stop_word(points, start, end, stop_words):  # type: ignore[no-untyped-def]
    """Whether a word of two to four characters is a stop word in any case; only ASCII becomes one by str.lower.

    Without branches that words decide: they are what a pass over English costs.
    """
    length = end - start
    low = np.uint32(32)  # makes letters small, and letters of nothing else
    a = points[start] | low
    b = points[start + 1] | low
    c = points[start + 2] | low if length > 2 else np.uint32(0)
    d = points[start + 3] | low if length > 3 else np.uint32(0)
    key = a | b << np.uint32(8) | c << np.uint32(16) | d << np.uint32(24)
    found = False
    for word in stop_words:
        found |= key == word
    return found and (a | b | c | d) < 128


@njit(error_model="numpy")
def _scan(  # type: ignore[no-untyped-def]
    points, offsets, table, stop_words, bullets, first, starts, ends, inner_starts, inner_ends, counts, numbers
):
    """Fills the arrays of `Scan`; numbers come as zeros."""
    line = 0
    for text in range(len(offsets) - 1):
        i = offsets[text]
        stop = offsets[text + 1]
        start = i
        inner = -1  # where the line's first word starts and its last one ends
        inner_end = i
        upper = digits = words = tokens = 0
        in_token = False
        characters = plain = stops = symbols = bullet_lines = ellipsis_lines = 0
        dots = i  # where the next "..." and ". . ." may start: occurrences do not overlap
        spaced = i
        while True:
            if i == stop or points[i] == NEWLINE:
                starts[line] = start
                ends[line] = i
                if inner < 0:
                    inner_starts[line] = start
                    inner_ends[line] = start
                else:
                    inner_starts[line] = inner
                    inner_ends[line] = inner_end
                    for bullet in bullets:
                        bullet_lines += points[inner] == bullet
                    last = inner_end - 1
                    if points[last] == _ELLIPSIS:
                        ellipsis_lines += 1
                    elif points[last] == _DOT and last - inner >= 2:
                        three = points[last - 1] == _DOT and points[last - 2] == _DOT
                        ellipsis_lines += three or (last - inner >= 4 and _spaced_dots(points, last - 4, stop))
                counts[line, LINE_UPPER] = upper
                counts[line, LINE_DIGITS] = digits
                counts[line, LINE_WORDS] = words
                counts[line, LINE_TOKENS] = tokens
                numbers[text, TOKENS] += tokens
                numbers[text, WORDS] += words
                line += 1
                if i == stop:
                    break
                i += 1
                start = i
                inner = -1
                upper = digits = words = tokens = 0
                in_token = False
                continue
            bits = table[points[i]]
            if bits & SPACE:
                in_token = not bits & BREAK  # other white space begins a token, if none is open
                i += 1
                continue
            word = i
            if inner < 0:
                inner = i
            tokens += not in_token and (bits & ALNUM) != 0
            in_token = True
            kinds = np.uint8(0)
            while True:
                kinds |= bits
                if bits & MARK:
                    c = points[i]
                    if c == _DOT:
                        if i >= dots and i + 3 <= stop and points[i + 1] == _DOT and points[i + 2] == _DOT:
                            symbols += 1
                            dots = i + 3
                        if i >= spaced and _spaced_dots(points, i, stop):
                            symbols += 1
                            spaced = i + 5
                    elif c != 0:
                        symbols += 1
                    else:
                        following = table[points[i + 1]] if i + 1 < stop else np.uint8(BREAK)
                        in_token = not following & BREAK
                        tokens += in_token and (following & ALNUM) != 0
                i += 1
                if i == stop:
                    break
                bits = table[points[i]]
                if bits & SPACE:
                    break
            if kinds & (UPPER | DIGIT):
                for k in range(word, i):
                    bits = table[points[k]]
                    upper += (bits & UPPER) != 0
                    digits += (bits & DIGIT) != 0
            words += 1
            characters += i - word
            plain += not kinds & ALPHA
            if 2 <= i - word <= 4:
                stops += _is_stop_word(points, word, i, stop_words)
            inner_end = i
        first[text + 1] = line
        numbers[text, WORD_CHARS] = characters
        numbers[text, NON_ALPHA] = plain
        numbers[text, STOPS] = stops
        numbers[text, SYMBOLS] = symbols
        numbers[text, BULLET_LINES] = bullet_lines
        numbers[text, ELLIPSIS_LINES] = ellipsis_lines


@dataclasses.dataclass(frozen=True, slots=True)
class Scan:
    """Lines (between newlines; a text has one more than newlines) and counts of a batch.  All int64, counts int32.

    first                      [texts + 1] each text's first line
    starts, ends               [lines] in the code points of the batch
    inner_starts, inner_ends   [lines] the line stripped; both `starts` where it is blank
    counts                     [lines, 4] capitals, digits, words of str.split, tokens (fastText's, with a letter or
                               digit first)
    numbers                    [texts, 8] tokens, words, characters of the words, words without a letter, stop words,
                               symbols, bullet lines, ellipsis lines
    """

    first: Ints
    starts: Ints
    ends: Ints
    inner_starts: Ints
    inner_ends: Ints
    counts: npt.NDArray[np.int32]
    numbers: Ints


def scan(texts: TextBatch) -> Scan:
    """View: see `Scan`.  Time linear in the characters."""
    rows = len(texts)
    lines = rows + int(np.count_nonzero(texts.utf8 == NEWLINE))
    found = Scan(
        first=np.zeros(rows + 1, np.int64),
        starts=room(lines, np.int64),
        ends=room(lines, np.int64),
        inner_starts=room(lines, np.int64),
        inner_ends=room(lines, np.int64),
        counts=room(4 * lines, np.int32).reshape(lines, 4),
        numbers=np.zeros((rows, 8), np.int64),
    )
    _scan(
        texts.points,
        texts.offsets,
        dclm_table(),
        _STOP,
        _BULLETS,
        found.first,
        found.starts,
        found.ends,
        found.inner_starts,
        found.inner_ends,
        found.counts,
        found.numbers,
    )
    return found
