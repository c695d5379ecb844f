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

from quality_signals.chunks import Ids, chunks
from quality_signals.codepoints import WORD, class_table, room
from quality_signals.compiled import njit
from quality_signals.strings import Division
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


@njit(error_model="numpy")
def _break_words(points, offsets, breaks, table, starts, ends, first):  # type: ignore[no-untyped-def]
    """Fills starts and ends of the words whose first character is alphanumeric, and each text's first word.

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


def break_words(texts: TextBatch) -> tuple[Ints, Ints, Ints]:
    """View: the words between word boundaries that start with a letter or digit (str.isalnum).

    returns starts and ends [words] in the code points of the batch, and [texts + 1] each text's first word.  Time
    linear in the characters.
    """
    most = len(texts.points)  # of these pages only those of the words found are touched
    starts, ends = room(most, np.int64), room(most, np.int64)
    first = np.zeros(len(texts) + 1, dtype=np.int64)
    words = _break_words(texts.points, texts.offsets, break_table(), class_table(), starts, ends, first)
    return starts[:words], ends[:words], first


def _divide(texts: TextBatch) -> tuple[npt.NDArray[np.uint32], Ints, Ints, Ints]:
    return texts.points, *texts.view(break_words)


def _begins_extended(chunks: TextBatch) -> npt.NDArray[np.bool_]:
    """Facts of `strings.Strings`: whether a chunk begins with a letter or digit that belongs to a character before it
    (U+FF9E, U+FF9F): a word of its own only where a text or a line begins."""
    first = chunks.points[chunks.offsets[:-1]]
    return (break_table()[first] == EXTEND) & (class_table()[first] & WORD != 0)


def numbered_break_words(texts: TextBatch) -> tuple[Ids, Ints]:
    """View: the same words as numbers in the vocabulary of the texts' chunks, and [texts + 1] each text's first.

    White space is a boundary, so the words of a chunk are the same in every text, but for a rare first character.
    """
    found = texts.view(chunks)
    rare = np.flatnonzero(found.vocabulary.chunks.facts(_begins_extended))
    if len(rare) and np.isin(found.ids, rare).any():
        starts, ends, first = texts.view(break_words)
        return found.vocabulary.words.numbers_at(texts.points, starts, ends), first
    division: Division = found.vocabulary.remembered(Division, _divide)
    return division.words(found.ids, found.offsets)
