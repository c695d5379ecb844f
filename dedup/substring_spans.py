"""From marked windows to spans of documents: what is repeated, and what is removed.

    keep = "first"   the first occurrence of every repeated window stays, whole; bytes that lie in a later occurrence,
                     and in no first one, go.  Every byte that goes stands in the same surroundings at an earlier place.
    keep = "none"    every byte that lies in a repeated window goes, the first occurrence too (as the published
                     runs of google-research/deduplicate-text-datasets do).

Ranges that touch are one range.  They never leave their document.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from dedup.substring_anchors import Bytes, Offsets
from dedup.substring_windows import FIRST, LATER
from quality_signals.compiled import njit

KEEP = ("first", "none")
Keep = Literal["first", "none"]
_NEWLINE = np.uint8(10)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """[n] ranges, sorted, disjoint: bytes [start, end) of the part, in that document."""

    documents: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return self.ends - self.starts


@njit(error_model="numpy")
def _cover(marks, offsets, size, wanted, spared, out):  # type: ignore[no-untyped-def]
    """Fills out [3, ranges], as far as it reaches; returns how many there are."""
    found = 0
    for document in range(len(offsets) - 1):
        begin, stop = offsets[document], offsets[document + 1]
        place = begin
        wanted_end = spared_end = begin
        opened = np.int64(-1)
        while place < stop:
            mark = marks[place]
            if mark:
                if mark & wanted:
                    wanted_end = place + size
                if mark & spared:
                    spared_end = place + size
            inside = place < wanted_end and place >= spared_end
            if inside != (opened >= 0):
                if inside:
                    opened = place
                else:
                    if found < out.shape[1]:
                        out[0, found], out[1, found], out[2, found] = document, opened, place
                    found += 1
                    opened = -1
            place += 1
        if opened >= 0:
            if found < out.shape[1]:
                out[0, found], out[1, found], out[2, found] = document, opened, stop
            found += 1
    return found


def _covered(marks: Bytes, offsets: Offsets, min_bytes: int, wanted: int, spared: int) -> Ranges:
    out = np.empty((3, max(16, len(marks) // (8 * min_bytes))), np.int64)
    found = _cover(marks, offsets, min_bytes, wanted, spared, out)
    if found > out.shape[1]:
        out = np.empty((3, found), np.int64)
        _cover(marks, offsets, min_bytes, wanted, spared, out)
    return Ranges(*(row[:found].copy() for row in out))


def repeated_ranges(marks: Bytes, offsets: Offsets, min_bytes: int) -> Ranges:
    """Every occurrence of what is repeated, the first too; marks: `dedup.substring_windows.mark_repeated`."""
    return _covered(marks, offsets, min_bytes, FIRST | LATER, 0)


def removed_ranges(marks: Bytes, offsets: Offsets, min_bytes: int, keep: Keep) -> Ranges:
    """What goes, before it is cut at characters.  Raises ValueError for another keep."""
    if keep not in KEEP:
        raise ValueError(f"keep is {keep!r}, allowed are {', '.join(KEEP)}")
    if keep == "none":
        return repeated_ranges(marks, offsets, min_bytes)
    return _covered(marks, offsets, min_bytes, LATER, FIRST)


@njit(error_model="numpy")
def _cut(utf8, offsets, documents, starts, ends, at_lines):  # type: ignore[no-untyped-def]
    for i in range(len(starts)):
        start, end = starts[i], ends[i]
        begin, stop = offsets[documents[i]], offsets[documents[i] + 1]
        if at_lines:
            while start < end and start > begin and utf8[start - 1] != _NEWLINE:
                start += 1
            while end > start and end < stop and utf8[end - 1] != _NEWLINE:
                end -= 1
        while start < end and utf8[start] & 0xC0 == 0x80:
            start += 1
        while end > start and end < stop and utf8[end] & 0xC0 == 0x80:
            end -= 1
        starts[i], ends[i] = start, end


def cut(ranges: Ranges, utf8: Bytes, offsets: Offsets, *, at_lines: bool = False) -> Ranges:
    """The ranges without the characters (at_lines: lines, each with its newline) that lie in them in part only."""
    starts, ends = ranges.starts.copy(), ranges.ends.copy()
    _cut(utf8, offsets, ranges.documents, starts, ends, at_lines)
    left = ends > starts
    return Ranges(ranges.documents[left], starts[left], ends[left])


@njit(error_model="numpy")
def _code_points(utf8, offsets, documents, places, out):  # type: ignore[no-untyped-def]
    document, at, points = np.int64(-1), np.int64(0), np.int64(0)
    for i in range(len(places)):
        if documents[i // 2] != document:
            document = documents[i // 2]
            at, points = offsets[document], 0
        while at < places[i]:
            points += utf8[at] & 0xC0 != 0x80
            at += 1
        out[i] = points


def code_points(ranges: Ranges, utf8: Bytes, offsets: Offsets) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(starts, ends) in code points of the document, of ranges that are cut at characters."""
    places = np.empty(2 * len(ranges), np.int64)
    places[0::2], places[1::2] = ranges.starts, ranges.ends
    out = np.empty_like(places)
    _code_points(utf8, offsets, ranges.documents, places, out)
    return out[0::2].copy(), out[1::2].copy()
