"""What `c4@datatrove` and `c4@tfds` ask of a chunk (a word of str.split), so that most lines need no look at their
characters: whether it may hold a citation or a part of a phrase, and whether a sentence ends with it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quality_signals.c4_tfds_sentences import abbreviation_keys, ends_sentence
from quality_signals.codepoints import LOWER, class_table
from quality_signals.compiled import njit
from quality_signals.text_batch import TextBatch

# Bits of a chunk.
BRACKET = 1  # holds [
CURLY = 2  # holds {
JAVASCRIPT = 4  # holds javascript, in any case
SENTENCE_ENDS = 1 << 12  # `c4_tfds_sentences.ends_sentence`
NO_BEGIN = 1 << 13  # begins with a lower-case letter or one of . ? !
# Phrases of several words: a chunk that ends in the first and one that begins with the second have a bit in common.
_FIRSTS, _SECONDS, _PAIRS = 4, 8, 15
_ENDINGS = {"lorem": 1, "terms": 2, "privacy": 4, "cookie": 4, "uses": 8, "use": 8}
_BEGINNINGS = {"ipsum": 1, "of": 2 | 8, "policy": 4, "cookies": 8}

_KELVIN = 0x212A  # beside ASCII the only character with one of these letters for its lower case


def _packed(words: dict[str, int]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Code points one behind the other, where the words begin and end in them, and their bits."""
    points = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32).copy()
    return points, np.cumsum([0, *map(len, words)]), np.array(list(words.values()), np.int32)


_LISTS = (_packed(_ENDINGS), _packed(_BEGINNINGS))
_JAVASCRIPT = _packed({"javascript": JAVASCRIPT})[0]


@njit(error_model="numpy")
def _stands(points, at, end, word, low, high):  # type: ignore[no-untyped-def]
    if at + high - low > end:
        return False
    for k in range(high - low):
        c = points[at + k]
        if 65 <= c <= 90:
            c |= np.uint32(32)
        elif c == _KELVIN:
            c = np.uint32(107)
        if c != word[low + k]:
            return False
    return True


@njit(error_model="numpy")
def _chunk_bits(points, offsets, table, endings, beginnings, javascript, abbreviations, bits):  # type: ignore[no-untyped-def]
    for chunk in range(len(offsets) - 1):
        start = offsets[chunk]
        end = offsets[chunk + 1]
        found = np.int32(0)
        for i in range(start, end):
            c = points[i]
            found |= (c == 91) * BRACKET | (c == 123) * CURLY
            if c | 32 == 106 and _stands(points, i, end, javascript, 0, len(javascript)):
                found |= JAVASCRIPT
        words, bounds, values = endings
        for number in range(len(values)):
            at = end - (bounds[number + 1] - bounds[number])
            if at >= start and _stands(points, at, end, words, bounds[number], bounds[number + 1]):
                found |= values[number] << _FIRSTS
        words, bounds, values = beginnings
        for number in range(len(values)):
            if _stands(points, start, end, words, bounds[number], bounds[number + 1]):
                found |= values[number] << _SECONDS
        c = points[start]
        if table[c] & LOWER or c == 46 or c == 63 or c == 33:
            found |= NO_BEGIN
        if ends_sentence(points, start, end, table, abbreviations):
            found |= SENTENCE_ENDS
        bits[chunk] = found


def chunk_bits(chunks: TextBatch) -> npt.NDArray[np.int32]:
    """Facts of `strings.Strings`: the bits above."""
    bits = np.empty(len(chunks), np.int32)
    _chunk_bits(chunks.points, chunks.offsets, class_table(), *_LISTS, _JAVASCRIPT, abbreviation_keys(), bits)
    return bits


@njit(error_model="numpy")
def line_bits(ids, first, last, bits):  # type: ignore[no-untyped-def]
    """Of the chunks first:last of a line: all bits, whether a phrase (but {) may stand in them, and the sentences."""
    every = np.int32(0)
    pairs = np.int32(0)
    before = np.int32(0)
    sentences = np.int64(last > first)
    for k in range(np.uint64(first), np.uint64(last)):
        found = bits[np.uint64(ids[k])]
        every |= found
        pairs |= (before >> _FIRSTS) & (found >> _SECONDS) & _PAIRS
        sentences += (before & SENTENCE_ENDS) != 0 and (found & NO_BEGIN) == 0
        before = found
    return every, pairs | (every & JAVASCRIPT), sentences
