"""Repeated word n-grams as datatrove 0.10.1 reads Gopher's rules, for all texts of a batch, exact and in linear
time.

Of 2- to 4-grams the most frequent counts, of 5- to 10-grams every one that was seen before.  The latter are equal
if their words written together are: ("ab", "c") equals ("a", "bc").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import mix
from quality_signals.compiled import njit
from quality_signals.ngrams import longer_grams, repeated_grams, repeated_words, start_grams, top_gram, workspace
from quality_signals.strings import Strings
from quality_signals.text_batch import TextBatch

Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
U = np.uint64

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)

# Bytes by which places that may repeat are found first, five bits of each: an n-gram of at least so many that occurs
# twice begins at two words with the same following bytes.  Fewer leave more places that only seem to repeat, more
# leave more n-grams that are too short to be told so.
_SIGHT = 12
_SIGHT_MASK = U((1 << 5 * _SIGHT) - 1)

_BASE = U(0x9E3779B97F4A7C15)
_INVERSE = U(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_HALF = U(32)
_LOW = U(0xFFFFFFFF)
# Columns of the facts of a word.
_HEAD, _SUM, _POWER, _BACK, _CHARS, _SIZE = range(6)


@njit(error_model="numpy")
def _word_facts(utf8, offsets, facts):  # type: ignore[no-untyped-def]
    """The first _SIGHT bytes, the first lowest; byte 0 + byte 1 * base + byte 2 * base ** 2 + ... (each one more than
    it is); the base to the number of bytes, and its inverse; code points; bytes."""
    for word in range(len(offsets) - 1):
        start = offsets[word]
        size = offsets[word + 1] - start
        head = U(0)
        total = U(0)
        power = U(1)
        back = U(1)
        characters = U(0)
        for k in range(size):
            c = U(utf8[U(start + k)])
            if k < _SIGHT:
                head |= (c & U(31)) << U(5 * k)
            total += (c + U(1)) * power
            power *= _BASE
            back *= _INVERSE
            characters += U((c & U(0xC0)) != U(0x80))
        facts[word, _HEAD] = head
        facts[word, _SUM] = total
        facts[word, _POWER] = power
        facts[word, _BACK] = back
        facts[word, _CHARS] = characters
        facts[word, _SIZE] = size


def word_facts(words: TextBatch) -> npt.NDArray[np.uint64]:
    """Facts of `strings.Strings`."""
    facts = np.empty((len(words), 8), np.uint64)  # a cache line
    _word_facts(words.utf8, words.byte_offsets, facts)
    return facts


@njit(error_model="numpy")
def _equal(a, b, n, utf8, bounds):  # type: ignore[no-untyped-def]
    """Whether the n-grams of the words a[:n] and b[:n], which have as many bytes, are equal written together."""
    same = True
    for k in range(n):
        same &= a[k] == b[k]
    if same:
        return True
    i = j = np.int64(0)
    x, x_end = bounds[a[0]], bounds[a[0] + 1]
    y, y_end = bounds[b[0]], bounds[b[0] + 1]
    while True:
        while x == x_end:
            i += 1
            if i == n:
                return True
            x, x_end = bounds[a[i]], bounds[a[i] + 1]
        while y == y_end:
            j += 1
            if j == n:
                return True
            y, y_end = bounds[b[j]], bounds[b[j] + 1]
        if utf8[x] != utf8[y]:
            return False
        x += 1
        y += 1


@njit(error_model="numpy")
def _repeats(ids, words, facts, utf8, bounds, room, repeated):  # type: ignore[no-untyped-def]
    """Characters of repeated 5- to 10-grams: from left to right an n-gram seen before counts and the scan jumps
    behind it, another is remembered and the scan moves one word.

    facts: as in `word_facts`.  room: see `_of_texts`.
    """
    slots, used, seen, spots, places, sums, backs, sizes, chars = room
    repeated[:] = 0
    if words < 5:
        return
    # How often the first _SIGHT bytes from each word on, or others with the same spot, are seen.
    bits = U(6)
    while U(1) << bits < U(16 * words):
        bits += U(1)
    seen[: np.int64(1) << np.int64(bits)] = 0
    shift = U(64) - bits
    ahead = U(0)
    for i in range(words - 1, -1, -1):
        row = U(ids[U(i)])
        size = facts[row, _SIZE]
        ahead = facts[row, _HEAD] | ((ahead << (U(5) * size)) & _SIGHT_MASK if size < U(_SIGHT) else U(0))
        spot = (ahead * _BASE) >> shift
        spots[U(i)] = spot
        seen[spot] = min(seen[spot] + 1, 2)
    # The bytes of the words a, ..., b - 1 written together have the hash (sums[b] - sums[a]) * backs[a].
    total = U(0)
    power = U(1)
    back = U(1)
    at = np.int32(0)
    at_char = np.int32(0)
    for i in range(words):
        row = U(ids[U(i)])
        sums[U(i)] = total
        backs[U(i)] = back
        sizes[U(i)] = at
        chars[U(i)] = at_char
        total += facts[row, _SUM] * power
        power *= facts[row, _POWER]
        back *= facts[row, _BACK]
        at += facts[row, _SIZE]
        at_char += facts[row, _CHARS]
    sums[words] = total
    sizes[words] = at
    chars[words] = at_char
    # An n-gram of fewer bytes has others behind it among its first ones: such a place is looked at in any case.
    count = 0
    for i in range(words - 4):
        places[U(count)] = i
        count += (seen[U(spots[U(i)])] > 1) | (sizes[U(i + 5)] - sizes[U(i)] < _SIGHT)
    for n in range(5, 11):
        if count < 2:
            return
        capacity = np.int64(8)
        while capacity < 2 * count:
            capacity *= 2
        mask = U(capacity - 1)
        if used[0] + words >= 1 << 32:
            slots[:] = U(0)
            used[0] = 0
        base = U(used[0])
        behind = 0
        for number in range(count):
            i = places[U(number)]
            if i < behind:
                continue
            end = i + n
            if end > words:
                break
            size = sizes[U(end)] - sizes[U(i)]
            h = mix((sums[U(end)] - sums[U(i)]) * backs[U(i)] ^ U(size))
            slot = h & mask
            tag = h >> _HALF
            other = np.int64(-1)
            while (slots[slot] & _LOW) > base:
                if slots[slot] >> _HALF == tag:
                    other = np.int64((slots[slot] & _LOW) - base) - 1
                    if sizes[U(other + n)] - sizes[U(other)] == size:
                        if _equal(ids[other : other + n], ids[i:end], n, utf8, bounds):
                            break
                    other = np.int64(-1)
                slot = (slot + U(1)) & mask
            if other >= 0:
                repeated[n - 5] += chars[U(end)] - chars[U(i)]
                behind = end
            else:
                slots[slot] = tag << _HALF | (base + U(i + 1))
        used[0] += words


@njit(error_model="numpy")
def _of_texts(ids, offsets, facts, utf8, bounds, work, room, top, repeated):  # type: ignore[no-untyped-def]
    """room: slots [power of two] uint64, zeros: the upper half of a hash, and the place of a word one more than
    `used[0]`, which what is left of others does not reach; used [1] int64; seen [eight times the slots] uint8; and with
    room for one more than the words of the longest text: spots and places int32, sums and backs uint64, sizes and chars
    int32."""
    for text in range(len(offsets) - 1):
        low = offsets[text]
        words = offsets[text + 1] - low
        top[text] = -1
        start_grams(ids, low, offsets[text + 1], work)
        left = repeated_words(words, work)
        for n in range(2, 5):
            if words < n:
                break
            left, distinct = longer_grams(left, work)
            best, most = top_gram(distinct, work)
            characters = np.int64(n - 1)
            for k in range(low + best, low + best + n):
                characters += np.int64(facts[U(ids[U(k)]), _CHARS])
            top[text, n - 2] = most * characters
            left = repeated_grams(left, work)
        _repeats(ids[low : low + words], words, facts, utf8, bounds, room, repeated[text])


def count_repeated(ids: Ids, offsets: Ints, words: Strings) -> tuple[Ints, Ints]:
    """What the n-grams of each text cover, in characters.

    ids: the words as numbers in `words`, those of text i are ids[offsets[i]:offsets[i + 1]].
    returns top [texts, 3]: characters (single blanks between the words included) times occurrences of the most frequent
    2-, 3- and 4-gram, the first seen of several, one that occurs once too, -1 without one; and repeated [texts, 6]:
    characters of 5- to 10-grams seen before.  Memory: about 120 bytes a word of the longest text.
    """
    texts = len(offsets) - 1
    most = int(np.diff(offsets).max(initial=0))
    facts = words.facts(word_facts)
    slots = max(8, 1 << (2 * most).bit_length())
    top, repeated = np.zeros((texts, len(TOP)), np.int64), np.zeros((texts, len(REPEATED)), np.int64)
    room = (
        np.zeros(slots, np.uint64),
        np.zeros(1, np.int64),
        np.empty(max(64, 8 * slots), np.uint8),
        np.empty(most + 1, np.int32),
        np.empty(most + 1, np.int32),
        np.empty(most + 1, np.uint64),
        np.empty(most + 1, np.uint64),
        np.empty(most + 1, np.int32),
        np.empty(most + 1, np.int32),
    )
    _of_texts(ids, offsets, facts, words.utf8, words.bounds, workspace(most, words.known), room, top, repeated)
    return top, repeated
