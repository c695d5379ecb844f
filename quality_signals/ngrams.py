"""Repeated word n-grams, exact, in time linear in the words.

Words come as numbers (equal word, equal number).  An (n+1)-gram is the pair of the n-grams at its first and
second word, so 64-bit pairs of numbers identify n-grams of every length without collisions; and it can only
occur twice where both of those do, so positions drop out as n grows and ordinary text costs little beyond n =
4.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quality_signals.codepoints import equal_ranges, find_entry, mix


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def repetition(ids, distinct, lengths):  # type: ignore[no-untyped-def]
    """The numerators of RedPajama-V2's repetition signals.

    ids, lengths [words]: number and characters of each word.
    returns top [3] (count times characters of the top 2-, 3-, 4-gram, 0 if it occurs once) and
    dupe [6] (characters of words covered by 5- to 10-grams that occur at least twice, each word once).
    """
    words = len(ids)
    top = np.zeros(3, dtype=np.int64)
    dupe = np.zeros(6, dtype=np.int64)
    counts = np.zeros(distinct, dtype=np.int64)
    for number in ids:
        counts[number] += 1
    grams = ids.copy()
    for n in range(2, 11):
        if words < n or drop_single(grams, counts) == 0:
            break
        counts = next_level(grams, n - 1)
        if n <= 4:
            at, most = top_gram(grams, counts)
            if most > 1:
                for k in range(n):
                    top[n - 2] += most * lengths[at + k]
        else:
            covered = 0
            for i in range(words - n + 1):
                if grams[i] >= 0 and counts[grams[i]] > 1:
                    for k in range(max(i, covered), i + n):
                        dupe[n - 5] += lengths[k]
                    covered = i + n
    return top, dupe


@njit(cache=True, nogil=True)
def top_joined(ids, distinct, lengths):  # type: ignore[no-untyped-def]
    """Count times characters (single spaces between the words included) of the top 2-, 3- and 4-gram; -1
    without n-gram.  One that occurs once counts too: then it is the first of the text."""
    words = len(ids)
    top = np.full(3, -1, dtype=np.int64)
    counts = np.zeros(distinct, dtype=np.int64)
    for number in ids:
        counts[number] += 1
    grams = ids.copy()
    for n in range(2, 5):
        if words < n:
            break
        drop_single(grams, counts)
        counts = next_level(grams, n - 1)
        at, most = top_gram(grams, counts)
        top[n - 2] = n - 1
        for k in range(n):
            top[n - 2] += lengths[at + k]
        top[n - 2] *= most
    return top


_BASE = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def repeated_scan(chars, offsets):  # type: ignore[no-untyped-def]
    """Characters of repeated 5- to 10-grams in datatrove's reading.

    From left to right: an n-gram seen before counts and the scan jumps behind it, another is remembered and
    the scan moves one word.  N-grams are equal if their words written together are: ("ab", "c") equals ("a",
    "bc"). chars: all words written together; word i is chars[offsets[i]:offsets[i + 1]].
    returns [6] int64.  Hashes only choose the slot; a hit is compared, and then jumped over, so time is
    linear.
    """
    words = len(offsets) - 1
    total = np.zeros(6, dtype=np.int64)
    prefix = np.zeros(len(chars) + 1, dtype=np.uint64)
    powers = np.ones(len(chars) + 1, dtype=np.uint64)
    for i in range(len(chars)):
        prefix[i + 1] = prefix[i] * _BASE + np.uint64(chars[i] + 1)
        powers[i + 1] = powers[i] * _BASE
    capacity = 16
    while capacity < 2 * words:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots = np.empty(capacity, dtype=np.int64)
    hashes = np.empty(capacity, dtype=np.uint64)
    for n in range(5, 11):
        slots[:] = -1
        i = 0
        while i < words - n + 1:
            start = offsets[i]
            end = offsets[i + n]
            h = mix(prefix[end] - prefix[start] * powers[end - start])
            slot = h & mask
            seen = False
            while slots[slot] >= 0:
                other = slots[slot]
                if (
                    hashes[slot] == h
                    and offsets[other + n] - offsets[other] == end - start
                    and equal_ranges(chars, offsets[other], chars, start, end - start)
                ):
                    seen = True
                    break
                slot = (slot + np.uint64(1)) & mask
            if seen:
                total[n - 5] += end - start
                i += n
            else:
                slots[slot] = i
                hashes[slot] = h
                i += 1
    return total


@njit(cache=True, nogil=True)
def listed_grams(joined, starts, ends, ids, distinct, sizes, heads, phrases):  # type: ignore[no-untyped-def]
    """Number of n-grams, for n in `sizes`, whose words joined by a space are an entry of `phrases`.

    heads, phrases: arrays of a `Lexicon`; heads holds the first words of the phrases and spares most
    look-ups.
    """
    slots, hashes, offsets, chars = phrases
    head_slots, head_hashes, head_offsets, head_chars = heads
    may_start = np.full(distinct, -1, dtype=np.int8)
    found = 0
    for i in range(len(ids)):
        if may_start[ids[i]] < 0:
            entry = find_entry(head_slots, head_hashes, head_offsets, head_chars, joined, starts[i], ends[i])
            may_start[ids[i]] = entry >= 0
        if may_start[ids[i]] == 0:
            continue
        for n in sizes:
            if i + n <= len(ids):
                last = ends[i + n - 1]
                found += find_entry(slots, hashes, offsets, chars, joined, starts[i], last) >= 0
    return found
