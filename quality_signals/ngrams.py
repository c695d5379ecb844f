"""Repeated word n-grams, exact, in expected time linear in the words.

Words come as numbers (equal word, equal number).  An (n+1)-gram is the pair of the n-grams at its first and second
word, so 64-bit pairs of numbers identify n-grams of every length without collisions; and it can only occur twice
where both of those do, so places drop out as n grows and ordinary text costs little beyond n = 4.

The arrays that the kernels work in are a `workspace`, with room for as many words as the longest text has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import mix, room
from quality_signals.compiled import njit

Ids = npt.NDArray[np.int32]
U = np.uint64
_LARGEST = (1 << 31) - 2


class Workspace(NamedTuple):
    """local    [strings] int32: of each string one more than its number in the batch, so that what earlier texts left
             is too small to be of this one
    slots    int32, zeros, a power of two of at least twice the words; a slot holds more than `used[0]` where it is of
             the n-grams at work, so nothing is cleared
    at       [words] int32: words at which n-grams begin that may occur twice, ascending
    grams    [words] int32: their numbers
    counts   [words] int32: occurrences of each number
    heads    [words] int32: word at which it first begins
    pairs    [words] uint64: its first and second part
    used     [2] int64: numbers that slots and `local` may hold"""

    local: Ids
    slots: Ids
    at: Ids
    grams: Ids
    counts: Ids
    heads: Ids
    pairs: npt.NDArray[np.uint64]
    used: npt.NDArray[np.int64]


def workspace(words: int, strings: int) -> Workspace:
    """Room for texts of so many words at most, which are numbers below `strings`."""
    slots = 1 << max(4, (2 * words).bit_length())
    return Workspace(
        np.zeros(strings, np.int32),
        np.zeros(slots, np.int32),
        room(words + 1, np.int32),
        room(words + 1, np.int32),
        room(words + 1, np.int32),
        room(words + 1, np.int32),
        room(words + 1, np.uint64),
        np.zeros(2, np.int64),
    )


@njit(error_model="numpy")
def start_grams(ids, low, high, work):  # type: ignore[no-untyped-def]
    """Numbers the words ids[low:high] of a text in order of first occurrence, into grams, counts and heads.  Returns
    how many are distinct."""
    local, _, _, grams, counts, heads, _, used = work
    if used[1] > _LARGEST - (high - low):
        local[:] = 0
        used[1] = 0
    base = np.int64(used[1])
    distinct = np.int64(0)
    for k in range(low, high):
        word = U(ids[U(k)])
        number = np.int64(local[word]) - 1 - base
        if number < 0:
            number = distinct
            distinct += 1
            local[word] = base + distinct
            counts[U(number)] = 0
            heads[U(number)] = k - low
        counts[U(number)] += 1
        grams[U(k - low)] = number
    used[1] = base + distinct
    return distinct


@njit(error_model="numpy")
def repeated_words(words, work):  # type: ignore[no-untyped-def]
    """Leaves of the numbered words those that occur more than once.  Returns how many places are left."""
    _, _, at, grams, counts, _, _, _ = work
    left = np.int64(0)
    for k in range(words):
        gram = grams[U(k)]
        at[U(left)] = k
        grams[U(left)] = gram
        left += counts[U(gram)] > 1
    return left


@njit(error_model="numpy")
def repeated_grams(left, work):  # type: ignore[no-untyped-def]
    """Leaves of the n-grams those that occur more than once.  Returns how many places are left."""
    _, _, at, grams, counts, _, _, _ = work
    kept = np.int64(0)
    for k in range(left):
        gram = grams[U(k)]
        at[U(kept)] = at[U(k)]
        grams[U(kept)] = gram
        kept += counts[U(gram)] > 1
    return kept


@njit(error_model="numpy")
def longer_grams(left, work):  # type: ignore[no-untyped-def]
    """From the repeated n-grams to the (n+1)-grams that may repeat: pairs of n-grams at neighbouring words.

    Replaces at, grams, counts, heads and pairs.  Returns how many places are left, and how many numbers they have.
    """
    _, slots, at, grams, counts, heads, pairs, used = work
    if used[0] > _LARGEST - left:
        slots[:] = 0
        used[0] = 0
    base = np.int64(used[0])
    capacity = np.int64(16)
    while capacity < 2 * left:
        capacity *= 2
    mask = U(capacity - 1)
    kept = np.int64(0)
    distinct = np.int64(0)
    for k in range(left - 1):
        place = at[U(k)]
        if at[U(k + 1)] != place + 1:
            continue
        pair = U(grams[U(k)]) << U(32) | U(grams[U(k + 1)])
        slot = mix(pair) & mask
        number = np.int64(slots[slot]) - 1 - base
        while number >= 0 and pairs[U(number)] != pair:
            slot = (slot + U(1)) & mask
            number = np.int64(slots[slot]) - 1 - base
        if number < 0:
            number = distinct
            distinct += 1
            slots[slot] = base + distinct
            pairs[U(number)] = pair
            counts[U(number)] = 0
            heads[U(number)] = place
        counts[U(number)] += 1
        at[U(kept)] = place
        grams[U(kept)] = number
        kept += 1
    used[0] = base + distinct
    return kept, distinct


@njit(error_model="numpy")
def top_gram(distinct, work):  # type: ignore[no-untyped-def]
    """Word at which the most frequent n-gram first begins, the first seen of several, and its occurrences; (0, 1) if
    none occurs twice."""
    _, _, _, _, counts, heads, _, _ = work
    best = np.int64(-1)
    most = np.int64(1)
    for number in range(distinct):
        if counts[U(number)] > most:
            most = np.int64(counts[U(number)])
            best = number
    return (np.int64(heads[best]), most) if best >= 0 else (np.int64(0), np.int64(1))
