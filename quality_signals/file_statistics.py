"""What filters of code files count: lines, their lengths, letters."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import ALPHA, WORD, class_table
from quality_signals.compiled import njit
from quality_signals.families import ratios
from quality_signals.line_views import python_lines
from quality_signals.text_batch import TextBatch

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_UNDERSCORE, _BACKSLASH, _X = (ord(c) for c in "_\\x")


@njit(error_model="numpy")
def _count(points, offsets, line_starts, line_ends, lines, table, longest, alphanumeric, alphabetic, hex_marks):  # type: ignore[no-untyped-def]
    for text in range(len(offsets) - 1):
        most = np.int64(0)
        for line in range(lines[text], lines[text + 1]):
            most = max(most, line_ends[line] - line_starts[line])
        longest[text] = most
        words = letters = marks = np.int64(0)
        last = np.uint32(0)
        for i in range(offsets[text], offsets[text + 1]):
            c = points[i]
            bits = table[c]
            words += (bits & WORD) != 0 and c != _UNDERSCORE
            letters += (bits & ALPHA) != 0
            marks += c == _X and last == _BACKSLASH
            last = c
        alphanumeric[text] = words
        alphabetic[text] = letters
        hex_marks[text] = marks


@dataclasses.dataclass(frozen=True, slots=True)
class FileStatistics:
    """All [texts] int64.  Lines are those of str.splitlines, without their ends.

    size          characters             lines        of str.splitlines
    longest       characters of the longest line      line_chars   of all lines together
    alphanumeric  characters with str.isalnum         alphabetic   with str.isalpha
    hex_marks     occurrences of \\x
    """

    size: Ints
    lines: Ints
    longest: Ints
    line_chars: Ints
    alphanumeric: Ints
    alphabetic: Ints
    hex_marks: Ints

    @property
    def mean(self) -> Floats:
        """Characters of a line on average, NaN without lines."""
        return ratios(self.line_chars, self.lines)


def file_statistics(texts: TextBatch) -> FileStatistics:
    """View.  Time linear in the characters."""
    lines = texts.view(python_lines)
    longest, alphanumeric, alphabetic, hex_marks = (np.zeros(len(texts), np.int64) for _ in range(4))
    _count(
        texts.points, texts.offsets, lines.starts, lines.ends, lines.offsets, class_table(),
        longest, alphanumeric, alphabetic, hex_marks,
    )  # fmt: skip
    before = np.zeros(len(lines.starts) + 1, np.int64)
    np.cumsum(lines.ends - lines.starts, out=before[1:])
    chars = np.diff(before[lines.offsets])
    return FileStatistics(texts.lengths, np.diff(lines.offsets), longest, chars, alphanumeric, alphabetic, hex_marks)
