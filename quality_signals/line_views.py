"""Lines of all texts of a batch, as several families read them: Python's line breaks, or newlines only."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from quality_signals.chunks import byte_places, newline_points
from quality_signals.codepoints import mix, room
from quality_signals.compiled import njit
from quality_signals.strings import U, load8
from quality_signals.text_batch import TextBatch

Ints = npt.NDArray[np.int64]

_ODD, _FACTOR = U(0x9E3779B97F4A7C15), U(0xFF51AFD7ED558CCD)


@dataclasses.dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a batch in order, without their breaks.

    starts, ends   [lines] int64, in code points of the batch: line k is points[starts[k]:ends[k]]
    offsets        [texts + 1] int64: text i has the lines offsets[i]:offsets[i + 1]
    """

    starts: Ints
    ends: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def counts(self) -> Ints:
        """[texts] lines."""
        return np.diff(self.offsets)


@njit(error_model="numpy")
def _breaks(c):  # type: ignore[no-untyped-def]
    """Whether str.splitlines ends a line at this character."""
    if c < 0x1F:
        return 10 <= c <= 13 or c >= 0x1C
    return c == 0x85 or c == 0x2028 or c == 0x2029


@njit(error_model="numpy")
def _has_rare_breaks(utf8):  # type: ignore[no-untyped-def]
    """Whether a line break of str.splitlines other than the newline may stand in the UTF-8."""
    found = False
    one, two = np.uint8(1), np.uint8(2)
    for i in range(U(len(utf8))):
        c = utf8[i]
        found |= (np.uint8(c - np.uint8(11)) <= two) | (np.uint8(c - np.uint8(28)) <= two)
    if found or len(utf8) < 2:
        return found
    for i in range(U(len(utf8) - 1)):
        # U+0085 is C2 85, U+2028 and U+2029 are E2 80 A8 and E2 80 A9
        c, d = utf8[i], utf8[i + U(1)]
        found |= ((c == 0xC2) & (d == 0x85)) | ((c == 0x80) & ((d & ~one) == 0xA8))
    return found


@njit(error_model="numpy")
def _find_lines(utf8, byte_offsets, points, offsets, newlines, before, as_python, starts, ends, lines):  # type: ignore[no-untyped-def]
    """Fills lines [texts + 1], and as far as there is room starts and ends.  Returns the number of lines.

    as_python: str.splitlines, else split at newlines.  newlines: places in points, before[i]:before[i + 1] in text i.
    """
    room = len(starts)
    line = 0
    for text in range(len(offsets) - 1):
        start = offsets[text]
        end = offsets[text + 1]
        if as_python and _has_rare_breaks(utf8[byte_offsets[text] : byte_offsets[text + 1]]):
            i = start
            while i < end:
                c = points[i]
                i += 1
                if not _breaks(c):
                    continue
                if line < room:
                    starts[line] = start
                    ends[line] = i - 1
                line += 1
                if c == 13 and i < end and points[i] == 10:
                    i += 1
                start = i
        else:
            for newline in range(before[text], before[text + 1]):
                if line < room:
                    starts[line] = start
                    ends[line] = newlines[newline]
                line += 1
                start = newlines[newline] + 1
        if start < end or not as_python:
            if line < room:
                starts[line] = start
                ends[line] = end
            line += 1
        lines[text + 1] = line
    return line


def _lines(texts: TextBatch, as_python: bool) -> Lines:
    found = texts.view(byte_places)
    offsets = np.zeros(len(texts) + 1, np.int64)
    most = len(found.newlines) + len(texts)  # enough but for rare breaks
    texts_of = (texts.utf8, texts.byte_offsets, texts.points, texts.offsets)
    while True:
        starts, ends = room(most, np.int64), room(most, np.int64)
        newlines = (texts.view(newline_points), found.newlines_before)
        count = _find_lines(*texts_of, *newlines, as_python, starts, ends, offsets)
        if count <= most:
            return Lines(starts[:count], ends[:count], offsets)
        most = count


def python_lines(texts: TextBatch) -> Lines:
    """Lines of str.splitlines(): they end at \\n, \\r, \\r\\n, \\v, \\f, \\x1c-\\x1e, \\x85, U+2028, U+2029.

    A text without a character has none, and a break at the end of the text starts none.  To be asked for as
    `texts.view(python_lines)`.
    """
    return _lines(texts, True)


def split_lines(texts: TextBatch) -> Lines:
    """Lines of text.split("\\n"): one more than newlines, so at least one a text."""
    return _lines(texts, False)


@njit(error_model="numpy")
def _line_chunks(before, chunk_offsets, newline_chunks, firsts):  # type: ignore[no-untyped-def]
    line = 0
    for text in range(len(before) - 1):
        firsts[line] = chunk_offsets[text]
        for newline in range(before[text], before[text + 1]):
            line += 1
            firsts[line] = newline_chunks[newline]
        line += 1
    firsts[line] = chunk_offsets[len(before) - 1]


def line_chunks(texts: TextBatch) -> Ints:
    """View: line k of `split_lines` has the chunks firsts[k]:firsts[k + 1]; [lines + 1] int64."""
    found = texts.view(byte_places)
    firsts = room(len(found.newlines) + len(texts) + 1, np.int64)
    _line_chunks(found.newlines_before, found.offsets, found.newline_chunks, firsts)
    return firsts


@njit(error_model="numpy", forceinline=True)
def _byte_hash(utf8, start, end):  # type: ignore[no-untyped-def]
    """Of utf8[start:end], not 0; eight bytes a step."""
    size = end - start
    h = size * _ODD
    if size < U(8):
        while start < end:
            h = (h ^ U(utf8[start])) * _ODD
            start += U(1)
        return mix(h) | U(1)
    other = _ODD
    while start + U(16) <= end:
        h = (h ^ load8(utf8, start)) * _ODD
        other = (other ^ load8(utf8, start + U(8))) * _FACTOR
        h ^= h >> U(32)
        other ^= other >> U(32)
        start += U(16)
    if start + U(8) <= end:
        h = (h ^ load8(utf8, start)) * _ODD
        h ^= h >> U(32)
    return mix((h ^ load8(utf8, end - U(8))) * _ODD ^ other) | U(1)


@njit(error_model="numpy")
def _hash_lines(utf8, firsts, chunk_starts, chunk_ends, starts, ends, hashes, repeated):  # type: ignore[no-untyped-def]
    """Hashes of the lines without the white space around them, 0 of nothing else; marks those that are only that.

    starts, ends: of the lines.  firsts: [lines + 1] their first chunks.
    """
    for line in range(len(starts)):
        first, last = firsts[line], firsts[line + 1]
        blank = first == last
        # A blank line may always be the same as another, and an empty one needs no look.
        repeated[line] = blank and starts[line] < ends[line]
        hashes[line] = U(0) if blank else _byte_hash(utf8, U(chunk_starts[first]), U(chunk_ends[last - 1]))


@njit(error_model="numpy")
def _same_hashes(hashes, offsets, slots, repeated):  # type: ignore[no-untyped-def]
    """Marks the lines of a text of whose hash there are several.  slots: zeros."""
    used = np.int64(0)  # numbers that slots may hold; those of a text are larger
    for text in range(len(offsets) - 1):
        low = offsets[text]
        capacity = 16
        while capacity < 2 * (offsets[text + 1] - low):
            capacity *= 2
        mask = U(capacity - 1)
        for line in range(low, offsets[text + 1]):
            h = hashes[line]
            if h == U(0):
                continue
            slot = h & mask
            while slots[slot] > used and hashes[slots[slot] - 1] != h:
                slot = (slot + U(1)) & mask
            if slots[slot] > used:
                repeated[slots[slot] - 1] = True
                repeated[line] = True
            else:
                slots[slot] = line + 1
        used = offsets[text + 1]


def may_repeat(texts: TextBatch) -> npt.NDArray[np.bool_]:
    """View: [lines of `split_lines`] whether another line of the text may be the same, white space around them aside;
    False where none is, and for empty lines.  Time linear in the bytes."""
    found, lines = texts.view(byte_places), texts.view(split_lines)
    hashes, repeated = room(len(lines), np.uint64), np.empty(len(lines), bool)
    firsts = texts.view(line_chunks)
    _hash_lines(texts.utf8, firsts, found.starts, found.ends, lines.starts, lines.ends, hashes, repeated)
    most = int(np.diff(lines.offsets).max(initial=8))
    slots = np.zeros(1 << (2 * most - 1).bit_length(), np.int64)
    _same_hashes(hashes, lines.offsets, slots, repeated)
    return repeated
