"""Shingles: the set of hashes of all runs of n successive words of a text.

A word is a run of `\\w` (Unicode letters, digits, underscore: Python's `re`), lower-cased code point by code
point with final sigma taken as sigma and dotted capital I as i, so that no context is needed.  A text with
fewer than n words has no shingle.  Scripts that write no spaces (Han, Kana, Thai) give one word a phrase.

    word hash     h <- (h ^ code point) * M over its code points, then mix64
    shingle hash  mix64 of the polynomial of n word hashes in B, modulo 2^64; never 0

Two different shingles of one pair of documents collide with probability about 2^-64 each.
"""

from __future__ import annotations

import functools

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.hashing import Hashes, mix64

# Shingle length in words: 5 in datatrove (utils/minhash config n_grams), text-dedup and data-juicer.
WORDS = 5
_SEED = np.uint64(0x8445D61A4E774912)
_M = np.uint64(0x9FB21C651E98DF25)  # odd, random-looking: 64-bit multiplier of the word hash
_B = np.uint64(0xD6E8FEB86659FD93)  # odd: base of the shingle polynomial
_ZERO, _ONE = np.uint64(0), np.uint64(1)
# No code point from here on is a word character (Unicode 16 ends its ideographs at U+323AF).
_TABLE_END = 0x40000
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


def utf8_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes [total] and offsets [rows + 1] of a string or large_string array; null is empty; no copy."""
    if not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), starts


def shingle_sets(texts: pa.Array, n: int = WORDS) -> list[Hashes]:
    """Of every text the sorted, distinct hashes of its shingles; an empty array where it is too short."""
    data, offsets = utf8_buffers(texts)
    scratch = np.empty(int(np.diff(offsets).max(initial=0)) // 2 + 1, np.uint64)
    table = word_table()
    sets: list[Hashes] = []
    for start, stop in zip(offsets[:-1], offsets[1:], strict=True):
        words = scan_words(data, start, stop, table, scratch)
        sets.append(np.unique(scratch[: words_to_shingles(scratch, words, n)]))
    return sets
