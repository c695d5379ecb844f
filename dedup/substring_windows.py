"""Which windows of bytes occur more than once: anchors by class, classes by group, windows by hash.

    part ─▶ anchors ─▶ classes (equal contexts) ─┐
    other parts' classes ────────────────────────┴▶ groups (equal k-grams) ─▶ WHOLE, or ASK
    part, asked ─▶ window hashes, only of classes that share a k-gram with another class ─▶ codes ─▶ marks

A context is hashed as a whole first: inside a passage that is repeated as it stands all classes are alone in their
group, and all their windows are settled by one record of 40 bytes.  Only where passages begin, end or differ are
single windows compared.  Two windows are taken as equal where 125 bits agree: the 64 of their anchors' k-grams and
the 61 of their own hash; both are fixed, and no defence against texts that were built to collide.

The first occurrence is the one with the smallest (rank of the document, place in it).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dedup.hashing import Hashes
from dedup.substring_anchors import Bytes, Offsets, find_anchors, gram_bytes, hash_windows
from quality_signals.compiled import njit

CLASS = np.dtype(
    [("gram", "<u8"), ("context", "<u8"), ("rank", "<u8"), ("address", "<u8"), ("place", "<u4"), ("members", "<u4")]
)
"""A class of a part: its first member (rank of the document, anchor's place in it), how many members it has in the
part, and an address (any number that no other class has) to answer to."""
ASKED = np.dtype([*CLASS.descr[:1], *CLASS.descr[2:], ("windows", "<u8")])
"""The head of a class whose windows are compared; so many hashes belong to it."""

NOTHING, LATER, FIRST, ASK = range(4)
"""Verdicts on a class: not repeated; all windows repeated, its first member is (FIRST) or is not (LATER) the first of
all; compare the windows.  LATER and FIRST are also the codes and, as bits, the marks of windows."""

_SMALL_GROUP = 24
# Window hashes in memory at a time when parts are searched in one process: 32 MB.
_WINDOWS_AT_ONCE = 1 << 22


@njit(cache=True, nogil=True)
def _less(one, two, first, second, third, fourth):  # type: ignore[no-untyped-def]
    if first[one] != first[two]:
        return first[one] < first[two]
    if second[one] != second[two]:
        return second[one] < second[two]
    if third[one] != third[two]:
        return third[one] < third[two]
    return fourth[one] < fourth[two]


@njit(cache=True, nogil=True, error_model="numpy")
def _sort_groups(order, gram, first, second, third, fourth):  # type: ignore[no-untyped-def]
    """Sorts every run of equal grams of `order` by the four keys."""
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and gram[order[stop]] == gram[order[start]]:
            stop += 1
        if stop - start > _SMALL_GROUP:
            run = order[start:stop].copy()
            run = run[np.argsort(fourth[run], kind="mergesort")]
            run = run[np.argsort(third[run], kind="mergesort")]
            run = run[np.argsort(second[run], kind="mergesort")]
            order[start:stop] = run[np.argsort(first[run], kind="mergesort")]
        else:
            for i in range(start + 1, stop):
                moved, at = order[i], i
                while at > start and _less(moved, order[at - 1], first, second, third, fourth):
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = moved
        start = stop


def _in_groups(gram: Hashes, *keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The order by gram, then by the four keys: a total order, so that the order of the input does not count."""
    order = np.argsort(gram, kind="stable")
    _sort_groups(order, gram, *keys)
    return order


def _wide(values: np.ndarray) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(values, dtype=np.uint64)


@njit(cache=True, nogil=True, error_model="numpy")
def _decide_classes(order, gram, context, members, verdicts):  # type: ignore[no-untyped-def]
    start = 0
    while start < len(order):
        stop = start + 1
        alone = True
        total = np.int64(members[order[start]])
        while stop < len(order) and gram[order[stop]] == gram[order[start]]:
            alone &= context[order[stop]] == context[order[start]]
            total += members[order[stop]]
            stop += 1
        if not alone:
            for i in range(start, stop):
                verdicts[order[i]] = ASK
        elif total > 1:
            verdicts[order[start]] = FIRST
            for i in range(start + 1, stop):
                verdicts[order[i]] = LATER
        start = stop


def decide_classes(classes: np.ndarray) -> npt.NDArray[np.uint8]:
    """[n] verdicts on CLASS records, among which are all those of every gram that occurs; in any order."""
    columns = {name: _wide(classes[name]) for name in CLASS.names or ()}
    order = _in_groups(*(columns[name] for name in ("gram", "context", "rank", "place", "address")))
    verdicts = np.zeros(len(classes), np.uint8)
    _decide_classes(order, columns["gram"], columns["context"], columns["members"], verdicts)
    return verdicts


@njit(cache=True, nogil=True, error_model="numpy")
def _decide_windows(order, gram, members, offsets, hashes, codes):  # type: ignore[no-untyped-def]
    """Per group a table from hash to the first window that has it; heads are in order of first occurrence."""
    most = start = 0
    while start < len(order):
        stop, windows = start, 0
        while stop < len(order) and gram[order[stop]] == gram[order[start]]:
            windows += offsets[order[stop] + 1] - offsets[order[stop]]
            stop += 1
        most = max(most, windows)
        start = stop
    size = 2
    while size < 2 * most:
        size *= 2
    slots = np.full(size, -1, np.int64)
    seen = np.zeros(len(hashes), np.uint32)  # at the first window of a hash: how often it occurs, 2 for more
    start = 0
    while start < len(order):
        stop, windows = start, 0
        while stop < len(order) and gram[order[stop]] == gram[order[start]]:
            windows += offsets[order[stop] + 1] - offsets[order[stop]]
            stop += 1
        mask = 1
        while mask < 2 * windows:
            mask *= 2
        slots[:mask] = -1
        mask -= 1
        for i in range(start, stop):
            for window in range(offsets[order[i]], offsets[order[i] + 1]):
                slot = hashes[window] & np.uint64(mask)
                while slots[slot] >= 0 and hashes[slots[slot]] != hashes[window]:
                    slot = (slot + np.uint64(1)) & np.uint64(mask)
                if slots[slot] < 0:
                    slots[slot] = window
                first = slots[slot]
                seen[first] = min(np.int64(2), np.int64(seen[first]) + np.int64(members[order[i]]))
                if first != window:
                    codes[window] = LATER
        for i in range(start, stop):
            for window in range(offsets[order[i]], offsets[order[i] + 1]):
                if seen[window] > 1:
                    codes[window] = FIRST
        start = stop


def decide_windows(asked: np.ndarray, hashes: Hashes) -> npt.NDArray[np.uint8]:
    """[windows] NOTHING, LATER or FIRST for the windows of ASKED records, of which hashes has `windows` each.

    Memory beside the arguments: 5 bytes a window, and up to 32 a window of the largest group.
    """
    columns = {name: _wide(asked[name]) for name in ASKED.names or ()}
    order = _in_groups(*(columns[name] for name in ("gram", "rank", "place", "address", "address")))
    offsets = np.zeros(len(asked) + 1, np.int64)
    np.cumsum(asked["windows"], out=offsets[1:])
    codes = np.zeros(len(hashes), np.uint8)
    _decide_windows(order, columns["gram"], columns["members"], offsets, hashes, codes)
    return codes


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(marks, rows, starts, numbers, verdicts, codes, code_starts, anchors):  # type: ignore[no-untyped-def]
    place, before, windows, count = anchors
    for i in range(len(numbers)):
        verdict, code_at = verdicts[i], code_starts[i]
        for member in range(starts[numbers[i]], starts[numbers[i] + 1]):
            row = rows[member]
            window = np.int64(place[row]) - np.int64(before[row])
            for repeat in range(count[row]):
                first = member == starts[numbers[i]] and repeat == 0
                for j in range(windows[row]):
                    code = codes[code_at + j] if verdict == ASK else verdict
                    if code:
                        marks[window + j] |= FIRST if first and code == FIRST else LATER
                window += windows[row]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What was found out about classes of a part.

    numbers       [n] int64, of the classes
    verdicts      [n] uint8
    codes         uint8, one a window of the classes with the verdict ASK
    code_starts   [n] int64, where in codes those of the class begin; not read for other verdicts
    """

    numbers: npt.NDArray[np.int64]
    verdicts: npt.NDArray[np.uint8]
    codes: npt.NDArray[np.uint8]
    code_starts: npt.NDArray[np.int64]

    @classmethod
    def settled(cls, numbers: npt.NDArray[np.int64], verdicts: npt.NDArray[np.uint8]) -> Answers:
        """None of the verdicts is ASK."""
        return cls(numbers, verdicts, np.zeros(0, np.uint8), np.zeros(len(numbers), np.int64))

    @classmethod
    def coded(
        cls, numbers: npt.NDArray[np.int64], codes: npt.NDArray[np.uint8], code_starts: npt.NDArray[np.int64]
    ) -> Answers:
        """All of the verdicts are ASK."""
        return cls(numbers, np.full(len(numbers), ASK, np.uint8), codes, code_starts)


def part_memory(text_bytes: int, min_bytes: int) -> int:
    """Bytes for a part of so much text: the text and its marks, and 170 for each of its anchors (columns, classes,
    their records and what sorting those takes), of which there are 2 in min_bytes - k + 2 bytes.

    Of text, that is: 6.9 bytes a byte at min_bytes = 100, 10 at 61, and more below.  Text without many different
    windows takes less; what would take more (anchors as near as they can be, without being alike) was made on purpose.
    """
    return 2 * text_bytes + 340 * text_bytes // (min_bytes - gram_bytes(min_bytes) + 2)


class Part:
    """Documents that are searched at once, and their windows.

    utf8, offsets   document d is utf8[offsets[d]:offsets[d + 1]]
    ranks           [documents] uint64, decide whose occurrence is the first
    first_address   classes are addressed by it and the numbers after it

    Memory, records and marks included: `part_memory`.  Raises ValueError for a
    min_bytes or a part that is too large.
    """

    def __init__(self, utf8: Bytes, offsets: Offsets, ranks: Hashes, min_bytes: int, first_address: int = 0) -> None:
        if len(ranks) != len(offsets) - 1:
            raise ValueError(f"{len(ranks)} ranks of {len(offsets) - 1} documents")
        self.utf8, self.offsets, self.min_bytes = utf8, offsets, min_bytes
        self._ranks, self._first_address = ranks, first_address
        # In order of rank, so that the members of a class are in order of occurrence.
        self._anchors = find_anchors(utf8, offsets, np.argsort(ranks, kind="stable"), min_bytes)
        anchors = self._anchors
        row = np.arange(len(anchors), dtype=np.uint64)
        self._rows = _in_groups(anchors.gram, anchors.context, row, row, row).astype(np.uint32)
        fresh = np.ones(len(self._rows), np.bool_)
        gram, context = anchors.gram[self._rows], anchors.context[self._rows]
        fresh[1:] = (gram[1:] != gram[:-1]) | (context[1:] != context[:-1])
        self._starts = np.append(np.flatnonzero(fresh), len(self._rows))

    @property
    def class_count(self) -> int:
        return len(self._starts) - 1

    def classes(self) -> np.ndarray:
        """CLASS records, in order of their addresses."""
        anchors, firsts = self._anchors, self._rows[self._starts[:-1]]
        out = np.empty(self.class_count, CLASS)
        places = anchors.place[firsts]
        documents = np.searchsorted(self.offsets, places, side="right") - 1
        out["gram"], out["context"] = anchors.gram[firsts], anchors.context[firsts]
        out["rank"], out["place"] = self._ranks[documents], places - self.offsets[documents]
        out["address"] = np.arange(self._first_address, self._first_address + self.class_count)
        if self.class_count:
            counts = np.add.reduceat(anchors.count[self._rows].astype(np.int64), self._starts[:-1])
            out["members"] = np.minimum(counts, 2)
        return out

    def windows(self, numbers: npt.NDArray[np.int64], classes: np.ndarray) -> tuple[np.ndarray, Hashes]:
        """ASKED records of the classes of these numbers, and the hashes of their windows.

        classes: their CLASS records.
        """
        firsts = self._rows[self._starts[numbers]]
        anchors = self._anchors
        asked = np.empty(len(numbers), ASKED)
        for name in ("gram", "rank", "address", "place", "members"):
            asked[name] = classes[name]
        asked["windows"] = anchors.windows[firsts]
        starts = anchors.place[firsts].astype(np.int64) - anchors.before[firsts]
        return asked, hash_windows(self.utf8, starts, anchors.windows[firsts].astype(np.int64), self.min_bytes)

    def window_counts(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self._anchors.windows[self._rows[self._starts[numbers]]].astype(np.int64)

    def mark(self, marks: Bytes, answers: Answers) -> None:
        """Puts the bits LATER and FIRST into marks [bytes], where a repeated window begins."""
        anchors = self._anchors
        ends = np.where(answers.verdicts == ASK, answers.code_starts + self.window_counts(answers.numbers), 0)
        if len(ends) and ends.max() > len(answers.codes):
            raise ValueError(f"{len(answers.codes)} codes, but codes up to {ends.max()} are asked for")
        columns = (anchors.place, anchors.before, anchors.windows, anchors.count)
        found = (answers.numbers, answers.verdicts, answers.codes, answers.code_starts)
        _mark(marks, self._rows, self._starts, *found, columns)


def mark_repeated(parts: Sequence[Part]) -> list[Bytes]:
    """For every part its marks [bytes]: LATER and FIRST where a window begins that occurs elsewhere in any part.

    The parts must have addresses of their own.  Memory: `part_memory` of each, and 140 MB.
    """
    classes = [part.classes() for part in parts]
    verdicts = np.split(decide_classes(np.concatenate(classes)), np.cumsum([len(c) for c in classes])[:-1])
    marks = [np.zeros(len(part.utf8), np.uint8) for part in parts]
    asked = [np.flatnonzero(verdict == ASK) for verdict in verdicts]
    total = sum(int(part.window_counts(numbers).sum()) for part, numbers in zip(parts, asked, strict=True))
    bits = max(0, (total // _WINDOWS_AT_ONCE).bit_length())
    for part, mark, verdict in zip(parts, marks, verdicts, strict=True):
        settled = np.flatnonzero((verdict == LATER) | (verdict == FIRST))
        part.mark(mark, Answers.settled(settled, verdict[settled]))
    for piece in range(1 << bits):
        chosen = [_of_piece(numbers, of[numbers], piece, bits) for numbers, of in zip(asked, classes, strict=True)]
        found = [part.windows(n, of[n]) for part, n, of in zip(parts, chosen, classes, strict=True)]
        codes = decide_windows(np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found]))
        ends = np.cumsum([len(f[1]) for f in found])[:-1]
        for part, mark, numbers, own in zip(parts, marks, chosen, np.split(codes, ends), strict=True):
            counts = part.window_counts(numbers)
            part.mark(mark, Answers.coded(numbers, own, np.cumsum(counts) - counts))
    return marks


def _of_piece(numbers: npt.NDArray[np.int64], classes: np.ndarray, piece: int, bits: int) -> npt.NDArray[np.int64]:
    """Those of the classes whose gram begins with the bits of the piece."""
    return numbers if not bits else numbers[classes["gram"] >> np.uint64(64 - bits) == np.uint64(piece)]


def split_windows(asked: np.ndarray, hashes: Hashes, most_windows: int) -> Iterator[tuple[np.ndarray, Hashes]]:
    """Pieces of at most so many windows (or of one class)."""
    ends = np.cumsum(asked["windows"])
    start = done = 0
    while start < len(asked):
        stop = max(int(np.searchsorted(ends, done + most_windows, side="right")), start + 1)
        yield asked[start:stop], hashes[done : int(ends[stop - 1])]
        start, done = stop, int(ends[stop - 1])
