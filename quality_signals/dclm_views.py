"""What `gopher@dclm` and `refinedweb@dclm` both read: lines, and what is in them, in one pass over the characters."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals import codepoints
from quality_signals.chunks import chunks
from quality_signals.codepoints import class_table, room
from quality_signals.compiled import njit
from quality_signals.line_views import line_chunks, split_lines
from quality_signals.packed_counts import BIG, MOST, PackedCounts, add_to, bits_of, place_of, take_out
from quality_signals.strings import U
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

_DOT = ord(".")
_ELLIPSIS = 0x2026
# dclm @ 361714b, content_filters.py, bullet_count_filter.
_BULLETS = np.array([ord(c) for c in "\u25cf\u2022*-"], dtype=np.uint32)
# content_filters.py, stop_word_filter; as little-endian bytes, so that a short word is one number.
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_STOP = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], dtype=np.uint32)

# Columns of Lines.counts and of Scan.numbers.
LINE_UPPER, LINE_DIGITS, LINE_WORDS, LINE_TOKENS, LINE_CART = range(5)
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


# Columns of the facts of a chunk, and bits of the last.
_TOKENS, _PLAIN, _STOP_WORD, _SYMBOLS, _UPPER, _DIGITS, _CHARS, _BITS = range(8)
_FACTS = 8
_BEGINS, _LAST_DOT, _CART = 1, 2, 4


@njit(error_model="numpy")
def _chunk_facts(points, offsets, table, stop_words, facts):  # type: ignore[no-untyped-def]
    for chunk in range(len(offsets) - 1):
        start = offsets[chunk]
        stop = offsets[chunk + 1]
        upper = digits = symbols = 0
        tokens = np.int64((table[points[start]] & ALNUM) != 0)
        begins = tokens
        kinds = np.uint8(0)
        dots = start  # where the next "..." may start: occurrences do not overlap
        for i in range(start, stop):
            c = points[i]
            bits = table[c]
            kinds |= bits
            upper += (bits & UPPER) != 0
            digits += (bits & DIGIT) != 0
            if bits & MARK:
                if c == _DOT:
                    if i >= dots and i + 3 <= stop and points[i + 1] == _DOT and points[i + 2] == _DOT:
                        symbols += 1
                        dots = i + 3
                elif c != 0:
                    symbols += 1
                elif i + 1 < stop:  # NUL parts tokens
                    tokens += (table[points[i + 1]] & ALNUM) != 0
        facts[chunk, _TOKENS] = tokens
        facts[chunk, _PLAIN] = not kinds & ALPHA
        facts[chunk, _STOP_WORD] = 2 <= stop - start <= 4 and _is_stop_word(points, start, stop, stop_words)
        facts[chunk, _SYMBOLS] = symbols
        facts[chunk, _UPPER] = upper
        facts[chunk, _DIGITS] = digits
        facts[chunk, _CHARS] = stop - start
        # "in" of "items in cart"; its i has two more forms (re.IGNORECASE)
        a = points[start]
        cart = stop - start == 2 and points[start + 1] | 32 == 110 and (a | 32 == 105 or a == 0x130 or a == 0x131)
        facts[chunk, _BITS] = _BEGINS * begins | _LAST_DOT * (points[stop - 1] == _DOT) | _CART * cart


def chunk_facts(chunks: TextBatch) -> npt.NDArray[np.int32]:
    """Facts of `strings.Strings`, [chunks, _FACTS]: tokens, where one begins with the chunk; whether it has no letter;
    whether it is a stop word; symbols but ". . ."; capitals; digits; characters; and bits: whether a token begins with
    it that has a letter or digit first; whether its last character is a dot; whether it is "in"."""
    facts = np.empty((len(chunks), _FACTS), np.int32)
    _chunk_facts(chunks.points, chunks.offsets, dclm_table(), _STOP, facts)
    return facts


@njit(error_model="numpy")
def _scan(  # type: ignore[no-untyped-def]
    points,
    text_offsets,
    table,
    bullets,
    starts,
    ends,
    offsets,
    firsts,
    ids,
    chunk_starts,
    chunk_ends,
    packed,
    big,
    inner_starts,
    inner_ends,
    counts,
    numbers,
):
    """Fills the last four arrays of `Scan`; numbers come as zeros.

    firsts: [lines + 1] first chunks of the lines.  ids, chunk_starts, chunk_ends: the chunks.  packed, big: of
    `packed_counts.PackedCounts`.
    """
    of_line = np.empty(_FACTS, np.int64)
    of_text = np.empty(_FACTS, np.int64)
    for text in range(len(offsets) - 1):
        begin = text_offsets[text]
        stop = text_offsets[text + 1]
        of_text[:] = 0
        spaced_symbols = all_tokens = bullet_lines = ellipsis_lines = np.int64(0)
        spaced = np.int64(0)  # where the next ". . ." may start: occurrences do not overlap
        for line in range(offsets[text], offsets[text + 1]):
            first = firsts[line]
            last = firsts[line + 1] - 1
            inside = np.int64(0)  # chunks that begin no token: white space that is no break begins it
            all_bits = U(0)
            of_line[:] = 0
            for part in range(U(first), U(last + 1), U(MOST)):
                even = odd = U(0)
                for k in range(part, min(part + U(MOST), U(last + 1))):
                    chunk = U(ids[k])
                    row = packed[chunk, 0]
                    bits = bits_of(row)
                    if bits & U(BIG):
                        place = place_of(row)
                        for column in range(_BITS):
                            of_line[column] += big[place, column]
                        bits = U(big[place, _BITS])
                        row = U(0)
                    even, odd = add_to(even, odd, row)
                    all_bits |= bits
                    start = chunk_starts[k]
                    if start > begin:
                        c = points[U(start - 1)]
                        if c != 32 and not table[c] & BREAK:
                            inside += np.int64(bits & U(_BEGINS))
                    if bits & U(_LAST_DOT) and U(last) - k >= U(2):
                        i = chunk_ends[k] - 1
                        if i >= spaced and _spaced_dots(points, i, stop):
                            spaced_symbols += 1
                            spaced = i + 5
                take_out(even, odd, of_line, 0)
            for column in range(_BITS):
                of_text[column] += of_line[column]
            tokens = of_line[_TOKENS] - inside
            if first > last:
                inner_starts[line] = starts[line]
                inner_ends[line] = starts[line]
            else:
                low = chunk_starts[first]
                high = chunk_ends[last]
                inner_starts[line] = low
                inner_ends[line] = high
                c = points[low]
                for bullet in bullets:
                    bullet_lines += c == bullet
                at = high - 1
                if points[at] == _ELLIPSIS:
                    ellipsis_lines += 1
                elif points[at] == _DOT and at - low >= 2:
                    three = points[at - 1] == _DOT and points[at - 2] == _DOT
                    ellipsis_lines += three or (at - low >= 4 and _spaced_dots(points, at - 4, stop))
            counts[line, LINE_UPPER] = of_line[_UPPER]
            counts[line, LINE_DIGITS] = of_line[_DIGITS]
            counts[line, LINE_WORDS] = last + 1 - first
            counts[line, LINE_TOKENS] = tokens
            counts[line, LINE_CART] = (all_bits & U(_CART)) != 0
            all_tokens += tokens
        numbers[text, TOKENS] = all_tokens
        numbers[text, WORDS] = firsts[offsets[text + 1]] - firsts[offsets[text]]
        numbers[text, WORD_CHARS] = of_text[_CHARS]
        numbers[text, NON_ALPHA] = of_text[_PLAIN]
        numbers[text, STOPS] = of_text[_STOP_WORD]
        numbers[text, SYMBOLS] = of_text[_SYMBOLS] + spaced_symbols
        numbers[text, BULLET_LINES] = bullet_lines
        numbers[text, ELLIPSIS_LINES] = ellipsis_lines


@dataclasses.dataclass(frozen=True, slots=True)
class Scan:
    """Lines (between newlines; a text has one more than newlines) and counts of a batch.  All int64, counts int32.

    first                      [texts + 1] each text's first line
    starts, ends               [lines] in the code points of the batch
    inner_starts, inner_ends   [lines] the line stripped; both `starts` where it is blank
    counts                     [lines, 5] capitals, digits, words of str.split, tokens (fastText's, with a letter or
                               digit first), whether "in" is one of the words
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
    lines, found = texts.view(split_lines), texts.view(chunks)
    packed: PackedCounts = found.vocabulary.remembered(PackedCounts, chunk_facts)
    of_lines = (room(len(lines), np.int64), room(len(lines), np.int64))
    counts = room(5 * len(lines), np.int32).reshape(len(lines), 5)
    numbers = np.zeros((len(texts), 8), np.int64)
    _scan(
        texts.points,
        texts.offsets,
        dclm_table(),
        _BULLETS,
        lines.starts,
        lines.ends,
        lines.offsets,
        texts.view(line_chunks),
        found.ids,
        found.starts,
        found.ends,
        *packed.of(found.vocabulary.chunks),
        *of_lines,
        counts,
        numbers,
    )
    return Scan(lines.offsets, lines.starts, lines.ends, *of_lines, counts, numbers)
