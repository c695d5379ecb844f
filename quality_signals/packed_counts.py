"""Small counts of a chunk side by side in one number, to be summed over lines at once.

A family has several counts of each chunk of its text (words of str.split), and of nearly all they are small.  So eight
counts are the bytes of one number: a chunk costs one look into memory, and two additions whatever is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quality_signals.compiled import njit
from quality_signals.strings import Strings, U, Vocabulary
from quality_signals.text_batch import TextBatch

LANES = 8  # counts of a number, a byte each
MOST = 256  # numbers that are added before the sums are taken out: 256 * 255 < 2^16
BIG = 128  # bit of the last byte: a count is above 255, and the other bytes are the place of all counts
_EVEN = U(0x00FF00FF00FF00FF)
_TOP = U(56)
_PLACE = U((1 << 56) - 1)


@njit(error_model="numpy")
def _pack(counts, packed, bigs, places):  # type: ignore[no-untyped-def]
    """Fills packed, and places with the rows that are too big; bigs: those before.  Returns how many."""
    columns = counts.shape[1]
    last = U(packed.shape[1] - 1)
    found = 0
    for row in range(len(counts)):
        largest = np.int32(0)
        for column in range(columns - 1):
            largest = max(largest, counts[row, column])
        for number in range(packed.shape[1]):
            whole = U(0)
            if largest <= 255:
                for lane in range(LANES):
                    whole |= U(counts[row, LANES * number + lane]) << U(LANES * lane)
            packed[row, number] = whole
        if largest > 255:
            packed[row, last] = U(BIG) << _TOP | U(bigs + found)
            places[found] = row
            found += 1
    return found


class PackedCounts:
    """The counts of the strings of a vocabulary, `build(texts, *options)`; to be asked for as
    `vocabulary.remembered(PackedCounts, build, *options)`.

    build: [texts, a multiple of LANES] int32, none below 0, in the last column bits below BIG.
    """

    def __init__(self, _: Vocabulary, build: Callable[..., npt.NDArray[np.int32]], *options: Any) -> None:
        self._build = build
        self._options = options
        self._big = np.zeros((0, 0), np.int32)

    def _packed(self, texts: TextBatch) -> npt.NDArray[np.uint64]:
        counts = texts.view(self._build, *self._options)
        packed = np.empty((len(counts), counts.shape[1] // LANES), np.uint64)
        places = np.empty(len(counts), np.int64)
        found = _pack(counts, packed, len(self._big), places)
        big = counts[places[:found]]
        self._big = np.concatenate([self._big, big]) if len(self._big) else big
        return packed

    def of(self, strings: Strings) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
        """[strings, columns / LANES] numbers, and [big ones, columns] the counts of those with the bit BIG."""
        with strings.lock:
            return strings.facts(self._packed), self._big


@njit(error_model="numpy")
def bits_of(packed):  # type: ignore[no-untyped-def]
    """The last column of a row, from its last number."""
    return packed >> _TOP


@njit(error_model="numpy")
def place_of(packed):  # type: ignore[no-untyped-def]
    """Where the counts of a row are that has the bit BIG."""
    return packed & _PLACE


@njit(error_model="numpy")
def add_to(even, odd, packed):  # type: ignore[no-untyped-def]
    """Sums of the counts at even and at odd places, each of 16 bits, with those of one more number."""
    return even + (packed & _EVEN), odd + (packed >> U(8) & _EVEN)


@njit(error_model="numpy")
def take_out(even, odd, sums, first):  # type: ignore[no-untyped-def]
    """Adds what was summed to sums[first:first + LANES]."""
    for lane in range(LANES // 2):
        shift = U(16 * lane)
        sums[first + 2 * lane] += np.int64(even >> shift & U(0xFFFF))
        sums[first + 2 * lane + 1] += np.int64(odd >> shift & U(0xFFFF))
