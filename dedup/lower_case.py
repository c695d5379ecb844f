"""`str.lower` of all texts of a batch, code point by code point, and words of it in UTF-8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quality_signals.bad_words import lower_table
from quality_signals.codepoints import CodePoints
from quality_signals.compiled import njit
from quality_signals.dsir_digests import put_utf8
from quality_signals.rpv2_fold import CASED, IGNORED, fold_tables
from quality_signals.text_batch import TextBatch

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_DOTTED_I, _DOT = 0x130, np.uint32(0x307)  # the one character whose lower case is two: i and the dot
_SIGMA, _SMALL_SIGMA, _FINAL_SIGMA = 0x3A3, np.uint32(0x3C3), np.uint32(0x3C2)


@njit(error_model="numpy")
def small_sigma(points, at, start, end, context):  # type: ignore[no-untyped-def]
    """Lower case of the capital sigma points[at]: final behind a letter and not before one.

    Characters that the rule ignores lie between two others, so they are passed twice at most: linear time.
    """
    i = at - 1
    while i >= start and context[points[i]] == IGNORED:
        i -= 1
    if i < start or context[points[i]] != CASED:
        return _SMALL_SIGMA
    i = at + 1
    while i < end and context[points[i]] == IGNORED:
        i += 1
    return _SMALL_SIGMA if i < end and context[points[i]] == CASED else _FINAL_SIGMA


@njit(error_model="numpy")
def _lower(points, offsets, table, context, lowered, ends):  # type: ignore[no-untyped-def]
    out = 0
    for text in range(len(offsets) - 1):
        for i in range(offsets[text], offsets[text + 1]):
            c = points[i]
            if c == _SIGMA:
                lowered[out] = small_sigma(points, i, offsets[text], offsets[text + 1], context)
            else:
                lowered[out] = table[c]
            out += 1
            if c == _DOTTED_I:
                lowered[out] = _DOT
                out += 1
        ends[text + 1] = out
    return out


def lower_case(texts: TextBatch) -> tuple[CodePoints, Ints]:
    """View: code points and offsets of `text.lower()` of every text, exactly."""
    points, offsets = texts.points, texts.offsets
    lowered = np.empty(len(points) + int(np.count_nonzero(points == _DOTTED_I)), np.uint32)
    ends = np.zeros(len(offsets), np.int64)
    count = _lower(points, offsets, lower_table(), fold_tables().context, lowered, ends)
    return lowered[:count], ends


@njit(error_model="numpy")
def _encode(points, starts, ends, utf8, byte_starts, byte_ends):  # type: ignore[no-untyped-def]
    out = 0
    for word in range(len(starts)):
        byte_starts[word] = out
        for i in range(starts[word], ends[word]):
            out = put_utf8(utf8, out, points[i])
        byte_ends[word] = out
        utf8[out] = 32
        out += 1
    return out


def joined_words(points: CodePoints, starts: Ints, ends: Ints, padding: int = 8) -> tuple[Bytes, Ints, Ints]:
    """The words points[starts[i]:ends[i]] in UTF-8 with one space between: word i is utf8[first[i]:last[i]], and the
    words i to k joined by spaces are utf8[first[i]:last[k]].  `padding` bytes follow."""
    # Words do not overlap, so that no more characters beyond ASCII stand in them than in `points`.
    room = int((ends - starts).sum()) + 3 * int(np.count_nonzero(points >= 0x80)) + len(starts) + padding
    utf8 = np.empty(room, np.uint8)
    first, last = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    _encode(points, starts, ends, utf8, first, last)
    return utf8, first, last
