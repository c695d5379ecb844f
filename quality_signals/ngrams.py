"""Repeated word n-grams, exact, in time linear in the words.

Words come as numbers (equal word, equal number).  An (n+1)-gram is the pair of the n-grams at its first and
second word, so 64-bit pairs of numbers identify n-grams of every length without collisions; and it can only
occur twice where both of those do, so positions drop out as n grows and ordinary text costs little beyond n =
4.
"""

from __future__ import annotations

import numpy as np

from quality_signals.codepoints import mix
from quality_signals.compiled import njit


@njit()
def next_level(grams, n):  # type: ignore[no-untyped-def]
    """Turns the numbers of n-grams into those of (n+1)-grams in place; -1 where an n-gram occurs once only.

    grams [words] int64: number of the n-gram that starts at each word, or -1.
    returns counts [distinct] of the (n+1)-grams that may repeat, numbered in order of first occurrence.
    """
    positions = len(grams) - n
    active = 0
    for i in range(positions):
        active += grams[i] >= 0 and grams[i + 1] >= 0
    capacity = 16
    while capacity < 2 * active:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots = np.full(capacity, -1, dtype=np.int64)
    keys = np.empty(active, dtype=np.uint64)
    counts = np.zeros(active, dtype=np.int64)
    distinct = 0
    for i in range(len(grams)):
        if i >= positions or grams[i] < 0 or grams[i + 1] < 0:
            grams[i] = -1
            continue
        key = (np.uint64(grams[i]) << np.uint64(32)) | np.uint64(grams[i + 1])
        slot = mix(key) & mask
        while slots[slot] >= 0 and keys[slots[slot]] != key:
            slot = (slot + np.uint64(1)) & mask
        number = slots[slot]
        if number < 0:
            number = distinct
            slots[slot] = number
            keys[number] = key
            distinct += 1
        counts[number] += 1
        grams[i] = number
    return counts[:distinct]


@njit()
def drop_single(grams, counts):  # type: ignore[no-untyped-def]
    """Marks n-grams that occur once with -1; returns how many positions are left."""
    left = 0
    for i in range(len(grams)):
        if grams[i] >= 0:
            if counts[grams[i]] < 2:
                grams[i] = -1
            else:
                left += 1
    return left


@njit()
def top_gram(grams, counts):  # type: ignore[no-untyped-def]
    """Position and count of the most frequent n-gram, the first seen on a tie; (0, 1) if none occurs
    twice."""
    best = -1
    most = 1
    for number in range(len(counts)):
        if counts[number] > most:
            best = number
            most = counts[number]
    if best >= 0:
        for i in range(len(grams)):
            if grams[i] == best:
                return i, most
    return 0, 1
