"""Shingles: the set of hashes of all runs of n successive parts of a text.

    words       n = 5: datatrove's (utils/minhash config n_grams), text-dedup's and data-juicer's.  A word is a run of
                `\\w` (Unicode letters, digits, underscore: Python's `re`), lower-cased code point by code point with
                final sigma taken as sigma and dotted capital I as i, so that no context is needed.  Scripts that
                write no spaces (Han, Kana, Thai) give one word a phrase
    characters  n = 24, NeMo Curator's default.  Code points, lower-cased as words are; a run of white space is one
                space, none at the ends.  For scripts without spaces, and for short texts
    code        n = 5.  Tokens: runs of `\\w`, case kept, and every other character but white space alone
    dna         n = 21, Mash's.  k-mers of A, C, G and T (U is T, case does not matter); white space is passed over,
                any other character ends a run, and so does a line that begins with >.  Canonical: a k-mer and its
                reverse complement are the same

A text with fewer than n parts has no shingle.

    hash of a word or token  h <- (h ^ code point) * M over its code points, then mix64
    hash of a shingle        mix64 of the polynomial of n hashes in B, modulo 2^64 (of a character: mix64 of it plus 1;
                             of a k-mer: its bases as digits to base 4, the smaller one if canonical, plus 1)

A shingle's hash is never 0.  Two different shingles of one pair of documents collide with probability about 2^-64 each.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.hashing import Hashes, mix64
from quality_signals.compiled import njit

Shingle = Literal["words", "characters", "code", "dna"]
KINDS: tuple[Shingle, ...] = ("words", "characters", "code", "dna")
WORDS = 5
DEFAULT_N = {"words": WORDS, "characters": 24, "code": 5, "dna": 21}
_WORDS, _CHARACTERS, _CODE, _DNA = range(4)
# Two bits a base in 64.
MAX_BASES = 32
_SEED = np.uint64(0x8445D61A4E774912)
_M = np.uint64(0x9FB21C651E98DF25)  # odd, random-looking: 64-bit multiplier of the word hash
_B = np.uint64(0xD6E8FEB86659FD93)  # odd: base of the shingle polynomial
_ZERO, _ONE = np.uint64(0), np.uint64(1)
# No code point from here on is a word character (Unicode 16 ends its ideographs at U+323AF).
_TABLE_END = 0x40000
# A token of one character, in `code_table`.
_ALONE = np.uint32(1 << 31)
_NO_BASE = 5
_SIGMA, _FINAL_SIGMA, _DOTTED_I = 0x3C3, 0x3C2, 0x130


@functools.cache
def word_table() -> npt.NDArray[np.uint32]:
    """[code point] -> lower-cased code point, 0 where it is not a word character.  1 MB, 0.1 s a process."""
    table = np.zeros(_TABLE_END, np.uint32)
    for point in range(_TABLE_END):
        character = chr(point)
        if character.isalnum() or character == "_":
            table[point] = ord(character.lower()[0])
    table[_DOTTED_I] = ord("i")
    table[_FINAL_SIGMA] = _SIGMA
    return table


@functools.cache
def character_table() -> npt.NDArray[np.uint32]:
    """[code point] -> lower-cased as in `word_table`, itself where it is no word character, a space for white space."""
    table = np.where(word_table() == 0, np.arange(_TABLE_END, dtype=np.uint32), word_table())
    table[[point for point in range(_TABLE_END) if chr(point).isspace()]] = ord(" ")
    return table.astype(np.uint32)


@functools.cache
def code_table() -> npt.NDArray[np.uint32]:
    """[code point] -> itself in a word, with _ALONE where it is a token alone, 0 for white space."""
    points = np.arange(_TABLE_END, dtype=np.uint32)
    table = np.where(word_table() == 0, points | _ALONE, points)
    table[[point for point in range(_TABLE_END) if chr(point).isspace()]] = 0
    return table.astype(np.uint32)


@functools.cache
def base_table() -> npt.NDArray[np.uint32]:
    """[byte] -> 0 to 3 for A, C, G, T; 4 for white space, 5 for anything else.  3 - base is the complement."""
    table = np.full(256, _NO_BASE, np.uint32)
    for digit, letters in enumerate(("Aa", "Cc", "Gg", "TtUu", " \t\n\v\f\r")):
        for letter in letters:
            table[ord(letter)] = digit
    return table


def table_of(shingle: Shingle) -> npt.NDArray[np.uint32]:
    tables = {"words": word_table, "characters": character_table, "code": code_table, "dna": base_table}
    return tables[shingle]()


def check_shingle(shingle: Shingle, n: int | None) -> int:
    """n, the kind's own where it is None.  Raises ValueError for a kind or a length that does not exist."""
    if shingle not in KINDS:
        raise ValueError(f"shingle is {shingle!r}, allowed are {', '.join(KINDS)}")
    n = DEFAULT_N[shingle] if n is None else n
    most = MAX_BASES if shingle == "dna" else 10_000
    if not 1 <= n <= most:
        raise ValueError(f"n is {n}, must be 1 or more and at most {most:,} for {shingle}")
    return n


@njit()
def scan_words(data, start, stop, table, words):  # type: ignore[no-untyped-def]
    """Writes the hash of every word of data[start:stop] (valid UTF-8) into `words`; returns how many."""
    count = 0
    state = _SEED
    inside = False
    i = start
    while i < stop:
        lead = np.uint32(data[i])
        if lead < 0x80:
            point = lead
            i += 1
        elif lead < 0xE0:
            point = ((lead & 0x1F) << 6) | (np.uint32(data[i + 1]) & 0x3F)
            i += 2
        elif lead < 0xF0:
            point = ((lead & 0x0F) << 12) | ((np.uint32(data[i + 1]) & 0x3F) << 6)
            point |= np.uint32(data[i + 2]) & 0x3F
            i += 3
        else:
            point = ((lead & 0x07) << 18) | ((np.uint32(data[i + 1]) & 0x3F) << 12)
            point |= ((np.uint32(data[i + 2]) & 0x3F) << 6) | (np.uint32(data[i + 3]) & 0x3F)
            i += 4
        letter = table[point] if point < _TABLE_END else np.uint32(0)
        if letter != 0:
            state = (state ^ np.uint64(letter)) * _M
            inside = True
        elif inside:
            words[count] = mix64(state)
            count += 1
            state = _SEED
            inside = False
    if inside:
        words[count] = mix64(state)
        count += 1
    return count


@njit()
def words_to_shingles(words, count, n):  # type: ignore[no-untyped-def]
    """Replaces the first `count` word hashes by their shingle hashes, in order; returns how many."""
    shingles = max(count - n + 1, 0)
    for i in range(shingles):
        state = words[i]
        for j in range(1, n):
            state = state * _B + words[i + j]
        state = mix64(state)
        words[i] = state if state != _ZERO else _ONE
    return shingles


@njit(inline="always")
def _point_at(data, i):  # type: ignore[no-untyped-def]
    """The code point of valid UTF-8 at data[i], and where the next one begins."""
    lead = np.uint32(data[i])
    if lead < 0x80:
        return lead, i + 1
    if lead < 0xE0:
        return np.uint32((lead & 0x1F) << 6 | np.uint32(data[i + 1]) & 0x3F), i + 2
    if lead < 0xF0:
        middle = (np.uint32(data[i + 1]) & 0x3F) << 6
        return np.uint32((lead & 0x0F) << 12 | middle | np.uint32(data[i + 2]) & 0x3F), i + 3
    middle = (np.uint32(data[i + 1]) & 0x3F) << 12 | (np.uint32(data[i + 2]) & 0x3F) << 6
    return np.uint32((lead & 0x07) << 18 | middle | np.uint32(data[i + 3]) & 0x3F), i + 4


@njit()
def _scan_tokens(data, start, stop, table, tokens):  # type: ignore[no-untyped-def]
    """Writes the hash of every token of code into `tokens`; returns how many."""
    count = 0
    state = _SEED
    inside = False
    i = start
    while i < stop:
        point, i = _point_at(data, i)
        letter = table[point] if point < _TABLE_END else np.uint32(point | _ALONE)
        if letter != 0 and letter < _ALONE:
            state = (state ^ np.uint64(letter)) * _M
            inside = True
            continue
        if inside:
            tokens[count] = mix64(state)
            count += 1
            state = _SEED
            inside = False
        if letter != 0:
            tokens[count] = mix64((_SEED ^ np.uint64(point)) * _M)
            count += 1
    if inside:
        tokens[count] = mix64(state)
        count += 1
    return count


@njit()
def _scan_characters(data, start, stop, table, n, last, shingles):  # type: ignore[no-untyped-def]
    """Shingles of n characters, in order; returns how many.  last: uint64 [n], overwritten."""
    power = _ONE
    for _ in range(n):
        power *= _B
    count = seen = place = 0
    state = _ZERO
    spaced = False
    i = start
    while i < stop:
        point, i = _point_at(data, i)
        letter = table[point] if point < _TABLE_END else point
        if letter == 32:
            spaced = seen > 0
            continue
        for step in range(2):  # the space that is due, and the character
            if step == 0 and not spaced:
                continue
            value = mix64(np.uint64(32 if step == 0 else letter) + _ONE)
            state = state * _B + value
            if seen >= n:
                state -= last[place] * power
            last[place] = value
            place = place + 1 if place + 1 < n else 0
            seen += 1
            if seen >= n:
                hashed = mix64(state)
                shingles[count] = hashed if hashed != _ZERO else _ONE
                count += 1
        spaced = False
    return count


@njit()
def _scan_bases(data, start, stop, table, n, canonical, shingles):  # type: ignore[no-untyped-def]
    """The k-mers of n bases, in order; returns how many."""
    count = run = 0
    top = np.uint64(2 * (n - 1))
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 2 * n)
    forward = backward = _ZERO
    at_line_start = True
    i = start
    while i < stop:
        byte = data[i]
        i += 1
        base = np.uint64(table[byte])
        if at_line_start and byte == 62:  # '>': the name of a sequence
            while i < stop and data[i] != 10:
                i += 1
            run = 0
            continue
        at_line_start = byte == 10
        if base == 4:
            continue
        if base == 5:
            run = 0
            continue
        forward = (forward << np.uint64(2) | base) & mask
        backward = backward >> np.uint64(2) | (np.uint64(3) - base) << top
        run += 1
        if run >= n:
            chosen = min(forward, backward) if canonical else forward
            hashed = mix64(chosen + _ONE)
            shingles[count] = hashed if hashed != _ZERO else _ONE
            count += 1
    return count


@njit()
def scan_shingles(kind, data, start, stop, table, n, canonical, last, shingles):  # type: ignore[no-untyped-def]
    """Writes the hashes of the shingles of data[start:stop] (valid UTF-8), in order; returns how many.

    kind: index in KINDS; table: its table; last: uint64 [n], overwritten; shingles: `room_for` entries.
    """
    if kind == _WORDS:
        return words_to_shingles(shingles, scan_words(data, start, stop, table, shingles), n)
    if kind == _CODE:
        return words_to_shingles(shingles, _scan_tokens(data, start, stop, table, shingles), n)
    if kind == _CHARACTERS:
        return _scan_characters(data, start, stop, table, n, last, shingles)
    return _scan_bases(data, start, stop, table, n, canonical, shingles)


@njit()
def distinct(hashes, count, slots):  # type: ignore[no-untyped-def]
    """Moves the distinct ones of hashes[:count] (none 0) to the front, in order of first occurrence; returns how many.

    slots: a power of two, at least 2 * count; overwritten.
    """
    size = 8
    while size < 2 * count:
        size *= 2
    mask = np.uint64(size - 1)
    for slot in range(size):
        slots[slot] = _ZERO
    kept = 0
    for i in range(count):
        value = hashes[i]
        place = value & mask
        while slots[place] != _ZERO and slots[place] != value:
            place = (place + _ONE) & mask
        if slots[place] == _ZERO:
            slots[place] = value
            hashes[kept] = value
            kept += 1
    return kept


@njit()
def room_for(kind, offsets):  # type: ignore[no-untyped-def]
    """The most shingles that a text can have: words lie a byte apart, other parts are a byte at least."""
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return (longest // 2 if kind == _WORDS else longest) + 1


@njit()
def slots_for(count):  # type: ignore[no-untyped-def]
    size = 8
    while size < 2 * count:
        size *= 2
    return np.empty(size, np.uint64)


@njit()
def _distinct_shingles(kind, data, offsets, table, n, canonical, found, ends):  # type: ignore[no-untyped-def]
    """found: room for every text's shingles behind those of the texts before; ends: [rows + 1]."""
    last = np.empty(n, np.uint64)
    slots = slots_for(room_for(kind, offsets))
    out = 0
    for row in range(offsets.size - 1):
        own = found[out:]
        count = scan_shingles(kind, data, offsets[row], offsets[row + 1], table, n, canonical, last, own)
        out += distinct(own, count, slots)
        ends[row + 1] = out
    return out


def utf8_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes [total] and offsets [rows + 1] of a string or large_string array; null is empty; no copy."""
    if not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), starts


def shingle_sets(
    texts: pa.Array, n: int | None = None, shingle: Shingle = "words", canonical: bool = True
) -> list[Hashes]:
    """Of every text the sorted, distinct hashes of its shingles; an empty array where it is too short.

    n: None for the kind's own.  canonical: of dna.  The arrays lie in one.
    """
    n = check_shingle(shingle, n)
    data, offsets = utf8_buffers(texts)
    total = int(offsets[-1] - offsets[0])
    found = np.empty((total // 2 if shingle == "words" else total) + len(offsets), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    _distinct_shingles(KINDS.index(shingle), data, offsets, table_of(shingle), n, canonical, found, ends)
    bounds = ends.tolist()
    sets = [found[start:stop] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
    for own in sets:
        own.sort()
    return sets
