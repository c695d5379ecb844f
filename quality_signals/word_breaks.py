"""Words between Unicode word boundaries, as uniseg 0.8.1 finds them (`gopher@dclm`).

The reference names no version of uniseg; 0.8 was the current one when DCLM-baseline was made.  Its rules are those of
UAX #29 without ZWJ, Hebrew and the quotation marks: "don't" with the ASCII apostrophe is two words and the
apostrophe, with U+2019 it is one word, and every Hebrew letter is a word.  Later releases (0.9) join all of these.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import WORD, class_table, room
from quality_signals.compiled import njit
from quality_signals.text_batch import Ints, TextBatch

# Classes of the table; Word_Break values that no rule here asks for are OTHER.
OTHER, BREAK, CR, LF, EXTEND, FLAG, KATAKANA, LETTER, MID_BOTH, MID_LETTER, MID_NUMBER, NUMBER, JOIN = range(13)
_CLASSES = {
    "Newline": BREAK,
    "CR": CR,
    "LF": LF,
    "Extend": EXTEND,
    "Format": EXTEND,
    "Regional_Indicator": FLAG,
    "Katakana": KATAKANA,
    "ALetter": LETTER,
    "MidNumLet": MID_BOTH,
    "MidLetter": MID_LETTER,
    "MidNum": MID_NUMBER,
    "Numeric": NUMBER,
    "ExtendNumLet": JOIN,
}
_NONE = -1  # before the first and behind the last unit


@lru_cache(maxsize=1)
def break_table() -> npt.NDArray[np.int8]:
    """[1114112] int8: class of every code point, from Word_Break of Unicode 15.0."""
    data = resources.files("quality_signals").joinpath("data", "word_breaks.json")
    table = np.zeros(0x110000, dtype=np.int8)
    for value, lines in json.loads(data.read_text(encoding="utf-8")).items():
        for part in " ".join(lines).split():
            low, _, high = part.partition("-")
            table[int(low, 16) : int(high or low, 16) + 1] = _CLASSES[value]
    return table


@njit(error_model="numpy")
def _joined(before, last, this, following):  # type: ignore[no-untyped-def]
    """Whether there is no boundary between the units `last` and `this`.

    A unit is a character with the EXTEND characters behind it; before and following are the units around.
    """
    if last == OTHER or this == OTHER:
        return False
    if last == CR and this == LF:
        return True
    if BREAK <= last <= LF or BREAK <= this <= LF:
        return False
    if last == LETTER:
        if this == LETTER or this == NUMBER or this == JOIN:
            return True
        if following == LETTER and (this == MID_LETTER or this == MID_BOTH):
            return True
    elif last == NUMBER:
        if this == NUMBER or this == LETTER or this == JOIN:
            return True
        if following == NUMBER and (this == MID_NUMBER or this == MID_BOTH):
            return True
    elif last == MID_LETTER:
        return before == LETTER and this == LETTER
    elif last == MID_NUMBER:
        return before == NUMBER and this == NUMBER
    elif last == MID_BOTH:
        return before == this and (this == LETTER or this == NUMBER)
    elif last == KATAKANA:
        return this == KATAKANA or this == JOIN
    elif last == JOIN:
        return this == JOIN or this == LETTER or this == NUMBER or this == KATAKANA
    elif last == FLAG:
        return this == FLAG
    return False


_HASHED = np.uint64(1 << 63)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@njit(error_model="numpy")
def word_key(points, start, end):  # type: ignore[no-untyped-def]
    """A number for a word: up to eight ASCII characters themselves, else a hash with the highest bit set."""
    if end - start <= 8:
        key = np.uint64(0)
        others = np.uint32(0)
        for k in range(end - start):
            c = points[start + k]
            others |= c
            key |= np.uint64(c) << np.uint64(8 * k)
        if others < 128:
            return key
    key = np.uint64(end - start)
    for i in range(start, end):
        key = (key ^ np.uint64(points[i])) * _ODD
        key ^= key >> np.uint64(29)
    return key | _HASHED


@njit(error_model="numpy")
def _break_words(points, offsets, breaks, table, starts, ends, keys, first):  # type: ignore[no-untyped-def]
    """Fills starts, ends and keys of the words whose first character is alphanumeric, and each text's first word.

    Returns the number of words.
    """
    words = 0
    for text in range(len(offsets) - 1):
        i = offsets[text]
        end = offsets[text + 1]
        begin = i
        before = _NONE
        last = _NONE
        this = _NONE if i == end else breaks[points[i]]
        while begin < end:
            j = i
            following = _NONE
            if i < end:
                j = i + 1
                if not BREAK <= this <= LF:
                    while j < end and breaks[points[j]] == EXTEND:
                        j += 1
                following = _NONE if j == end else breaks[points[j]]
            if i == end or (i > begin and not _joined(before, last, this, following)):
                c = points[begin]
                if table[c] & WORD and c != 95:
                    starts[words] = begin
                    ends[words] = i
                    keys[words] = word_key(points, begin, i)
                    words += 1
                begin = i
                if i == end:
                    break
            before = last
            last = this
            if this == LETTER and following == LETTER:
                before = LETTER
                while following == LETTER or following == EXTEND:  # nothing else can happen in a row of letters
                    j += 1
                    following = _NONE if j == end else breaks[points[j]]
            this = following
            i = j
        first[text + 1] = words
    return words


def break_words(texts: TextBatch) -> tuple[Ints, Ints, npt.NDArray[np.uint64], Ints]:
    """View: the words between word boundaries that start with a letter or digit (str.isalnum).

    returns starts, ends [words] in the code points of the batch, their `word_key`s, and [texts + 1] each text's
    first word.  Time linear in the characters.
    """
    most = len(texts.points)  # of these pages only those of the words found are touched
    starts, ends, keys = room(most, np.int64), room(most, np.int64), room(most, np.uint64)
    first = np.zeros(len(texts) + 1, dtype=np.int64)
    words = _break_words(texts.points, texts.offsets, break_table(), class_table(), starts, ends, keys, first)
    return starts[:words], ends[:words], keys[:words], first
