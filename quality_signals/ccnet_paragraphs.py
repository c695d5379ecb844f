"""Paragraphs as cc_net knows and drops them: a hash for each line, and which lines of a stream of documents stay.

Reference: facebookresearch/cc_net @ bda555b, cc_net/dedup.py.  A paragraph is a line of text.split("\\n"); its hash is
the first 8 bytes of the SHA-1 of the line after `normalise_for_dedup`, little-endian.  A document is a uint64 array
of the hashes of its lines in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from quality_signals.ccnet_normalise import normalised
from quality_signals.codepoints import mix
from quality_signals.compiled import njit
from quality_signals.line_views import split_lines
from quality_signals.text_batch import TextBatch

Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_HASH_BYTES = 8


def paragraph_hashes(texts: TextBatch) -> Hashes:
    """[lines] uint64, of all lines of `split_lines`.  An empty text has one line too."""
    lines = texts.view(split_lines)
    utf8, offsets = normalised(texts.points, lines.starts, lines.ends, "ccnet_dedup")
    joined, sha1 = memoryview(utf8.tobytes()), hashlib.sha1
    ends = offsets.tolist()
    digests = [sha1(joined[a:b]).digest()[:_HASH_BYTES] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return np.frombuffer(b"".join(digests), "<u8")


@njit(error_model="numpy")
def _first_of_text(hashes, offsets, kept):  # type: ignore[no-untyped-def]
    """kept[line]: whether its hash did not stand before in its text.  A table of the longest text's size."""
    longest = 1
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    size = 16
    while size < 2 * longest:
        size *= 2
    slots = np.full(size, -1, np.int64)
    used = np.empty(longest, np.int64)
    mask = np.uint64(size - 1)
    for text in range(len(offsets) - 1):
        n = 0
        for line in range(offsets[text], offsets[text + 1]):
            slot = np.int64(mix(hashes[line]) & mask)
            kept[line] = True
            while slots[slot] >= 0:
                if hashes[slots[slot]] == hashes[line]:
                    kept[line] = False
                    break
                slot = np.int64(np.uint64(slot + 1) & mask)
            if slots[slot] < 0:
                slots[slot] = line
                used[n] = slot
                n += 1
        for i in range(n):
            slots[used[i]] = -1


def first_of_text(hashes: Hashes, offsets: Ints) -> Bools:
    """[lines] bool: which lines stand for the first time in their text; text i has the lines offsets[i] to
    offsets[i + 1].  Time linear in the lines."""
    kept = np.zeros(len(hashes), np.bool_)
    _first_of_text(hashes, offsets, kept)
    return kept


class HashSet:
    """A set of uint64, 16 to 36 bytes each (the table doubles when it is half full)."""

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 10, np.uint64)
        self._zero = False  # 0 marks a free slot
        self._size = 0

    def __len__(self) -> int:
        return self._size + self._zero

    def add(self, hashes: Hashes) -> Bools:
        """Adds them; returns which were there before the call."""
        hashes = np.ascontiguousarray(hashes, np.uint64)
        seen = self.has(hashes)
        while len(self._slots) < 2 * (self._size + len(hashes)):
            old = self._slots[self._slots != 0]
            self._slots = np.zeros(2 * len(self._slots), np.uint64)
            _insert(old, self._slots)
        self._size += int(_insert(hashes, self._slots))
        self._zero |= bool((hashes == 0).any())
        return seen

    def has(self, hashes: Hashes) -> Bools:
        found = np.zeros(len(hashes), np.bool_)
        _contains(np.ascontiguousarray(hashes, np.uint64), self._slots, found)
        return found | ((hashes == 0) & self._zero)


@njit(error_model="numpy")
def _insert(hashes, slots):  # type: ignore[no-untyped-def]
    added = 0
    mask = np.uint64(len(slots) - 1)
    for h in hashes:
        if h == 0:
            continue
        slot = np.int64(mix(h) & mask)
        while slots[slot] != 0 and slots[slot] != h:
            slot = np.int64(np.uint64(slot + 1) & mask)
        if slots[slot] == 0:
            slots[slot] = h
            added += 1
    return added


@njit(error_model="numpy")
def _contains(hashes, slots, found):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    for i in range(len(hashes)):
        if hashes[i] == 0:
            continue
        slot = np.int64(mix(hashes[i]) & mask)
        while slots[slot] != 0:
            if slots[slot] == hashes[i]:
                found[i] = True
                break
            slot = np.int64(np.uint64(slot + 1) & mask)


def _kept(hashes: Hashes, seen: Bools) -> Bools:
    # 0 is the reference's mark of a dropped line, so a line with this hash always is.
    return ~seen & (hashes != 0) & first_of_text(hashes, np.array([0, len(hashes)], np.int64))


def dedup_in_order(documents: Iterable[Hashes], seen: HashSet | None = None) -> Iterator[Bools]:
    """Which lines of each document stay if the first occurrence does: those whose hash stands in no earlier
    document and not before in their own (`DuplicatesRemover` with collect=True).

    seen: hashes of documents before these; those of these are added.  Memory: the set, so the different lines.
    A document of which no line stays is dropped by the reference.
    """
    known = HashSet() if seen is None else seen
    for hashes in documents:
        yield _kept(hashes, known.add(hashes))


def shared_paragraphs(documents: Iterable[Hashes]) -> HashSet:
    """The hashes that stand in more than one document (`HashesCollector`): the first pass of `dedup_two_pass`.

    A line that one document repeats is not shared by that.  Memory: two sets, so the different lines.
    """
    known, shared = HashSet(), HashSet()
    for hashes in documents:
        shared.add(hashes[known.add(hashes)])
    return shared


def dedup_two_pass(documents: Iterable[Hashes], shared: HashSet) -> Iterator[Bools]:
    """Which lines of each document stay if of a shared line none does: those of no other document and not before
    in their own (`deduplicate_two_pass`, as cc_net's paper and its mine.py do it)."""
    for hashes in documents:
        yield _kept(hashes, shared.has(hashes))
