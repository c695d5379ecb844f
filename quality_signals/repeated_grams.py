"""Repeated word n-grams as datatrove 0.10.1 reads Gopher's rules, for all texts of a batch, exact and in linear
time.

Of 2- to 4-grams the most frequent counts, of 5- to 10-grams every one that was seen before.  The latter are equal
if their words written together are: ("ab", "c") equals ("a", "bc").
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import mix, room
from quality_signals.compiled import njit
from quality_signals.ngrams import hash_bits, longer_grams, pair_grams, repeated_grams, top_gram, workspace
from quality_signals.strings import Strings
from quality_signals.text_batch import TextBatch

Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
U = np.uint64

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)
MOST_WORDS = (1 << 31) - 16  # of a text: places are int32

# Bytes by which places that may repeat are found first, five bits of each: an n-gram of at least so many that occurs
# twice begins at two words with the same following bytes.  Fewer leave more places that only seem to repeat, more
# leave more n-grams that are too short to be told so.
_SIGHT = 12
_SIGHT_BITS = U(5 * _SIGHT)
_SIGHT_MASK = U((1 << 5 * _SIGHT) - 1)

_BASE = U(0x9E3779B97F4A7C15)
_HALF = U(32)
_LOW = U(0xFFFFFFFF)
_POWERS = 1 << 10  # of the base that are looked up


@njit(error_model="numpy")
def _word_sights(utf8, offsets, sights):  # type: ignore[no-untyped-def]
    for word in range(len(offsets) - 1):
        start = offsets[word]
        size = min(offsets[word + 1] - start, _SIGHT)
        sight = U(size) << _SIGHT_BITS
        for k in range(size):
            sight |= U(utf8[U(start + k)] & 31) << U(5 * k)
        sights[word] = sight


def word_sights(words: TextBatch) -> npt.NDArray[np.uint64]:
    """Facts of `strings.Strings`: the first _SIGHT bytes, the first lowest, and above them how many they are."""
    sights = np.empty(len(words), np.uint64)
    _word_sights(words.utf8, words.byte_offsets, sights)
    return sights


@njit(error_model="numpy")
def _word_sums(utf8, offsets, sums):  # type: ignore[no-untyped-def]
    for word in range(len(offsets) - 1):
        total = U(0)
        for k in range(offsets[word + 1] - 1, offsets[word] - 1, -1):
            total = total * _BASE + U(utf8[U(k)]) + U(1)
        sums[word, 0] = total
        sums[word, 1] = offsets[word + 1] - offsets[word]


def word_sums(words: TextBatch) -> npt.NDArray[np.uint64]:
    """Facts of `strings.Strings`, [words, 2]: the bytes, each one more than it is, as the digits of a number of the
    base, the first lowest; and how many they are."""
    sums = np.empty((len(words), 2), np.uint64)
    _word_sums(words.utf8, words.byte_offsets, sums)
    return sums


@lru_cache(maxsize=1)
def _powers() -> npt.NDArray[np.uint64]:
    """[2, _POWERS]: the base to 0, 1, 2, ..., and to 0, -1, -2, ...: an odd number has an inverse modulo 2^64."""
    bases = np.array([[_BASE], [pow(int(_BASE), -1, 1 << 64)]], np.uint64)
    ones = np.ones((2, 1), np.uint64)
    return np.cumprod(np.append(ones, np.repeat(bases, _POWERS - 1, axis=1), axis=1), axis=1, dtype=np.uint64)


@njit(error_model="numpy")
def _power(size, powers):  # type: ignore[no-untyped-def]
    """powers[1] to the power of `size`."""
    if size < len(powers):
        return powers[U(size)]
    found = U(1)
    square = powers[1]
    while size:
        if size & 1:
            found *= square
        square *= square
        size >>= 1
    return found


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
def _places(ids, words, sights, work, spots, places):  # type: ignore[no-untyped-def]
    """Fills `places` with the words at which an n-gram of at least five may begin that occurs twice.  Returns how many.

    Without branches: they are not to be foreseen.  spots: room for the words.
    """
    bits = hash_bits(words)
    seen = work.slots.view(np.uint8)[: np.int64(1) << np.int64(bits)]
    seen[:] = 0
    shift = U(64) - bits
    ahead = U(0)
    # Bytes of this word and the four behind it, each no more than _SIGHT.
    sizes = s1 = s2 = s3 = s4 = U(0)
    for i in range(words - 1, -1, -1):
        sight = sights[U(ids[U(i)])]
        size = sight >> _SIGHT_BITS
        ahead = (sight | ahead << (U(5) * size)) & _SIGHT_MASK
        spot = (ahead * _BASE) >> shift
        seen[spot] = min(seen[spot] + 1, 2)
        sizes = size + s1 + s2 + s3 + s4
        s4 = s3
        s3 = s2
        s2 = s1
        s1 = size
        # An n-gram of fewer bytes has others behind it among its first ones: such a place is looked at in any case.
        spots[U(i)] = spot | U(sizes < U(_SIGHT)) << _HALF
    count = np.int64(0)
    for i in range(words - 4):
        spot = spots[U(i)]
        places[U(count)] = i
        count += (seen[spot & _LOW] > 1) | (spot > _LOW)
    seen[:] = 0
    return count


@njit(error_model="numpy")
def _repeats(ids, words, strings, powers, work, room, repeated):  # type: ignore[no-untyped-def]
    """Characters of repeated 5- to 10-grams: from left to right an n-gram seen before counts and the scan jumps
    behind it, another is remembered and the scan moves one word.

    strings, work, room: see `_of_texts`.
    """
    sights, word_sums, lengths, utf8, bounds = strings
    slots, used, places, sums, sizes, inverses = room
    repeated[:] = 0
    if words < 5:
        return
    count = _places(ids, words, sights, work, sums, places)
    if count < 2:
        return
    # The bytes of the words a, ..., b - 1 written together have the hash (sums[b] - sums[a]) * inverses[a].
    total = at = U(0)
    power = inverse = U(1)
    for i in range(words):
        row = U(ids[U(i)])
        sums[U(i)] = total
        sizes[U(i)] = at
        inverses[U(i)] = inverse
        size = word_sums[row, 1]
        total += power * word_sums[row, 0]
        power *= _power(size, powers[0])
        inverse *= _power(size, powers[1])
        at += size
    sums[U(words)] = total
    sizes[U(words)] = at
    capacity = np.int64(8)
    while capacity < 2 * count:
        capacity *= 2
    mask = U(capacity - 1)
    bits = hash_bits(count)
    seen = work.slots.view(np.uint8)[: np.int64(1) << np.int64(bits)]
    shift = U(64) - bits
    hashes, kept = work.pairs, work.at
    for n in range(5, 11):
        while count and places[U(count - 1)] + n > words:
            count -= 1
        # Most n-grams stand alone, and which do is not to be foreseen: those of which no other has the hash go first.
        seen[:] = 0
        for number in range(count):
            i = U(places[U(number)])
            h = (sums[i + U(n)] - sums[i]) * inverses[i]
            hashes[U(number)] = h
            seen[h >> shift] = min(seen[h >> shift] + 1, 2)
        left = np.int64(0)
        for number in range(count):
            h = hashes[U(number)]
            kept[U(left)] = places[U(number)]
            hashes[U(left)] = h
            left += seen[h >> shift] > 1
        if used[0] + words >= 1 << 32:
            slots[:] = U(0)
            used[0] = 0
        base = U(used[0])
        behind = 0
        for number in range(left):
            i = np.int64(kept[U(number)])
            if i < behind:
                continue
            end = i + n
            size = sizes[U(end)] - sizes[U(i)]
            h = mix(hashes[U(number)])
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
                for k in range(U(i), U(end)):
                    repeated[n - 5] += lengths[U(ids[k])]
                behind = end
            else:
                slots[slot] = tag << _HALF | (base + U(i + 1))
        used[0] += words
    seen[:] = 0


@njit(error_model="numpy")
def _of_texts(ids, offsets, strings, powers, work, room, top, repeated):  # type: ignore[no-untyped-def]
    """strings: of all words `word_sights`, `word_sums`, code points, and `Strings.utf8` and `bounds`.
    work: of `ngrams.workspace`.  room: slots [power of two] uint64, zeros: the upper half of a hash, and the place
    of a word one more than `used[0]`, which what is left of others does not reach; used [1] int64; and with room for
    one more than the words of the longest text: places int32, sums, sizes and inverses uint64."""
    lengths = strings[2]
    for text in range(len(offsets) - 1):
        low = offsets[text]
        words = offsets[text + 1] - low
        top[text] = -1
        left, distinct = pair_grams(ids, low, offsets[text + 1], work)
        for n in range(2, 5):
            if words < n:
                break
            if n > 2:
                left, distinct = longer_grams(left, work)
            best, most = top_gram(distinct, work)
            characters = np.int64(n - 1)
            for k in range(low + best, low + best + n):
                characters += lengths[U(ids[U(k)])]
            top[text, n - 2] = most * characters
            left = repeated_grams(left, work)
        _repeats(ids[low : low + words], words, strings, powers, work, room, repeated[text])


def count_repeated(ids: Ids, offsets: Ints, words: Strings) -> tuple[Ints, Ints]:
    """What the n-grams of each text cover, in characters.

    ids: the words as numbers in `words`, those of text i are ids[offsets[i]:offsets[i + 1]].
    returns top [texts, 3]: characters (single blanks between the words included) times occurrences of the most frequent
    2-, 3- and 4-gram, the first seen of several, one that occurs once too, -1 without one; and repeated [texts, 6]:
    characters of 5- to 10-grams seen before.  Memory: about 120 bytes a word of the longest text.  Raises ValueError
    for a text of more than MOST_WORDS words.
    """
    texts = len(offsets) - 1
    counts = np.diff(offsets)
    most = int(counts.max(initial=0))
    if most > MOST_WORDS:
        raise ValueError(f"text {int(counts.argmax())} of the batch has {most} words, at most {MOST_WORDS} are allowed")
    top, repeated = np.zeros((texts, len(TOP)), np.int64), np.zeros((texts, len(REPEATED)), np.int64)
    of_grams = (
        np.zeros(max(8, 1 << (2 * most).bit_length()), np.uint64),
        np.zeros(1, np.int64),
        room(most + 1, np.int32),
        room(most + 1, np.uint64),
        room(most + 1, np.uint64),
        room(most + 1, np.uint64),
    )
    strings = (words.facts(word_sights), words.facts(word_sums), words.lengths, words.utf8, words.bounds)
    _of_texts(ids, offsets, strings, _powers(), workspace(most, words.known), of_grams, top, repeated)
    return top, repeated
