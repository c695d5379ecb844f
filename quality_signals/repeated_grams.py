"""Repeated word n-grams as datatrove 0.10.1 reads Gopher's rules, for all texts of a batch, exact and in linear
time.

Of 2- to 4-grams the most frequent counts, of 5- to 10-grams every one that was seen before.  The latter are equal
if their words written together are: ("ab", "c") equals ("a", "bc").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import equal_ranges, mix
from quality_signals.compiled import njit
from quality_signals.ngrams import HASHED, keep_repeated, number_grams, number_words, top_gram
from quality_signals.views import PACKED_CHARS

Ints = npt.NDArray[np.int64]

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)

# Characters by which places that may repeat are found first: an n-gram that is at least so long and occurs twice
# begins at two words with the same following characters.  Fewer characters leave more places that only seem to
# repeat, more leave more n-grams that are too short to be told so; 10 to 14 are fastest on English prose.
_SIGHT = 12

_BASE = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(error_model="numpy")
def _clear(slots, entries):  # type: ignore[no-untyped-def]
    """Empties a table with room for so many entries at most half full.  Returns its mask.

    A slot holds the upper half of a hash and one more than a word's number; 0 is empty.
    """
    capacity = 8
    while capacity < 2 * entries:
        capacity *= 2
    slots[:capacity] = np.uint64(0)
    return np.uint64(capacity - 1)


@njit(error_model="numpy")
def _put(slots, slot, h, word):  # type: ignore[no-untyped-def]
    slots[slot] = (h >> _HALF << _HALF) | np.uint64(word + 1)


@njit(error_model="numpy")
def _find(slots, mask, h, chars, at, word, n):  # type: ignore[no-untyped-def]
    """The word at which an n-gram equal to that at `word` stands in the table, or -1; and the slot."""
    length = at[word + n] - at[word]
    slot = h & mask
    while slots[slot]:
        if slots[slot] >> _HALF == h >> _HALF:
            other = np.int64(slots[slot] & _LOW) - 1
            if at[other + n] - at[other] == length and equal_ranges(chars, at[other], chars, at[word], length):
                return other, slot
        slot = (slot + np.uint64(1)) & mask
    return -1, slot


@njit(error_model="numpy")
def _top(ends_at, words, grams, counts, places, keys, slots, top):  # type: ignore[no-untyped-def]
    """Characters, single blanks between the words included, times occurrences of the top 2-, 3- and 4-gram; -1
    without one.  Of equally frequent ones the first seen counts, and one that occurs once counts too.

    grams, counts: of `ngrams.number_words`.  Both are used up.  ends_at: [words + 1] characters of the words before.
    """
    top[:] = -1
    for i in range(words):
        places[i] = i
    active = words
    for n in range(2, 5):
        if words < n:
            return
        left = keep_repeated(places, grams, active, counts)
        active = number_grams(places, grams, left, slots, keys, counts)
        best, most = top_gram(places, grams, active, counts)
        top[n - 2] = most * (n - 1 + ends_at[best + n] - ends_at[best])


@njit(error_model="numpy")
def _repeats(chars, at, words, prefix, powers, slots, seen, spots, places, repeated):  # type: ignore[no-untyped-def]
    """Characters of repeated 5- to 10-grams: from left to right an n-gram seen before counts and the scan jumps
    behind it, another is remembered and the scan moves one word.

    seen: slots as bytes.  spots, places: room for the words; the latter for those at which an n-gram may begin that
    repeats.
    """
    repeated[:] = 0
    if words < 5:
        return
    # How often the first _SIGHT characters from each word on, or others with the same spot, are seen.
    bits = np.uint64(6)
    while 1 << bits < 16 * words:
        bits += np.uint64(1)
    seen[: 1 << bits] = 0
    shift = np.uint64(64) - bits
    sighted = 0
    while sighted < words - 4 and at[sighted] + _SIGHT <= at[words]:
        h = (prefix[at[sighted] + _SIGHT] - prefix[at[sighted]] * powers[_SIGHT]) * _BASE >> shift
        spots[sighted] = h
        seen[h] = min(seen[h] + 1, 2)
        sighted += 1
    count = 0
    for i in range(sighted):
        places[count] = i
        count += (seen[spots[i]] > 1) | (at[i + 5] < at[i] + _SIGHT)  # a short one is looked at in any case
    for i in range(sighted, words - 4):
        places[count] = i
        count += 1
    for n in range(5, 11):
        if count < 2:
            return
        mask = _clear(slots, count)
        behind = 0
        for number in range(count):
            i = places[number]
            if i < behind or i + n > words:
                continue
            start = at[i]
            end = at[i + n]
            h = mix(prefix[end] - prefix[start] * powers[end - start])
            other, slot = _find(slots, mask, h, chars, at, i, n)
            if other >= 0:
                repeated[n - 5] += end - start
                behind = i + n
            else:
                _put(slots, slot, h, i)


@njit(error_model="numpy")
def _of_texts(  # type: ignore[no-untyped-def]
    points,
    starts,
    ends,
    offsets,
    chars,
    prefix,
    powers,
    at,
    grams,
    counts,
    keys,
    slots,
    hash_slots,
    seen,
    places,
    top,
    repeated,
):
    powers[0] = 1
    for k in range(1, len(powers)):
        powers[k] = powers[k - 1] * _BASE
    prefix[0] = 0
    at[0] = 0
    for text in range(len(offsets) - 1):
        first = offsets[text]
        words = offsets[text + 1] - first
        end = 0
        for i in range(words):
            start = end
            key = np.uint64(0)
            wide = np.uint32(0)
            for k in range(starts[first + i], ends[first + i]):
                c = points[k]
                chars[end] = c
                prefix[end + 1] = prefix[end] * _BASE + np.uint64(c + 1)
                key = key << np.uint64(8) | np.uint64(c)
                wide |= c
                end += 1
            at[i + 1] = end
            if end - start > PACKED_CHARS or wide > 127:
                key = (prefix[end] - prefix[start] * powers[end - start]) | HASHED
            keys[i] = key
        number_words(chars, at[:words], at[1 : words + 1], keys[:words], grams, slots, places, counts)
        _top(at, words, grams, counts, places, keys, slots, top[text])
        _repeats(chars, at, words, prefix, powers, hash_slots, seen, grams, places, repeated[text])


def repeated_grams(points: npt.NDArray[np.uint32], starts: Ints, ends: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """What the n-grams of each text cover, in characters.

    Word k is points[starts[k]:ends[k]], the words of text i are offsets[i]:offsets[i + 1].
    returns top [texts, 3]: characters (blanks between the words included) times occurrences of the most frequent 2-,
    3- and 4-gram, -1 without one; and repeated [texts, 6]: characters of 5- to 10-grams seen before.
    Memory: about 70 bytes a word and 20 a character of the longest text.
    """
    texts = len(offsets) - 1
    words = int(np.diff(offsets).max(initial=0))
    lengths = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(ends - starts, out=lengths[1:])
    chars = max(int(np.diff(lengths[offsets]).max(initial=0)), _SIGHT)
    slots = np.empty(max(8, 1 << (2 * words).bit_length()), np.int64)
    top, repeated = np.zeros((texts, len(TOP)), np.int64), np.zeros((texts, len(REPEATED)), np.int64)
    _of_texts(
        points,
        starts,
        ends,
        offsets,
        np.empty(chars, np.uint32),
        np.empty(chars + 1, np.uint64),  # prefix
        np.empty(chars + 1, np.uint64),  # powers
        np.empty(words + 1, np.int64),  # at
        np.empty(words, np.int64),  # grams
        np.empty(words, np.int64),  # counts
        np.empty(words, np.uint64),  # keys
        slots,
        slots.view(np.uint64),
        slots.view(np.uint8),
        np.empty(words, np.int64),  # places
        top,
        repeated,
    )
    return top, repeated
