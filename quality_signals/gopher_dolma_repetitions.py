"""Repeated strings as dolma's taggers find them (`repetitions_v1@dolma`, `paragraph_repetitions_v1@dolma`).

A repetition is a match of `(.+?)(\\s?\\1){3,}`: a string without newline four times or more, with at most one white
space between; matches are looked for from left to right, the shortest string first, as many times as it goes.  dolma
1.2.1, taggers/repetitions/repetitions_taggers.py.  The second of the two looks at every paragraph (a line with its
newline) alone.  Signals only: no configuration of dolma's has a threshold for them.

Python's re takes time that grows with the square of a line or worse.  Here substrings of 3, 6, 12, ... characters are
numbered by their content: two strings of p characters, m <= p < 2 m, are equal if their first m and their last m
characters have the same numbers.  So a repetition of p characters at a place needs the same number m to 2 m characters
further, and there are at most eight such places where no shorter string repeats.  Places whose substring stands once
in the text drop out as m grows.  Time: n log n in the worst case; memory: 40 bytes a character of the longest text.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.codepoints import SPACE, class_table, mix
from quality_signals.compiled import njit
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

Floats = npt.NDArray[np.float64]

# As RedPajama's spans: the score is a double.
SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("score", pa.float64())]))
SCHEMA = pa.schema(
    [
        field(
            "repetition", SPANS, "strings that are repeated; the score: how often, counted from the left", "code points"
        ),
        field("doc_max_score_repetition", pa.float64(), "the largest score, 0 without a repetition"),
        field("doc_max_length_repetition", pa.float64(), "characters of the longest repetition, 0 without one"),
        field("doc_frac_repetition", pa.float64(), "characters of all repetitions / characters; 0 without one"),
    ]
)

_NEWLINE = ord("\n")
_SHORT = 6  # strings below are compared character by character
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(error_model="numpy")
def _number(keys, names):  # type: ignore[no-untyped-def]
    """Numbers equal keys alike, -1 for _NONE and for keys that stand once; returns the places left."""
    active = 0
    for key in keys:
        active += key != _NONE
    capacity = 16
    while capacity < 2 * active:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots = np.full(capacity, -1, dtype=np.int32)
    seen = np.empty(active, dtype=np.uint64)
    once = np.ones(active, dtype=np.bool_)
    distinct = 0
    for i in range(len(keys)):
        key = keys[i]
        names[i] = -1
        if key == _NONE:
            continue
        slot = mix(key * np.uint64(0x9E3779B97F4A7C15)) & mask
        while slots[slot] >= 0 and seen[slots[slot]] != key:
            slot = (slot + np.uint64(1)) & mask
        number = slots[slot]
        if number < 0:
            number = distinct
            slots[slot] = number
            seen[number] = key
            distinct += 1
        else:
            once[number] = False
        names[i] = number
    left = 0
    for i in range(len(names)):
        if names[i] >= 0:
            if once[names[i]]:
                names[i] = -1
            else:
                left += 1
    return left


@njit(error_model="numpy")
def _equal(points, names, m, a, b, p):  # type: ignore[no-untyped-def]
    """Whether p characters at a and at b are equal; m: the characters that `names` number, 0: none."""
    if b + p > len(points):
        return False
    if m:
        return names[a] >= 0 and names[a] == names[b] and names[a + p - m] >= 0 and names[a + p - m] == names[b + p - m]
    for k in range(p):
        if points[a + k] != points[b + k]:
            return False
    return True


@njit(error_model="numpy")
def _next(points, blanks, names, m, s, p, at):  # type: ignore[no-untyped-def]
    """Where the string points[s:s + p], after at most one white space at `at`, ends; -1 if it is not there.

    With white space first: both are possible only for one white space, which `_begins` sees to.
    """
    if at < len(points) and blanks[at] and _equal(points, names, m, s, at + 1, p):
        return at + 1 + p
    if _equal(points, names, m, s, at, p):
        return at + p
    return -1


@njit(error_model="numpy")
def _begins(points, blanks, names, m, s, p):  # type: ignore[no-untyped-def]
    """Where the fourth of four equal strings of p characters from s on ends, or -1."""
    if p == 1 and blanks[s]:
        # One white space, between which others may be skipped: as re tries it, skipping first.
        for choice in range(8):
            at = s + 1
            for k in range(3):
                at += 1 - (choice >> (2 - k) & 1)  # a white space to skip
                if at >= len(points) or points[at] != points[s] or not blanks[at - 1]:
                    at = -1
                    break
                at += 1
            if at >= 0:
                return at
        return -1
    at = s + p
    for _ in range(3):
        at = _next(points, blanks, names, m, s, p, at)
        if at < 0:
            return -1
    return at


@njit(error_model="numpy")
def _short(points, blanks, names, periods):  # type: ignore[no-untyped-def]
    """Sets periods [characters] to the shortest string below _SHORT that is repeated from there, else 0."""
    n = len(points)
    for s in range(n):
        periods[s] = 0
        for p in range(1, _SHORT):
            if s + 4 * p > n or points[s + p - 1] == _NEWLINE:
                break
            c = points[s]
            if points[s + p] == c or (blanks[s + p] and s + p + 1 < n and points[s + p + 1] == c):
                if _begins(points, blanks, names, 0, s, p) >= 0:
                    periods[s] = p
                    break


@njit(error_model="numpy")
def _long(points, blanks, names, m, behind, periods):  # type: ignore[no-untyped-def]
    """The same for strings of m to 2 m - 1 characters.  behind: room, [characters] int32."""
    n = len(points)
    last = np.full(n + 1, -1, dtype=np.int32)
    for i in range(n - 1, -1, -1):
        if names[i] >= 0:
            behind[i] = last[names[i]]
            last[names[i]] = i
    for s in range(n):
        if names[s] < 0 or periods[s]:
            continue
        other = behind[s]
        done = m - 1
        while other >= 0 and other - s <= 2 * m and periods[s] == 0:
            d = other - s
            for p in range(max(d - 1, done + 1), min(d, 2 * m - 1) + 1):
                done = p
                if _begins(points, blanks, names, m, s, p) >= 0:
                    periods[s] = p
                    break
            other = behind[other]


@njit(error_model="numpy")
def _occurrences(points, s, p, end):  # type: ignore[no-untyped-def]
    """str.count of points[s:s + p] in points[s:end]; linear, by the borders of the string."""
    borders = np.zeros(p + 1, dtype=np.int32)
    k = 0
    for i in range(1, p):
        while k > 0 and points[s + i] != points[s + k]:
            k = borders[k]
        k += points[s + i] == points[s + k]
        borders[i + 1] = k
    count = 0
    k = 0
    for i in range(s, end):
        while k > 0 and points[i] != points[s + k]:
            k = borders[k]
        k += points[i] == points[s + k]
        if k == p:
            count += 1
            k = 0
    return count


@njit(error_model="numpy")
def _repetitions(all_points, offsets, table, paragraphs, starts, ends, scores, bounds):  # type: ignore[no-untyped-def]
    """Fills the repetitions of every text, text i those from bounds[i] to bounds[i + 1]; their offsets are its own.

    paragraphs: no repetition goes beyond a newline.  starts, ends, scores need room for a quarter of the characters.
    """
    count = 0
    for text in range(len(offsets) - 1):
        points = all_points[offsets[text] : offsets[text + 1]]
        n = len(points)
        blanks = np.empty(n, dtype=np.bool_)
        keys = np.empty(n, dtype=np.uint64)
        names = np.empty(n, dtype=np.int32)
        periods = np.empty(n, dtype=np.int32)
        for i in range(n):
            blanks[i] = (table[points[i]] & SPACE) != 0 and not (paragraphs and points[i] == _NEWLINE)
        _short(points, blanks, names, periods)
        for i in range(n):
            keys[i] = _NONE
            if i + 3 <= n and points[i] != _NEWLINE and points[i + 1] != _NEWLINE and points[i + 2] != _NEWLINE:
                keys[i] = (
                    np.uint64(points[i]) << np.uint64(42)
                    | np.uint64(points[i + 1]) << np.uint64(21)
                    | np.uint64(points[i + 2])
                )
        left = _number(keys, names)
        m = _SHORT
        while left and 4 * m <= n:
            for i in range(n):
                keys[i] = _NONE
                half = m // 2
                if names[i] >= 0 and i + half < n and names[i + half] >= 0:
                    keys[i] = np.uint64(names[i]) << np.uint64(32) | np.uint64(names[i + half])
            left = _number(keys, names)
            if left:
                _long(points, blanks, names, m, keys.view(np.int32)[:n], periods)
            m *= 2
        s = 0
        while s < n:
            p = periods[s]
            if p == 0:
                s += 1
                continue
            end = _begins(points, blanks, names, 0, s, p)
            while True:
                at = _next(points, blanks, names, 0, s, p, end)
                if at < 0:
                    break
                end = at
            starts[count] = s
            ends[count] = end
            scores[count] = _occurrences(points, s, p, end)
            count += 1
            s = end
        bounds[text + 1] = count


def repetitions(texts: TextBatch, paragraphs: bool) -> tuple[Ints, Ints, Floats, Ints]:
    """View: starts, ends and scores of all repetitions, and [texts + 1] where those of each text begin."""
    room = len(texts.points) // 4 + 1
    starts, ends, scores = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.float64)
    bounds = np.zeros(len(texts) + 1, np.int64)
    _repetitions(texts.points, texts.offsets, class_table(), paragraphs, starts, ends, scores, bounds)
    count = int(bounds[-1])
    return starts[:count], ends[:count], scores[:count], bounds


@dataclasses.dataclass(frozen=True)
class RepetitionsDolma:
    """Repeated strings with dolma's readings.

    paragraphs: look at every paragraph alone.  Documents of other `kinds` (a null kind counts as prose) are not
    looked at: every column null.
    """

    paragraphs: bool = False
    kinds: tuple[str, ...] = PROSE_KINDS

    schema: ClassVar[pa.Schema] = SCHEMA

    @property
    def name(self) -> str:
        return "paragraph_repetitions_v1@dolma" if self.paragraphs else "repetitions_v1@dolma"

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        starts, ends, scores, bounds = texts.view(repetitions, self.paragraphs)
        counts = np.diff(bounds)
        owners = np.repeat(np.arange(len(texts)), counts)
        most, longest, together = (np.zeros(len(texts)) for _ in range(3))
        np.maximum.at(most, owners, scores)
        np.maximum.at(longest, owners, ends - starts)
        np.add.at(together, owners, ends - starts)
        columns = [starts.astype(np.int32), ends.astype(np.int32), scores]
        structs = pa.StructArray.from_arrays([pa.array(column) for column in columns], fields=list(SPANS.value_type))
        spans = pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), structs, type=SPANS)
        fractions = together / np.maximum(texts.lengths, 1)
        found = [spans, pa.array(most), pa.array(longest), pa.array(fractions)]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in found], schema=SCHEMA)
