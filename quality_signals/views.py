"""The views of texts that the rpv2 signals are computed from, for whole batches: raw lines and normalised words.

Raw lines end behind each `\\n`, and only there.  Normalised words are those of RedPajama-V2: ASCII punctuation
deleted, lower case, NFD, split at white space.
"""

from __future__ import annotations

import dataclasses
import string
import unicodedata

import numpy as np
import numpy.typing as npt

from quality_signals.chunks import byte_places, chunks, newline_points
from quality_signals.codepoints import (
    ALPHA,
    MARK,
    NUMERIC,
    WORD,
    CodePoints,
    class_table,
    code_points,
    equal_ranges,
    mix,
    room,
)
from quality_signals.compiled import njit
from quality_signals.rpv2_fold import (
    CASED,
    FOLD_CHARS,
    FOLD_DELETE,
    FOLD_LIMIT,
    FOLD_SIGMA,
    HIGH,
    IGNORED,
    fold_tables,
)
from quality_signals.strings import Division
from quality_signals.text_batch import TextBatch

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

# A word of at most this many characters below 256 is packed into its key.
PACKED_CHARS = 8
_SEED, _FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)  # of the hash of longer words
FEWEST_SLOTS = 1024  # for the distinct words of a text
_SORTED_BY_INSERTION = 16  # marks in a row; more are sorted by counting
# As an index it spares numba the question whether it is negative: a tenth of the time of the loops over characters.
U = np.uint64
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclasses.dataclass(frozen=True, slots=True)
class Lines:
    """Lines of the texts of a batch, each with its newline; a last line without one counts if not empty.

    ends     [lines] int64, exclusive, in code points of the batch; a line starts where the one before ends
    offsets  [texts + 1] int64: the lines of text i are offsets[i]:offsets[i + 1]
    """

    ends: Ints
    offsets: Ints

    @property
    def starts(self) -> Ints:
        """[lines], in code points of the batch: lines tile the texts."""
        return np.append(0, self.ends[:-1])[: len(self.ends)]


@njit(error_model="numpy")
def _raw_lines(newlines, before, offsets, ends, lines):  # type: ignore[no-untyped-def]
    line = 0
    for text in range(len(offsets) - 1):
        start = offsets[text]
        for newline in range(before[text], before[text + 1]):
            start = newlines[newline] + 1
            ends[line] = start
            line += 1
        if start < offsets[text + 1]:
            ends[line] = offsets[text + 1]
            line += 1
        lines[text + 1] = line
    return line


def raw_lines(texts: TextBatch) -> Lines:
    newlines, before = texts.view(newline_points), texts.view(byte_places).newlines_before
    ends, offsets = room(len(newlines) + len(texts), np.int64), np.zeros(len(texts) + 1, np.int64)
    count = _raw_lines(newlines, before, texts.offsets, ends, offsets)
    return Lines(ends[:count], offsets)


@dataclasses.dataclass(frozen=True, slots=True)
class NormWords:
    """Normalised words of the texts of a batch; word i is points[starts[i]:ends[i]].

    points       [characters] uint32: the words, one space (32) behind each; so the words a, ..., b of one text joined
                 by spaces are points[starts[a]:ends[b]]
    starts, ends [words] int64
    offsets      [texts + 1] int64: the words of text i are offsets[i]:offsets[i + 1]
    ids          [words] int32: number of the word among the distinct words of its text, in order of first occurrence
    distinct     [texts + 1] int64: the distinct words of text i are distinct[i]:distinct[i + 1] in the next four
    keys, codes  [distinct words] uint64, int32: see `word_key`
    first        [distinct words] int64: index of the first occurrence
    counts       [distinct words] int32
    line_offsets [lines + 1] int64: the words of line i of `raw_lines` are line_offsets[i]:line_offsets[i + 1]
    line_numeric [lines] int32: characters of the normalised line with str.isnumeric
    """

    points: CodePoints
    starts: Ints
    ends: Ints
    offsets: Ints
    ids: Numbers
    distinct: Ints
    keys: npt.NDArray[np.uint64]
    codes: Numbers
    first: Ints
    counts: Numbers
    line_offsets: Ints
    line_numeric: Numbers

    def joined_lengths(self, offsets: Ints) -> Ints:
        """Characters of the words offsets[i]:offsets[i + 1] joined by single spaces; 0 without words."""
        behind = np.append(self.starts, len(self.points))  # where each word starts: one behind the space before it
        return np.maximum(np.diff(behind[offsets]) - 1, 0)


@njit(error_model="numpy")
def word_key(points, start, end):  # type: ignore[no-untyped-def]
    """Key and code of the string points[start:end].

    Up to PACKED_CHARS characters below 256 are the bytes of the key, and the code is 2 * length + 1: equal keys and
    codes then mean equal strings.  Otherwise the key is a hash of the code points, and the code 2 * length.
    """
    key = U(0)
    if end - start <= PACKED_CHARS:
        wide = np.uint32(0)
        for i in range(start, end):
            key = key << U(8) | U(points[U(i)])
            wide |= points[U(i)]
        if wide < 256:
            return key, np.int32(2 * (end - start) + 1)
    key = _SEED
    i = start
    while i + 1 < end:
        key = (key ^ (U(points[U(i)]) | U(points[U(i + 1)]) << U(32))) * _FACTOR
        key ^= key >> U(32)
        i += 2
    if i < end:
        key = (key ^ U(points[U(i)])) * _FACTOR
    return key, np.int32(2 * (end - start))


@njit(error_model="numpy")
def _order_marks(points, start, end, classes, places):  # type: ignore[no-untyped-def]
    """Canonical order: every row of marks sorted by combining class, equal ones in their order; linear time.

    places: int64, [257], overwritten.
    """
    i = start
    while i < end:
        first = i
        while i < end and classes[points[U(i)]] != 0:
            i += 1
        if i - first <= _SORTED_BY_INSERTION:
            for k in range(first + 1, i):
                c = points[U(k)]
                j = k
                while j > first and classes[points[U(j - 1)]] > classes[c]:
                    points[U(j)] = points[U(j - 1)]
                    j -= 1
                points[U(j)] = c
        else:
            for k in range(257):
                places[U(k)] = 0
            row = np.empty(i - first, np.uint32)
            for k in range(first, i):
                c = points[U(k)]
                row[U(k - first)] = c
                places[U(classes[c]) + U(1)] += 1
            for k in range(256):
                places[U(k + 1)] += places[U(k)]
            for c in row:
                at = U(classes[c])
                points[U(first + places[at])] = c
                places[at] += 1
        i += 1


@njit(error_model="numpy")
def _small_sigma(points, at, start, end, fold, context):  # type: ignore[no-untyped-def]
    """Lower case of the capital sigma points[at] of the text points[start:end]: final behind a letter and not before
    one.

    As `str.lower` decides on the text without ASCII punctuation; white space, which has no case, ends the search.
    """
    behind = False
    for i in range(at - 1, start - 1, -1):
        c = points[i]
        if context[c] == IGNORED or (c < FOLD_LIMIT and fold[c] == HIGH | FOLD_DELETE << 24):
            continue
        behind = context[c] == CASED
        break
    if not behind:
        return np.uint32(0x03C3)
    for i in range(at + 1, end):
        c = points[i]
        if context[c] == IGNORED or (c < FOLD_LIMIT and fold[c] == HIGH | FOLD_DELETE << 24):
            continue
        return np.uint32(0x03C3) if context[c] == CASED else np.uint32(0x03C2)
    return np.uint32(0x03C2)


@njit(error_model="numpy")
def _grow(slots, capacity, base, keys, distinct):  # type: ignore[no-untyped-def]
    """Puts the numbers from base on anew, into slots of twice the capacity."""
    slots[:capacity] = 0
    mask = U(2 * capacity - 1)
    for number in range(base, distinct):
        slot = mix(keys[number]) & mask
        while slots[slot] > base:
            slot = (slot + U(1)) & mask
        slots[slot] = number + 1


@njit(error_model="numpy")
def _norm_words(
    points, offsets, tables, table, line_offsets_of, norm, slots, places, words_of, per_word, per_distinct, per_line
):
    # type: ignore[no-untyped-def]
    """Fills the arrays of `NormWords`; returns the numbers of characters, of words and of distinct words.

    Distinct words are found by open addressing.  A slot holds 1 + the number of the word in the batch; what earlier
    texts left there is too small to be of this one, so slots are not cleared from text to text.  places: int64, [257].
    """
    fold, chars, classes, context = tables
    starts, ends, ids = per_word
    distinct_of, keys, codes, first, counts = per_distinct
    line_offsets, line_numeric = per_line
    # Typed, so that numba compiles what is called with them only once.
    out = np.int64(0)
    distinct = np.int64(0)
    words = 0
    for text in range(len(offsets) - 1):
        i = offsets[text]
        end = offsets[text + 1]
        line = line_offsets_of[text]
        numeric = 0
        marks = 0
        start = out
        key = U(0)
        wide = np.uint32(0)
        base = distinct
        capacity = np.int64(FEWEST_SLOTS)
        while True:
            special = np.uint32(0)
            while i < end:
                c = points[U(i)]
                f = fold[c] if c < FOLD_LIMIT else c
                if f >= HIGH:
                    special = f
                    break
                norm[U(out)] = f
                out += 1
                key = key << U(8) | U(f)
                wide |= f
                i += 1
            kind = (special >> np.uint32(24)) & np.uint32(0x7F)
            if special and kind:
                if kind == FOLD_SIGMA:
                    f = _small_sigma(points, i, offsets[text], end, fold, context)
                    norm[out] = f
                    out += 1
                    wide |= f
                elif kind > FOLD_CHARS:
                    at = special & np.uint32(0xFFFFFF)
                    for k in range(kind - FOLD_CHARS):
                        f = chars[at + k]
                        norm[out] = f
                        out += 1
                        key = key << U(8) | U(f)
                        wide |= f
                        numeric += (table[f] & NUMERIC) != 0
                        marks += (table[f] & MARK) != 0
                i += 1
                continue
            if out > start:  # a word ends at white space or with the text
                size = out - start
                if marks > 1:
                    _order_marks(norm, start, out, classes, places)
                marks = 0
                code = np.int32(2 * size + 1)
                if size > PACKED_CHARS or wide > 255:
                    key, code = word_key(norm, start, out)
                slot = mix(key) & U(capacity - 1)
                while True:
                    number = np.int64(slots[slot]) - 1
                    if number < base:
                        number = distinct
                        slots[slot] = number + 1
                        keys[number] = key
                        codes[number] = code
                        first[number] = words
                        counts[number] = 0
                        distinct += 1
                        if 2 * (distinct - base) > capacity:
                            _grow(slots, capacity, base, keys, distinct)
                            capacity *= 2
                        break
                    if keys[U(number)] == key and codes[U(number)] == code:
                        if code & 1 or equal_ranges(norm, starts[first[number]], norm, start, size):
                            break
                    slot = (slot + U(1)) & U(capacity - 1)
                counts[U(number)] += 1
                starts[U(words)] = start
                ends[U(words)] = out
                ids[U(words)] = number - base
                words += 1
                norm[U(out)] = 32
                out += 1
                start = out
            key = U(0)
            wide = np.uint32(0)
            if i >= end:
                break
            if special & np.uint32(1):
                line_numeric[line] = numeric
                numeric = 0
                line += 1
                line_offsets[line] = words
            i += 1
        if line < line_offsets_of[text + 1]:
            line_numeric[line] = numeric
            line_offsets[line + 1] = words
        words_of[text + 1] = words
        distinct_of[text + 1] = distinct
    return out, words, distinct


def norm_words(texts: TextBatch) -> NormWords:
    """Time linear in the characters; memory up to 40 bytes a character where every word has one, else about 10."""
    points, offsets = texts.points, texts.offsets
    lines = texts.view(raw_lines)
    # Every word is followed by a space or ends its text; what is not ASCII becomes at most four characters.
    largest = len(points) + 3 * int(np.count_nonzero(points >= 128)) + len(texts)
    most = (len(points) + len(texts)) // 2 + 1
    norm = room(largest, np.uint32)
    # Twice the distinct words, whose number is at most half the characters, and again twice by doubling.
    slots = slots_for(max(int(texts.lengths.max(initial=0)) + 1, FEWEST_SLOTS // 2))
    words_of, distinct_of = np.zeros(len(texts) + 1, np.int64), np.zeros(len(texts) + 1, np.int64)
    starts, ends, ids = room(most, np.int64), room(most, np.int64), room(most, np.int32)
    keys, codes = room(most, np.uint64), room(most, np.int32)
    first, counts = room(most, np.int64), room(most, np.int32)
    line_offsets = np.zeros(len(lines.ends) + 1, np.int64)
    line_numeric = room(len(lines.ends), np.int32)
    out, words, distinct = _norm_words(
        points, offsets, fold_tables(), class_table(), lines.offsets, norm, slots,
        np.empty(257, np.int64), words_of, (starts, ends, ids),
        (distinct_of, keys, codes, first, counts), (line_offsets, line_numeric),
    )  # fmt: skip
    return NormWords(
        norm[:out], starts[:words], ends[:words], words_of, ids[:words], distinct_of, keys[:distinct],
        codes[:distinct], first[:distinct], counts[:distinct], line_offsets, line_numeric,
    )  # fmt: skip


def _divide(texts: TextBatch) -> tuple[CodePoints, Ints, Ints, Ints]:
    norm = texts.view(norm_words)
    return norm.points, norm.starts, norm.ends, norm.offsets


def numbered_norm_words(texts: TextBatch) -> tuple[Numbers, Ints]:
    """View: the words of `norm_words` as numbers in the vocabulary of the texts' chunks, and [texts + 1] each text's
    first.  A chunk is normalised alike in every text: no rule looks beyond white space."""
    found = texts.view(chunks)
    division: Division = found.vocabulary.remembered(Division, _divide)
    return division.words(found.ids, found.offsets)


def slots_for(words: int) -> Numbers:
    """Zeros: the least power of two of at least twice the words (and 16)."""
    return np.zeros(max(16, 1 << (2 * words - 1).bit_length()) if words else 16, np.int32)


def normalised(text: str) -> str:
    """`text` without ASCII punctuation, lower-cased, in NFD; white space as it stood.  For entries of lists."""
    return unicodedata.normalize("NFD", text.translate(_PUNCTUATION).lower())


@njit()
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
