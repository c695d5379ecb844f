"""Lines of all texts of a batch, as several families read them: Python's line breaks, or newlines only."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from quality_signals.compiled import njit
from quality_signals.text_batch import TextBatch

Ints = npt.NDArray[np.int64]


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
def _python_lines(points, offsets, starts, ends, lines):  # type: ignore[no-untyped-def]
    """Fills lines, and as far as there is room starts and ends.  Returns the number of lines."""
    room = len(starts)
    line = 0
    for text in range(len(offsets) - 1):
        end = offsets[text + 1]
        start = offsets[text]
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
        if start < end:
            if line < room:
                starts[line] = start
                ends[line] = end
            line += 1
        lines[text + 1] = line
    return line


@njit(error_model="numpy")
def _split_lines(points, offsets, starts, ends, lines):  # type: ignore[no-untyped-def]
    line = 0
    for text in range(len(offsets) - 1):
        starts[line] = offsets[text]
        for i in range(offsets[text], offsets[text + 1]):
            if points[i] == 10:
                ends[line] = i
                line += 1
                starts[line] = i + 1
        ends[line] = offsets[text + 1]
        line += 1
        lines[text + 1] = line


def python_lines(texts: TextBatch) -> Lines:
    """Lines of str.splitlines(): they end at \\n, \\r, \\r\\n, \\v, \\f, \\x1c-\\x1e, \\x85, U+2028, U+2029.

    A text without a character has none, and a break at the end of the text starts none.  To be asked for as
    `texts.view(python_lines)`.
    """
    offsets = np.zeros(len(texts) + 1, np.int64)
    room = int(np.count_nonzero(texts.points == 10)) + len(texts)  # enough but for rare breaks
    while True:
        starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
        count = _python_lines(texts.points, texts.offsets, starts, ends, offsets)
        if count <= room:
            break
        room = count
    starts, ends = starts[:count], ends[:count]
    return Lines(starts, ends, offsets)


def split_lines(texts: TextBatch) -> Lines:
    """Lines of text.split("\\n"): one more than newlines, so at least one a text."""
    count = int(np.count_nonzero(texts.points == 10)) + len(texts)
    starts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
    offsets = np.zeros(len(texts) + 1, np.int64)
    _split_lines(texts.points, texts.offsets, starts, ends, offsets)
    return Lines(starts, ends, offsets)
