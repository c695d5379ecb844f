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
_ODD = U(0x9E3779B97F4A7C15)


class Workspace(NamedTuple):
    """local    [strings] int32: of each string one more than its number in the batch, so that what earlier texts left
             is too small to be of this one
    slots    int32, zeros, a power of two of at least four times the words; a slot holds more than `used[0]` where it is
             of the n-grams at work, so nothing is cleared
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
    slots = 1 << max(4, (4 * words).bit_length())
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
def hash_bits(words):  # type: ignore[no-untyped-def]
    """Bits of the places in the bytes of `slots` by which pieces of a text of so many words are told apart: 16 places
    a word, so that few different ones share one."""
    bits = U(6)
    while U(1) << bits < U(16 * words):
        bits += U(1)
    return bits


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
def _number(left, work):  # type: ignore[no-untyped-def]
    """Numbers the n-grams of the places left, of which `pairs` has the parts; fills the other arrays.  Returns how many
    are distinct."""
    _, slots, at, grams, counts, heads, pairs, used = work
    if used[0] > _LARGEST - left:
        slots[:] = 0
        used[0] = 0
    base = np.int64(used[0])
    capacity = np.int64(16)
    while capacity < 2 * left:
        capacity *= 2
    mask = U(capacity - 1)
    distinct = np.int64(0)
    for k in range(left):
        pair = pairs[U(k)]
        slot = mix(pair) & mask
        number = np.int64(slots[slot]) - 1 - base
        while number >= 0 and pairs[U(number)] != pair:
            slot = (slot + U(1)) & mask
            number = np.int64(slots[slot]) - 1 - base
        if number < 0:
            number = distinct
            distinct += 1
            slots[slot] = base + distinct
            pairs[U(number)] = pair  # no further than k
            counts[U(number)] = 0
            heads[U(number)] = at[U(k)]
        counts[U(number)] += 1
        grams[U(k)] = number
    used[0] = base + distinct
    return distinct


@njit(error_model="numpy")
def longer_grams(left, work):  # type: ignore[no-untyped-def]
    """From the repeated n-grams to the (n+1)-grams that may repeat: pairs of n-grams at neighbouring words.

    Replaces at, grams, counts, heads and pairs.  Returns how many places are left, and how many numbers they have.
    """
    _, _, at, grams, _, _, pairs, _ = work
    kept = np.int64(0)
    for k in range(left - 1):
        place = at[U(k)]
        at[U(kept)] = place
        pairs[U(kept)] = U(grams[U(k)]) << U(32) | U(grams[U(k + 1)])
        kept += at[U(k + 1)] == place + 1
    return kept, _number(kept, work)


@njit(error_model="numpy")
def pair_grams(ids, low, high, work):  # type: ignore[no-untyped-def]
    """From the words ids[low:high] of a text to its 2-grams that may repeat, as `longer_grams` leaves them.

    A pair is first told by a hash alone, so a few that do not repeat stay.  That is without branches: whether a pair
    repeats is not to be foreseen.
    """
    _, slots, at, _, _, _, pairs, _ = work
    words = high - low
    if words < 2:
        return np.int64(0), np.int64(0)
    bits = hash_bits(words)
    seen = slots.view(np.uint8)[: np.int64(1) << np.int64(bits)]
    seen[:] = 0
    shift = U(64) - bits
    word = U(ids[U(low)])
    for k in range(words - 1):
        following = U(ids[U(low + k + 1)])
        spot = ((word << U(32) | following) * _ODD) >> shift
        pairs[U(k)] = spot
        seen[spot] = min(seen[spot] + 1, 2)
        word = following
    left = np.int64(0)
    word = U(ids[U(low)])
    for k in range(words - 1):
        following = U(ids[U(low + k + 1)])
        spot = pairs[U(k)]
        at[U(left)] = k
        pairs[U(left)] = word << U(32) | following
        left += seen[spot] > 1
        word = following
    seen[:] = 0
    return left, _number(left, work)


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
