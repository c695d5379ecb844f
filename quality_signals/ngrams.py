"""Repeated word n-grams, exact, in expected time linear in the words.

Words come as numbers (equal word, equal number).  An (n+1)-gram is the pair of the n-grams at its first and second
word, so 64-bit pairs of numbers identify n-grams of every length without collisions; and it can only occur twice
where both of those do, so places drop out as n grows and ordinary text costs little beyond n = 4.

The arrays that the kernels work in have room for as many words as the longest text has; slots for four times as many
and four.
"""

from __future__ import annotations

import numpy as np

from quality_signals.codepoints import equal_ranges, mix
from quality_signals.compiled import njit

# Bit of a word's key that tells that others may have the same key; without it equal keys and lengths are equal words.
HASHED = np.uint64(1 << 63)


@njit(error_model="numpy")
def number_words(points, starts, ends, keys, grams, slots, heads, counts):  # type: ignore[no-untyped-def]
    """Fills grams with the number of each word points[starts[i]:ends[i]] among the distinct ones, in order of first
    occurrence, heads with that, and counts with their occurrences."""
    words = len(starts)
    capacity = 4
    while capacity < 2 * words:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots[:capacity] = -1
    distinct = 0
    for word in range(words):
        key = keys[word]
        length = ends[word] - starts[word]
        slot = mix(key) & mask
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = distinct
                heads[distinct] = word
                counts[distinct] = 1
                grams[word] = distinct
                distinct += 1
                break
            head = heads[known]
            if (
                keys[head] == key
                and ends[head] - starts[head] == length
                and (not key & HASHED or equal_ranges(points, starts[head], points, starts[word], length))
            ):
                counts[known] += 1
                grams[word] = known
                break
            slot = (slot + np.uint64(1)) & mask


@njit(error_model="numpy")
def keep_repeated(at, grams, active, counts):  # type: ignore[no-untyped-def]
    """Leaves of the n-grams at[:active] (words where they begin, ascending) and grams[:active] (their numbers) those
    that occur more than once.  Returns how many are left."""
    left = 0
    for k in range(active):
        at[left] = at[k]
        grams[left] = grams[k]
        left += counts[grams[k]] > 1
    return left


@njit(error_model="numpy")
def number_grams(at, grams, active, slots, keys, counts):  # type: ignore[no-untyped-def]
    """From the repeated n-grams to the (n+1)-grams that may repeat: pairs of n-grams at neighbouring words.

    at, grams [active]: word at which an n-gram starts, ascending, and its number; replaced by those of the
    (n+1)-grams, numbered in order of first occurrence.  counts: filled with their occurrences.  Returns how many are
    left.
    """
    capacity = 4
    while capacity < 2 * active:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots[:capacity] = -1
    left = 0
    distinct = 0
    for k in range(active - 1):
        if at[k + 1] != at[k] + 1:
            continue
        key = np.uint64(grams[k]) << np.uint64(32) | np.uint64(grams[k + 1])
        slot = mix(key) & mask
        while slots[slot] >= 0 and keys[slots[slot]] != key:
            slot = (slot + np.uint64(1)) & mask
        number = slots[slot]
        if number < 0:
            number = distinct
            slots[slot] = number
            keys[number] = key
            counts[number] = 0
            distinct += 1
        counts[number] += 1
        at[left] = at[k]
        grams[left] = number
        left += 1
    return left


@njit(error_model="numpy")
def top_gram(at, grams, active, counts):  # type: ignore[no-untyped-def]
    """Word at which the most frequent n-gram begins, the first seen of several, and its occurrences; (0, 1) if none
    occurs twice."""
    best = np.int64(0)
    most = np.int64(1)
    for k in range(active):
        if counts[grams[k]] > most:
            most = counts[grams[k]]
            best = at[k]
    return best, most
