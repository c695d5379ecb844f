"""The minima of all texts over families of hash functions, and what comes before them: ranges and distinct hashes.

Everything is for the texts of a batch at once.  Hashes lie back to back; those of text i are
hashes[offsets[i]:offsets[i + 1]].  The minima of a text without hashes are left as they were given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dedup.hashing import Hashes, mix64
from quality_signals.compiled import njit

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

# 2^61 - 1, the prime of datasketch's first family, which RedPajama, BigCode and datatrove took over.
PRIME = (1 << 61) - 1
_PRIME, _PRIME_BITS, _LOW = np.uint64(PRIME), np.uint64(61), np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
# BigCode's second family: the largest prime below 2^32.
PRIME_32 = (1 << 32) - 5
_PRIME_32 = np.uint32(PRIME_32)


def alternating(seed: int, count: int) -> tuple[Hashes, Hashes]:
    """a and b of datasketch's first family, [count] each, drawn in turn from numpy's legacy generator."""
    generator = np.random.RandomState(seed)  # its stream is the definition
    drawn = [
        (generator.randint(1, PRIME, dtype=np.uint64), generator.randint(0, PRIME, dtype=np.uint64))
        for _ in range(count)
    ]
    a, b = np.array(drawn, np.uint64).T
    return a.copy(), b.copy()


@njit(error_model="numpy")
def _ranges(offsets, n, before, starts, ends, first, last):  # type: ignore[no-untyped-def]
    at = 0
    for text in range(len(offsets) - 1):
        for i in range(offsets[text], offsets[text + 1] - (n - 1)):
            first[at] = starts[i]
            last[at] = ends[i + n - 1]
            at += 1
        before[text + 1] = at
    return at


def shingle_ranges(starts: Ints, ends: Ints, offsets: Ints, n: int) -> tuple[Ints, Ints, Ints]:
    """Start and end of every run of n successive words of a text, and [texts + 1] the runs before each text."""
    first, last = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    before = np.zeros(len(offsets), np.int64)
    count = _ranges(offsets, n, before, starts, ends, first, last)
    return first[:count], last[:count], before


@njit(error_model="numpy")
def _distinct(hashes, offsets, found, before):  # type: ignore[no-untyped-def]
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    room = 16
    while room < 2 * longest:
        room *= 2
    slots = np.zeros(room, np.uint64)
    out = 0
    for text in range(len(offsets) - 1):
        size = 16
        while size < 2 * (offsets[text + 1] - offsets[text]):
            size *= 2
        for slot in range(size):
            slots[slot] = 0
        mask = np.uint64(size - 1)
        zero = False
        for i in range(offsets[text], offsets[text + 1]):
            value = hashes[i]
            if value == 0:  # marks a free slot
                if not zero:
                    found[out] = value
                    out += 1
                zero = True
                continue
            slot = mix64(value) & mask
            while slots[slot] != 0 and slots[slot] != value:
                slot = (slot + _ONE) & mask
            if slots[slot] == 0:
                slots[slot] = value
                found[out] = value
                out += 1
        before[text + 1] = out
    return out


def distinct_hashes(hashes: Hashes, offsets: Ints) -> tuple[Hashes, Ints]:
    """The distinct hashes of every text in order of first occurrence, and their offsets.  Expected linear time."""
    found, before = np.empty(len(hashes), np.uint64), np.zeros(len(offsets), np.int64)
    count = _distinct(hashes, offsets, found, before)
    return found[:count], before


def sorted_sets(hashes: Hashes, offsets: Ints) -> list[Hashes]:
    """Of every text the sorted, distinct hashes."""
    found, before = distinct_hashes(hashes, offsets)
    bounds = before.tolist()
    sets = [found[start:stop] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
    for own in sets:
        own.sort()
    return sets


@njit(error_model="numpy")
def affine32_minima(hashes, offsets, a, b, minima):  # type: ignore[no-untyped-def]
    """minima[text, j] = min of itself and of a[j] h + b[j] modulo 2^32; all uint32.

    Four hashes at a time, so that minima, a and b are read a quarter as often: the loop over j is nothing but
    multiplications, additions and minima of vectors of 32-bit lanes.
    """
    for text in range(len(offsets) - 1):
        row = minima[text]
        i = offsets[text]
        while i + 4 <= offsets[text + 1]:
            h0, h1, h2, h3 = hashes[i], hashes[i + 1], hashes[i + 2], hashes[i + 3]
            for j in range(len(a)):
                least = min(np.uint32(a[j] * h0 + b[j]), np.uint32(a[j] * h1 + b[j]))
                other = min(np.uint32(a[j] * h2 + b[j]), np.uint32(a[j] * h3 + b[j]))
                row[j] = min(row[j], min(least, other))
            i += 4
        while i < offsets[text + 1]:
            h0 = hashes[i]
            for j in range(len(a)):
                row[j] = min(row[j], np.uint32(a[j] * h0 + b[j]))
            i += 1


@njit(error_model="numpy")
def prime32_minima(hashes, offsets, a, b, minima):  # type: ignore[no-untyped-def]
    """minima[text, j] = min of itself and of (a[j] h + b[j] modulo 2^32) modulo 2^32 - 5; all uint32."""
    for text in range(len(offsets) - 1):
        row = minima[text]
        for i in range(offsets[text], offsets[text + 1]):
            h = hashes[i]
            for j in range(len(a)):
                value = np.uint32(a[j] * h + b[j])
                # Below the prime the difference wraps to a larger number, so the smaller of the two is the rest.
                row[j] = min(row[j], min(value, np.uint32(value - _PRIME_32)))


@njit(inline="always")
def _modulo_prime61(v):  # type: ignore[no-untyped-def]
    """v mod 2^61 - 1, int64 (vectors compare signed numbers only).

    With x = (v mod 2^61) + (v div 2^61) <= p + 7, it is x, or x - p where x >= p.
    """
    x = np.int64((v & _PRIME) + (v >> _PRIME_BITS))
    return x - np.int64(_PRIME) if x >= np.int64(_PRIME) else x


@njit(inline="always")
def _low_modulo_prime61(v):  # type: ignore[no-untyped-def]
    """The low 32 bits of v mod 2^61 - 1: -p is 1 in them, and x >= p where x + 1 >= 2^61."""
    x = (v & _PRIME) + (v >> _PRIME_BITS)
    return np.uint32(x + (x + _ONE >> _PRIME_BITS))


@njit(error_model="numpy")
def prime61_minima(hashes, offsets, a, b, minima):  # type: ignore[no-untyped-def]
    """minima[text, j] = min of itself and of (h a[j] + b[j] modulo 2^64) modulo 2^61 - 1.

    hashes, a and b uint64, minima int64.
    """
    for text in range(len(offsets) - 1):
        row = minima[text]
        i = offsets[text]
        while i + 4 <= offsets[text + 1]:
            h0, h1, h2, h3 = hashes[i], hashes[i + 1], hashes[i + 2], hashes[i + 3]
            for j in range(len(a)):
                least = min(_modulo_prime61(h0 * a[j] + b[j]), _modulo_prime61(h1 * a[j] + b[j]))
                other = min(_modulo_prime61(h2 * a[j] + b[j]), _modulo_prime61(h3 * a[j] + b[j]))
                row[j] = min(row[j], min(least, other))
            i += 4
        while i < offsets[text + 1]:
            h0 = hashes[i]
            for j in range(len(a)):
                row[j] = min(row[j], _modulo_prime61(h0 * a[j] + b[j]))
            i += 1


@njit(error_model="numpy")
def prime61_low_minima(hashes, offsets, a, b, minima):  # type: ignore[no-untyped-def]
    """minima[text, j] = min of itself and of the low 32 bits of (h a[j] + b[j] modulo 2^64) modulo 2^61 - 1.

    hashes and minima uint32, a and b uint64.
    """
    for text in range(len(offsets) - 1):
        row = minima[text]
        i = offsets[text]
        while i + 4 <= offsets[text + 1]:
            h0, h1 = np.uint64(hashes[i]), np.uint64(hashes[i + 1])
            h2, h3 = np.uint64(hashes[i + 2]), np.uint64(hashes[i + 3])
            for j in range(len(a)):
                least = min(_low_modulo_prime61(h0 * a[j] + b[j]), _low_modulo_prime61(h1 * a[j] + b[j]))
                other = min(_low_modulo_prime61(h2 * a[j] + b[j]), _low_modulo_prime61(h3 * a[j] + b[j]))
                row[j] = min(row[j], min(least, other))
            i += 4
        while i < offsets[text + 1]:
            h0 = np.uint64(hashes[i])
            for j in range(len(a)):
                row[j] = min(row[j], _low_modulo_prime61(h0 * a[j] + b[j]))
            i += 1


def minima_of(kernel: Any, hashes: Any, offsets: Ints, a: Any, b: Any, empty: int, dtype: Any) -> Any:
    """[texts, permutations] minima by one of the kernels above; `empty` where a text has no hash."""
    found = np.full((len(offsets) - 1, len(a)), empty, dtype)
    kernel(hashes, offsets, a, b, found)
    return found
