"""What `c4@datatrove` and `c4@tfds` ask of a chunk (a word of str.split), so that most lines need no look at their
characters: whether it may hold a citation or a part of a phrase, and whether a sentence ends with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from quality_signals.c4_tfds_sentences import abbreviation_keys, ends_sentence
from quality_signals.chunks import chunks
from quality_signals.codepoints import LOWER, class_table, room
from quality_signals.compiled import njit
from quality_signals.line_views import python_lines
from quality_signals.strings import U
from quality_signals.text_batch import Ints, TextBatch

# Bits of a chunk.
BRACKET = 1  # holds [
CURLY = 2  # holds {
JAVASCRIPT = 4  # holds javascript, in any case
_SENTENCE_ENDS_AT, _NO_BEGIN_AT = 12, 13
SENTENCE_ENDS = 1 << _SENTENCE_ENDS_AT  # `c4_tfds_sentences.ends_sentence`
NO_BEGIN = 1 << _NO_BEGIN_AT  # begins with a lower-case letter or one of . ? !
HELD = 1 << 14  # of a line: it may hold a phrase
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
        # Few chunks have the last letter of one of the endings, or the first of one of the beginnings.
        c = points[end - 1] | np.uint32(32)
        for number in range(len(values) if c == 101 or c == 109 or c == 115 or c == 121 else 0):
            at = end - (bounds[number + 1] - bounds[number])
            if at >= start and _stands(points, at, end, words, bounds[number], bounds[number + 1]):
                found |= values[number] << _FIRSTS
        words, bounds, values = beginnings
        c = points[start] | np.uint32(32)
        for number in range(len(values) if c == 99 or c == 105 or c == 111 or c == 112 else 0):
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


@dataclasses.dataclass(frozen=True, slots=True)
class LineWords:
    """What stands in the lines of `line_views.python_lines`.

    firsts     [lines + 1] int64: line k has the words (chunks) firsts[k]:firsts[k + 1]
    longest    [lines] int64, characters of the longest
    bits       [lines] int32, all bits of the words, and HELD where a phrase (but {) may stand in them
    sentences  [lines] int32
    """

    firsts: Ints
    longest: Ints
    bits: npt.NDArray[np.int32]
    sentences: npt.NDArray[np.int32]


@njit(error_model="numpy")
def _line_words(ids, starts, ends, words, bits, line_ends, lines, firsts, longest, line_bits, sentences):  # type: ignore[no-untyped-def]
    """ids, starts, ends, words [texts + 1]: the words, which no line break crosses; bits: of all."""
    for text in range(len(lines) - 1):
        word = U(words[text])
        last = U(words[text + 1])
        for line in range(lines[text], lines[text + 1]):
            end = line_ends[line]
            firsts[line] = word
            most = np.int64(0)
            every = np.int32(0)
            pairs = np.int32(0)
            before = np.int32(0)
            count = np.int32(word < last and ends[word] <= end)
            while word < last and ends[word] <= end:
                found = bits[U(ids[word])]
                most = max(most, ends[word] - starts[word])
                every |= found
                pairs |= (before >> _FIRSTS) & (found >> _SECONDS)
                # A sentence goes on behind its end where the next word begins none.
                count += (before >> _SENTENCE_ENDS_AT) & ~(found >> _NO_BEGIN_AT) & 1
                before = found
                word += U(1)
            if pairs & _PAIRS or every & JAVASCRIPT:
                every |= HELD
            longest[line] = most
            line_bits[line] = every
            sentences[line] = count
    firsts[lines[len(lines) - 1]] = words[len(lines) - 1]


def line_words(texts: TextBatch) -> LineWords:
    """View."""
    lines, found = texts.view(python_lines), texts.view(chunks)
    firsts, longest = room(len(lines) + 1, np.int64), room(len(lines), np.int64)
    bits, sentences = room(len(lines), np.int32), room(len(lines), np.int32)
    of_words = (found.ids, found.starts, found.ends, found.offsets, found.vocabulary.chunks.facts(chunk_bits))
    _line_words(*of_words, lines.ends, lines.offsets, firsts, longest, bits, sentences)
    return LineWords(firsts, longest, bits, sentences)
