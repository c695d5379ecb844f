"""What the rules of `c4_datatrove` ask of lines: words, the end, citations, and phrases."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from quality_signals.c4_chunks import BRACKET, CURLY, HELD, line_words
from quality_signals.chunks import chunks
from quality_signals.codepoints import SPACE, class_table, room
from quality_signals.compiled import njit
from quality_signals.line_views import Lines, python_lines
from quality_signals.sentences import DECIMAL, mark_table
from quality_signals.strings import U
from quality_signals.text_batch import Ints, TextBatch

# c4_filters.py: what drops a page, a line, and a line again.
_PHRASES = (
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
LOREM_BITS, JAVASCRIPT_BITS, POLICY_BITS, CURLY_BITS = 1, 2, 0xFC, 256
_PHRASE_POINTS = np.frombuffer("".join(_PHRASES).encode(), np.uint8).copy()
_PHRASE_BOUNDS = np.cumsum([0, *map(len, _PHRASES)])
# A rare letter of each phrase, looked for first, and where it stands in it.
_KELVIN = 0x212A
_RARE = "mvmvkkkk"
_RARE_PLACES = np.array([phrase.index(letter) for phrase, letter in zip(_PHRASES, _RARE, strict=True)])


def _phrases_with(letters: str) -> list[int]:
    """[128]: for each ASCII character, in either case, the bits of the phrases whose letter it is."""
    return [sum((chr(c).lower() == letter) << i for i, letter in enumerate(letters)) for c in range(128)]


# [2, 128] bits of the phrases that have a character as their rare letter, and of those that have it before that; `{`
# is one character anywhere.
_RARE_BITS = np.array(
    [
        _phrases_with(_RARE),
        _phrases_with("".join(phrase[at - 1] for phrase, at in zip(_PHRASES, _RARE_PLACES, strict=True))),
    ]
)
_RARE_BITS[0, ord("{")] = CURLY_BITS
_RARE_BITS[1] |= CURLY_BITS
_LOWER = np.array([ord(chr(c).lower()) for c in range(128)], np.uint8)
CITATION_PATTERN = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_EDIT = np.frombuffer(b"edit]", np.uint8).copy()
_NEEDED = np.frombuffer(b"citation needed]", np.uint8).copy()


@njit(error_model="numpy")
def _is_at(points, at, end, word):  # type: ignore[no-untyped-def]
    if end - at < len(word):
        return False
    for i in range(len(word)):
        if points[at + i] != word[i]:
            return False
    return True


@njit(error_model="numpy")
def citation_end(points, marks, at, end):  # type: ignore[no-untyped-def]
    """End of a citation `\\[\\d*]|\\[edit]|\\[citation needed]` that begins at `at`, or 0."""
    if points[at] != 91:
        return 0
    i = at + 1
    while i < end and marks[points[i]] & DECIMAL:
        i += 1
    if i < end and points[i] == 93:
        return i + 1
    if _is_at(points, at + 1, end, _EDIT):
        return at + 1 + len(_EDIT)
    if _is_at(points, at + 1, end, _NEEDED):
        return at + 1 + len(_NEEDED)
    return 0


@njit(error_model="numpy")
def _lower(c):  # type: ignore[no-untyped-def]
    """The lower-case form as far as the phrases ask: the Kelvin sign is the only one that becomes one of their
    letters but the capitals (dotted capital I becomes two characters, and no phrase has the second)."""
    if c < 128:
        return _LOWER[c]
    return np.uint8(107) if c == _KELVIN else np.uint8(0)


@njit(error_model="numpy")
def _phrases(points, start, end):  # type: ignore[no-untyped-def]
    """Bits of the phrases in a line, and of `{`."""
    found = np.int64(0)
    before = np.int64(CURLY_BITS)
    for i in range(start, end):
        c = points[i]
        if c >= 128:
            c = np.uint32(107 if c == _KELVIN else 0)
        sought = _RARE_BITS[0, c] & before
        before = _RARE_BITS[1, c]
        if not sought:
            continue
        found |= sought & CURLY_BITS
        for number in range(len(_RARE_PLACES)):
            if not sought >> number & 1:
                continue
            first = _PHRASE_BOUNDS[number]
            last = _PHRASE_BOUNDS[number + 1]
            at = i - _RARE_PLACES[number]
            if at < start or at + last - first > end:
                continue
            k = 0
            while first + k < last and _lower(points[at + k]) == _PHRASE_POINTS[first + k]:
                k += 1
            if first + k == last:
                found |= 1 << number
    return found


@njit(error_model="numpy")
def _clean(points, classes, marks, start, end, buffer, solid):  # type: ignore[no-untyped-def]
    """Puts the line points[start:end] without its citations into `buffer`; the characters left, -1 without one.

    solid: moved to the first place and the end of what is no white space then, both 0 where there is nothing.
    """
    i = start
    while i < end and (points[i] != 91 or not citation_end(points, marks, i, end)):
        i += 1
    if i == end:
        return -1
    i = start
    left = 0
    first = 0
    last = 0
    while i < end:
        behind = citation_end(points, marks, i, end)
        if behind:
            i = behind
            continue
        buffer[left] = points[i]
        left += 1
        i += 1
        if not classes[points[i - 1]] & SPACE:
            first = i - 1 if not last else first
            last = i
    if left == end - start:
        return -1
    solid[0] = first
    solid[1] = last
    return left


@njit(error_model="numpy", forceinline=True)
def _marked(points, start, end):  # type: ignore[no-untyped-def]
    """Whether points[start:end] end in . ? ! \" ' but not in three dots."""
    if end == start:
        return False
    c = points[end - 1]
    if c == 46:
        return end - start < 3 or points[end - 2] != 46 or points[end - 3] != 46
    return c == 63 or c == 33 or c == 34 or c == 39


@njit(error_model="numpy")
def _line_facts(  # type: ignore[no-untyped-def]
    points,
    classes,
    marks,
    word_starts,
    word_ends,
    firsts,
    longest,
    bits,
    whole_ends,
    starts,
    ends,
    citations,
    buffer,
    cleaned,
    solid,
    facts,
):
    """Fills starts and ends of the lines without white space around them; a blank line begins and ends where it ended.

    word_starts, word_ends: the white-space-separated words; firsts, longest, bits: of `c4_chunks.line_words`.
    cleaned [lines] characters left where a line has citations, else -1; solid [lines, 2] where the line without
    citations and white space around begins and ends, both 0 where nothing is left; facts [lines, 4]: words and the
    characters of the longest, before citations go; whether the line ends in an end mark, and bits of its phrases,
    once they are gone.
    """
    for line in range(len(starts)):
        first, behind = U(firsts[line]), U(firsts[line + 1])
        start = end = whole_ends[line]
        solid[line, 0] = solid[line, 1] = 0
        if behind > first:
            start = word_starts[first]
            end = word_ends[behind - U(1)]
            solid[line, 0] = start
            solid[line, 1] = end
        starts[line] = start
        ends[line] = end
        cleaned[line] = -1
        facts[line, 0] = behind - first
        facts[line, 1] = longest[line]
        every = bits[line]
        if citations and every & BRACKET:
            left = _clean(points, classes, marks, start, end, buffer, solid[line])
            if left >= 0:
                cleaned[line] = left
                facts[line, 2] = _marked(buffer, 0, left)
                facts[line, 3] = _phrases(buffer, 0, left)
                continue
        facts[line, 2] = _marked(points, start, end)
        facts[line, 3] = CURLY_BITS if every & CURLY else 0
        if every & HELD:
            facts[line, 3] = _phrases(points, start, end)


@dataclasses.dataclass(frozen=True, slots=True)
class LineFacts:
    """Lines of a batch and what the rules ask of them, for all annotators that delete the same citations."""

    lines: Lines  # with white space around them
    starts: Ints  # [lines] without it
    ends: Ints
    cleaned: Ints  # [lines] characters left once citations are gone, -1 without one
    solid: Ints  # [lines, 2] where the line, without citations and white space around, begins and ends
    facts: Ints  # [lines, 4] words, characters of the longest, whether an end mark is last, bits of phrases
    sentences: dict[str, Ints]  # default language -> [lines], -1 where nobody asked yet


def line_facts(texts: TextBatch, citations: bool) -> LineFacts:
    """View: citations: whether they are deleted."""
    lines = texts.view(python_lines)
    size = len(lines)
    starts, ends, cleaned = room(size, np.int64), room(size, np.int64), room(size, np.int64)
    solid, facts = room(2 * size, np.int64).reshape(size, 2), room(4 * size, np.int64).reshape(size, 4)
    words, found = texts.view(chunks), texts.view(line_words)
    _line_facts(
        texts.points,
        class_table(),
        mark_table(),
        words.starts,
        words.ends,
        found.firsts,
        found.longest,
        found.bits,
        lines.ends,
        starts,
        ends,
        citations,
        np.empty(int((lines.ends - lines.starts).max(initial=0)), np.uint32),
        cleaned,
        solid,
        facts,
    )
    return LineFacts(lines, starts, ends, cleaned, solid, facts, {})
