"""Anchors: few places of a text, chosen by content, that equal windows of bytes have in common.

A window is min_bytes successive bytes of one document.  Its anchor is the place in it whose k-gram (the k bytes that
begin there) has the smallest hash of all k-grams inside the window, the leftmost of equal ones.  So equal windows
have equal anchors at the same place in them, and windows with different anchors need never be compared: instead of
one suffix a byte, as a suffix array sorts, there is one anchor in (min_bytes - k + 2) / 2 bytes (35 at 100 bytes).
(Minimisers: Roberts et al. 2004, doi:10.1093/bioinformatics/bth408; winnowing: Schleimer et al. 2003,
doi:10.1145/872757.872770.)

The windows of an anchor are successive; what they cover is its context.  An anchor that is like the one before it,
as in a text of one repeated byte, does not get a row of its own but makes the row before it a run.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from dedup.hashing import Hashes, mix64, random_words
from quality_signals.compiled import njit

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

# Longer k-grams make fewer groups of anchors that are alike by chance, shorter ones fewer anchors: 24 to 40 took the
# same time within a tenth at 100 bytes.
_GRAM_BYTES = 32
MAX_MIN_BYTES = 1 << 15
# A place in a part is 32 bits.
MAX_PART_BYTES = (1 << 32) - 1

# Karp-Rabin in the field of 2^61 - 1: two different windows collide for min_bytes / 2^61 of all bases.
_PRIME = np.uint64((1 << 61) - 1)
_WORDS = random_words(0x5AB5712165, 260)
_BASE = np.uint64(int(_WORDS[256]) % ((1 << 61) - 1))
# k-grams are hashed by a polynomial over 2^64 that shares nothing with it.
_GRAM_BASE = np.uint64(int(_WORDS[257]) | 5)
_BYTE_WORDS = _WORDS[:256].copy()
_ORDER = np.uint64(int(_WORDS[258]) | 1)
_LOW31, _LOW30 = np.uint64((1 << 31) - 1), np.uint64((1 << 30) - 1)
_U1, _U29, _U30, _U31, _U61 = np.uint64(1), np.uint64(29), np.uint64(30), np.uint64(31), np.uint64(61)
_U16, _U40 = np.uint64(16), np.uint64(40)


def gram_bytes(min_bytes: int) -> int:
    """k of windows of min_bytes."""
    return max(1, min(_GRAM_BYTES, (min_bytes + 1) // 3))


@njit(inline="always")
def multiply(a, b):  # type: ignore[no-untyped-def]
    """a b mod 2^61 - 1 for a, b < 2^61 - 1, without 128-bit integers: 31 and 30 bits at a time."""
    a_high, a_low = a >> _U31, a & _LOW31
    b_high, b_low = b >> _U31, b & _LOW31
    middle = a_low * b_high + a_high * b_low
    total = ((a_high * b_high) << _U1) + (middle >> _U30) + ((middle & _LOW30) << _U31) + a_low * b_low
    total = (total >> _U61) + (total & _PRIME)
    return total - _PRIME if total >= _PRIME else total


@njit(inline="always")
def append(prefix, byte):  # type: ignore[no-untyped-def]
    """The hash of a text and one more byte; bytes count from 1 so that leading NULs count."""
    total = multiply(prefix, _BASE) + np.uint64(byte) + _U1
    return total - _PRIME if total >= _PRIME else total


@njit(inline="always")
def between(start, end, power):  # type: ignore[no-untyped-def]
    """The hash of what lies between two prefixes; power: base to the number of bytes."""
    taken = multiply(start, power)
    return end - taken if end >= taken else end + _PRIME - taken


@njit()
def powers(count):  # type: ignore[no-untyped-def]
    out = np.empty(count + 1, np.uint64)
    out[0] = _U1
    for i in range(count):
        out[i + 1] = multiply(out[i], _BASE)
    return out


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Anchors of the documents of a part, in order of (document as visited, place); [rows] each.

    place     uint32, of the (first) anchor in the part's bytes
    gram      uint64, hash of its k-gram: equal for anchors of equal windows
    context   uint64, hash of its context and of where in it the anchor stands
    before    uint16, the first window of the anchor starts so many bytes before it
    windows   uint16, how many successive windows have this anchor
    count     uint32, how many anchors, all alike, the row stands for; as windows follow one another, so do these, at
              a distance of `windows`
    """

    place: npt.NDArray[np.uint32]
    gram: Hashes
    context: Hashes
    before: npt.NDArray[np.uint16]
    windows: npt.NDArray[np.uint16]
    count: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.place)


@njit()
def _grown(array, rows):  # type: ignore[no-untyped-def]
    out = np.empty(rows, array.dtype)
    out[: len(array)] = array
    return out


@njit(error_model="numpy")
def _find(utf8, offsets, documents, size, k, byte_words, capacity):  # type: ignore[no-untyped-def]
    """Smallest k-gram of every window by minima over blocks of w k-grams from both ends (van Herk 1992): two
    comparisons a byte whatever the text."""
    w = size - k + 1
    place, gram, context = np.empty(capacity, np.uint32), np.empty(capacity, np.uint64), np.empty(capacity, np.uint64)
    before, windows = np.empty(capacity, np.uint16), np.empty(capacity, np.uint16)
    count = np.empty(capacity, np.uint32)
    leaving = np.empty(256, np.uint64)
    top = _U1
    for _ in range(k):
        top *= _GRAM_BASE
    for byte in range(256):
        leaving[byte] = byte_words[byte] * top
    power = powers(2 * size)
    ring = 1
    while ring < 2 * size + 2:
        ring *= 2
    mask = ring - 1
    prefixes = np.zeros(ring, np.uint64)  # hash of the document up to there
    block, tail, tail_at = np.empty(w, np.uint64), np.empty(w, np.uint64), np.empty(w, np.int64)
    rows = 0
    for document in documents:
        begin, length = offsets[document], offsets[document + 1] - offsets[document]
        if length < size:
            continue
        prefix, h = np.uint64(0), np.uint64(0)
        prefixes[0] = prefix
        for i in range(k - 1):
            byte = utf8[begin + i]
            h = h * _GRAM_BASE + byte_words[byte]
            prefix = append(prefix, byte)
            prefixes[(i + 1) & mask] = prefix
        first_row = rows
        anchor, anchor_hash, since = np.int64(-1), np.uint64(0), np.int64(0)
        head, head_at = np.uint64(0), np.int64(0)
        r = 0
        grams = length - k + 1
        for i in range(grams + 1):
            smallest, smallest_at = np.uint64(0), np.int64(-2)
            if i < grams:
                byte = utf8[begin + i + k - 1]
                h = h * _GRAM_BASE + byte_words[byte]
                if i:
                    h -= leaving[utf8[begin + i - 1]]
                prefix = append(prefix, byte)
                prefixes[(i + k) & mask] = prefix
                value = (h ^ (h >> _U29)) * _ORDER
                block[r] = value
                if r == 0 or value < head:
                    head, head_at = value, i
                r += 1
                if r == w:
                    best, best_at = block[w - 1], i
                    tail[w - 1], tail_at[w - 1] = best, best_at
                    for back in range(w - 2, -1, -1):
                        if block[back] <= best:
                            best, best_at = block[back], i - w + 1 + back
                        tail[back], tail_at[back] = best, best_at
                    smallest, smallest_at = best, best_at
                    r = 0
                elif i >= w:
                    if tail[r] <= head:
                        smallest, smallest_at = tail[r], tail_at[r]
                    else:
                        smallest, smallest_at = head, head_at
                else:
                    continue
            if smallest_at == anchor:
                continue
            window = i - w + 1
            if anchor >= 0:  # its last window is the one before this
                covered = window - 1 + size - since
                content = between(prefixes[since & mask], prefixes[(since + covered) & mask], power[covered])
                where = (np.uint64(anchor - since) << _U40) | (np.uint64(window - since) << _U16)
                content = mix64(content + mix64(where))
                key = mix64(anchor_hash)  # as the smallest of many it begins with zeros
                last = rows - 1
                if rows > first_row and gram[last] == key and context[last] == content:
                    count[last] += np.uint32(1)
                else:
                    if rows == len(place):
                        more = rows + rows // 2 + 16
                        place, gram, context = _grown(place, more), _grown(gram, more), _grown(context, more)
                        before, windows = _grown(before, more), _grown(windows, more)
                        count = _grown(count, more)
                    place[rows], gram[rows], context[rows] = begin + anchor, key, content
                    before[rows], windows[rows] = anchor - since, window - since
                    count[rows] = 1
                    rows += 1
            anchor, anchor_hash, since = smallest_at, smallest, window
    return (
        place[:rows], gram[:rows], context[:rows], before[:rows], windows[:rows], count[:rows],
    )  # fmt: skip


def find_anchors(utf8: Bytes, offsets: Offsets, documents: Offsets, min_bytes: int) -> Anchors:
    """The anchors of the documents utf8[offsets[d]:offsets[d + 1]], visited in the order of `documents`.

    Linear in the bytes, whatever they are.  Memory: 28 bytes a row; rows: about 2 / (min_bytes - k + 2) of the bytes.
    Raises ValueError for a min_bytes or a part that is too large.
    """
    if not 2 <= min_bytes <= MAX_MIN_BYTES:
        raise ValueError(f"min_bytes is {min_bytes}, allowed are 2 to {MAX_MIN_BYTES:,}")
    if len(utf8) > MAX_PART_BYTES:
        raise ValueError(f"a part of {len(utf8):,} bytes, allowed are {MAX_PART_BYTES:,}")
    k = gram_bytes(min_bytes)
    capacity = int(len(utf8) * 2.2 / (min_bytes - k + 2)) + 16
    return Anchors(*_find(utf8, offsets, documents, min_bytes, k, _BYTE_WORDS, capacity))


@njit(error_model="numpy")
def hash_windows(utf8, starts, counts, size):  # type: ignore[no-untyped-def]
    """[sum of counts] uint64: hashes of the counts[i] successive windows of `size` bytes from starts[i] on, one after
    another.  Equal bytes, equal hashes; different ones collide with size / 2^61."""
    total = 0
    for count in counts:
        total += count
    out = np.empty(total, np.uint64)
    power = powers(size)[size]
    at = 0
    for i in range(len(starts)):
        start = np.int64(starts[i])
        value = np.uint64(0)
        for place in range(start, start + size):
            value = append(value, utf8[place])
        out[at] = value
        at += 1
        for place in range(start, start + counts[i] - 1):
            value = append(value, utf8[place + size])
            gone = multiply(np.uint64(utf8[place]) + _U1, power)
            value = value - gone if value >= gone else value + _PRIME - gone
            out[at] = value
            at += 1
    return out
