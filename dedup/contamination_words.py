"""Words of texts as methods of decontamination compare them, and where each stands in its text.

Three ways to words, each with its definition for one text beside the kernel for a batch:

    gpt3       `gpt3_words`        lower case, punctuation deleted, split at white space
    cosmopedia `cosmopedia_words`  NFD without nonspacing marks, lower case, runs of \\w
    datatrove  `simplify` and the rules of spaCy for English (dedup.simplified, quality_signals.word_views)

Lower case is taken character by character, with a final sigma as any other, so that no context is needed.
"""

from __future__ import annotations

import dataclasses
import re
import string
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.lower_case import lower_case
from dedup.simplified import BLANK, DIGIT, HIGH, ORDERED, after_number, simplified, tables
from quality_signals.codepoints import ASSIGNED, CodePoints
from quality_signals.compiled import njit
from quality_signals.text_batch import Ints, TextBatch
from quality_signals.word_views import datatrove_words

_DELETED = np.uint32(0xFFFFFFFF)
_APART = np.uint32(0xFFFFFFFE)
_CHARS = np.uint32(1 << 31)  # and an index: pool[index] characters follow there


@dataclasses.dataclass(frozen=True, slots=True)
class FoldedWords:
    """Words of a batch, one blank between those of a text, so that n words in a row are one stretch of points.

    points        uint32
    starts, ends  [words] int64: word k is points[starts[k]:ends[k]]
    offsets       [texts + 1] int64: text i has the words offsets[i]:offsets[i + 1]
    first, last   [words] int64: the word stands at first[k]:last[k] of its text, in code points; of `datatrove` in the
                  simplified text (see `original_places`)
    """

    points: CodePoints
    starts: Ints
    ends: Ints
    offsets: Ints
    first: Ints
    last: Ints


class Folding(NamedTuple):
    """codes [1114112] uint32: the character that a character becomes, or a code above; pool uint32."""

    codes: npt.NDArray[np.uint32]
    pool: npt.NDArray[np.uint32]


def _lower(text: str) -> str:
    return "".join(map(str.lower, text)).replace("ς", "σ")


def _is_punctuation(c: str) -> bool:
    return c in string.punctuation or unicodedata.category(c).startswith("P")


def gpt3_words(text: str) -> list[str]:
    """The definition: words between white space, lower case, without ASCII signs and punctuation of any script.

    GPT-3 (arXiv:2005.14165, appendix C) says "a lowercase, whitespace delimited word with no punctuation" and no more;
    a word of nothing but punctuation is none here.
    """
    return "".join(c for c in _lower(text) if not _is_punctuation(c)).split()


def cosmopedia_words(text: str) -> list[str]:
    """The definition: huggingface/cosmopedia @ 1c0d3e1, decontamination/decontaminate.py, tokenize; sigma apart."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return re.findall(r"\w+", _lower(plain))


def _gpt3_char(c: str) -> str | None:
    if c.isspace():
        return None
    return "" if _is_punctuation(c) else "".join(x for x in _lower(c) if not _is_punctuation(x))


def _cosmopedia_char(c: str) -> str | None:
    plain = _lower("".join(x for x in unicodedata.normalize("NFD", c) if unicodedata.category(x) != "Mn"))
    words = re.findall(r"\w+", plain)
    return "".join(words) if words or not plain else None


def _folding(fold: Callable[[str], str | None]) -> Folding:
    codes = np.arange(0x110000, dtype=np.uint32)
    if fold(chr(0xF0000)) is None:  # private use, for all that is outside of ASSIGNED
        codes[:] = _APART
    pool: list[int] = []
    for block in ASSIGNED:
        for point in block:
            became = fold(chr(point))
            if became is None:
                codes[point] = _APART
            elif not became:
                codes[point] = _DELETED
            elif len(became) == 1:
                codes[point] = ord(became)
            else:
                codes[point] = int(_CHARS) | len(pool)
                pool += [len(became), *map(ord, became)]
    return Folding(codes, np.array(pool or [0], np.uint32))


@lru_cache(maxsize=1)
def gpt3_folding() -> Folding:
    """Built once a process, in about 0.5 s."""
    return _folding(_gpt3_char)


@lru_cache(maxsize=1)
def cosmopedia_folding() -> Folding:
    return _folding(_cosmopedia_char)


@njit(error_model="numpy")
def _fold(points, offsets, codes, pool, folded, starts, ends, first, last, words_of):  # type: ignore[no-untyped-def]
    out = np.int64(0)
    words = 0
    for text in range(len(offsets) - 1):
        begin = offsets[text]
        inside = False
        behind = np.int64(0)
        for i in range(begin, offsets[text + 1]):
            code = codes[points[i]]
            if code == _APART:
                if inside:
                    ends[words] = out
                    last[words] = behind
                    words += 1
                    folded[out] = 32
                    out += 1
                    inside = False
                continue
            if code == _DELETED:
                continue
            if not inside:
                starts[words] = out
                first[words] = i - begin
                inside = True
            if code < _CHARS:
                folded[out] = code
                out += 1
            else:
                at = code & np.uint32(0x7FFFFFFF)
                for k in range(pool[at]):
                    folded[out] = pool[at + 1 + k]
                    out += 1
            behind = i - begin + 1
        if inside:
            ends[words] = out
            last[words] = behind
            words += 1
            folded[out] = 32
            out += 1
        words_of[text + 1] = words
    return words, out


def _folded(texts: TextBatch, folding: Folding) -> FoldedWords:
    points = texts.points
    # No character becomes more than 4, and only ones beyond ASCII more than one.
    folded = np.empty(len(points) + 3 * int(np.count_nonzero(points >= 0x80)) + len(texts), np.uint32)
    room = len(points) // 2 + len(texts) + 1
    starts, ends, first, last = (np.empty(room, np.int64) for _ in range(4))
    offsets = np.zeros(len(texts) + 1, np.int64)
    words, size = _fold(points, texts.offsets, *folding, folded, starts, ends, first, last, offsets)
    return FoldedWords(folded[:size], starts[:words], ends[:words], offsets, first[:words], last[:words])


def gpt3(texts: TextBatch) -> FoldedWords:
    """View: `gpt3_words` of every text."""
    return _folded(texts, gpt3_folding())


def cosmopedia(texts: TextBatch) -> FoldedWords:
    """View: `cosmopedia_words` of every text."""
    return _folded(texts, cosmopedia_folding())


@njit(error_model="numpy")
def _spaced(points, starts, ends, spaced, new_starts, new_ends):  # type: ignore[no-untyped-def]
    out = np.int64(0)
    for word in range(len(starts)):
        new_starts[word] = out
        for i in range(starts[word], ends[word]):
            spaced[out] = points[i]
            out += 1
        new_ends[word] = out
        spaced[out] = 32
        out += 1
    return out


def english(texts: TextBatch) -> TextBatch:
    """View: the simplified texts without their languages: the reference splits all by the rules for English."""
    plain = texts.view(simplified)
    return TextBatch(pa.RecordBatch.from_arrays([plain.texts], ["text"]), np.ones(len(plain), np.bool_))


def datatrove(texts: TextBatch) -> FoldedWords:
    """View: the words of datatrove 0.10.1 for English."""
    plain = texts.view(english)
    words = plain.view(datatrove_words, "en")
    spaced = np.empty(int((words.ends - words.starts).sum()) + len(words.starts), np.uint32)
    starts, ends = np.empty(len(words.starts), np.int64), np.empty(len(words.starts), np.int64)
    _spaced(words.points, words.starts, words.ends, spaced, starts, ends)
    begins = np.repeat(plain.offsets[:-1], words.counts)
    return FoldedWords(spaced, starts, ends, words.offsets, words.starts - begins, words.ends - begins)


@njit(error_model="numpy")
def _origins(points, start, end, codes, pool, marks, origins):  # type: ignore[no-untyped-def]
    """For every character that `dedup.simplified` makes of points[start:end] the place that it comes from."""
    out = 0
    blank = -1
    i = start
    while i < end:
        at = i
        code = codes[points[i]]
        i += 1
        if code == BLANK:
            blank = at
            continue
        if blank >= 0:
            if out:
                origins[out] = blank - start
                out += 1
            blank = -1
        if code < HIGH or code == ORDERED:
            origins[out] = at - start
            out += 1
        elif code == DIGIT:
            i = after_number(points, i, end, codes, marks)
            origins[out] = at - start
            out += 1
        else:
            for _ in range(pool[code & np.uint32(0xFFFFFF)]):
                origins[out] = at - start
                out += 1
    origins[out] = end - start
    return out


def lowered_to_original(texts: TextBatch, text: int, places: Ints) -> Ints:
    """Places in `text.lower()` as places in the text: only the dotted capital I becomes longer, by one."""
    own = texts.points[texts.offsets[text] : texts.offsets[text + 1]]
    dotted = np.flatnonzero(own == 0x130)
    if not len(dotted):
        return places
    return places - np.searchsorted(dotted + np.arange(len(dotted)), places, side="left")


def original_places(texts: TextBatch, text: int, places: Ints) -> Ints:
    """Places in the simplified text as places in the text itself; within a word of marks that NFD reorders to the
    nearest character."""
    points, offsets = texts.view(lower_case)
    start, end = int(offsets[text]), int(offsets[text + 1])
    origins = np.empty(4 * (end - start) + 2, np.int64)
    count = _origins(points, start, end, *tables(), origins)
    return lowered_to_original(texts, text, origins[np.minimum(places, count)])


VIEWS: dict[str, Callable[[TextBatch], FoldedWords]] = {
    "gpt3": gpt3,
    "cosmopedia": cosmopedia,
    "datatrove": datatrove,
}
__all__ = ["VIEWS", "FoldedWords", "cosmopedia_words", "gpt3_words", "lowered_to_original", "original_places"]
