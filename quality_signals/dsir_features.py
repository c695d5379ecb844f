"""Hashed n-gram features of the two DSIR implementations: how often each bucket is met in a text.

Words are WordPunct's, `\\w+|[^\\w\\s]+`; features are words and pairs of neighbouring words.

    rpv2   words as they stand; bucket = |hash| mod B, hash being CPython's own of the string, or of the pair as a
           tuple (togethercomputer/RedPajama-Data @ 6d2cee9, app/src/core/quality_signals/utils/dsir.py)
    dsir   words of the lower-cased text, a pair joined by a space; bucket = SHA-256 as an integer mod B
           (p-lambda/dsir @ 14ffaa4, data_selection/hashed_ngram_dsir.py)

CPython's hash depends on the environment variable PYTHONHASHSEED, which RedPajama set to 42, and on the version of
Python, 3.11 there.  Here it is computed from its definition, the same in every process.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.codepoints import SPACE, WORD, class_table
from quality_signals.compiled import njit
from quality_signals.dsir_digests import put_utf8, sha256_words
from quality_signals.text_batch import TextBatch

Ints = npt.NDArray[np.int64]
Scheme = Literal["rpv2", "dsir"]
SCHEMES: tuple[Scheme, ...] = ("rpv2", "dsir")
# DSIR_FEATURE_DIM of RedPajama-Data's configs/rp_v2.0.conf, and num_buckets of dsir.
BUCKETS = 10_000
MAX_BUCKETS = 1 << 24

_BLOCK = 4096  # strings hashed at a time
_HASH_SEED = 42  # PYTHONHASHSEED of RedPajama's runs


def _hash_key(seed: int) -> tuple[int, int]:
    """The two halves of the SipHash key that CPython derives from PYTHONHASHSEED (Python/bootstrap_hash.c,
    lcg_urandom)."""
    key = bytearray()
    for _ in range(16):
        seed = (seed * 214013 + 2531011) & 0xFFFFFFFF
        key.append(seed >> 16 & 0xFF)
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


_KEY = _hash_key(_HASH_SEED)
# SipHash's start, 'somepseudorandomlygeneratedbytes', under the key (Python/pyhash.c, siphash13).
_V0 = np.uint64(_KEY[0] ^ 0x736F6D6570736575)
_V1 = np.uint64(_KEY[1] ^ 0x646F72616E646F6D)
_V2 = np.uint64(_KEY[0] ^ 0x6C7967656E657261)
_V3 = np.uint64(_KEY[1] ^ 0x7465646279746573)
_FINAL = np.uint64(0xFF)
# xxHash's primes as CPython's tuplehash has them (Objects/tupleobject.c).
_PRIME1 = np.uint64(11400714785074694791)
_PRIME2 = np.uint64(14029467366897019727)
_PRIME5 = np.uint64(2870177450012600261)
_PAIR_END = np.uint64(2 ^ (2870177450012600261 ^ 3527539))
_PAIR_OF_ONES = np.uint64(1546275796)  # what a tuple hash of -1 becomes
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_SIGN = np.uint64(63)


@njit(error_model="numpy")
def _rotated(value, bits):  # type: ignore[no-untyped-def]
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)


@njit(error_model="numpy")
def _sip_round(v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    v0 += v1
    v2 += v3
    v1 = _rotated(v1, 13) ^ v0
    v3 = _rotated(v3, 16) ^ v2
    v0 = _rotated(v0, 32)
    v2 += v1
    v0 += v3
    v1 = _rotated(v1, 17) ^ v2
    v3 = _rotated(v3, 21) ^ v0
    v2 = _rotated(v2, 32)
    return v0, v1, v2, v3


@njit(error_model="numpy")
def string_hash(points, start, end, width):  # type: ignore[no-untyped-def]
    """CPython's hash of the string points[start:end], not empty, as uint64 (two's complement).

    SipHash-1-3 of the string as CPython stores it: `width` bytes a character, 1 if all are below 256, 2 if below
    65,536, else 4; little-endian.
    """
    v0, v1, v2, v3 = _V0, _V1, _V2, _V3
    bits = np.uint64(8 * width)
    word = _ZERO
    shift = _ZERO
    for i in range(start, end):
        word |= np.uint64(points[i]) << shift
        shift += bits
        if shift == np.uint64(64):
            v3 ^= word
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
            v0 ^= word
            word = _ZERO
            shift = _ZERO
    word |= np.uint64((end - start) * width) << np.uint64(56)
    v3 ^= word
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= _FINAL
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    value = v0 ^ v1 ^ v2 ^ v3
    return value if value != _ONES else value - _ONE


@njit(error_model="numpy")
def pair_hash(first, second):  # type: ignore[no-untyped-def]
    """CPython's hash of a tuple of two, of the hashes of its elements."""
    state = _rotated(_PRIME5 + first * _PRIME2, 31) * _PRIME1
    state = _rotated(state + second * _PRIME2, 31) * _PRIME1 + _PAIR_END
    return state if state != _ONES else _PAIR_OF_ONES


@njit(error_model="numpy")
def _bucket(value, buckets):  # type: ignore[no-untyped-def]
    """|value| mod buckets, value in two's complement."""
    if value >> _SIGN:
        value = _ZERO - value
    return np.int32(value % buckets)


@njit(error_model="numpy")
def _rpv2_features(points, offsets, table, buckets, found, ends, words):  # type: ignore[no-untyped-def]
    """The buckets of all features in order of occurrence, in found[ends[text]:ends[text + 1]]; words [texts]."""
    out = 0
    for text in range(len(offsets) - 1):
        i = offsets[text]
        end = offsets[text + 1]
        count = 0
        before = _ZERO
        while i < end:
            kind = table[points[i]] & (WORD | SPACE)
            if kind & SPACE:
                i += 1
                continue
            start = i
            wide = points[i]
            i += 1
            while i < end and table[points[i]] & (WORD | SPACE) == kind:
                wide |= points[i]
                i += 1
            value = string_hash(points, start, i, 1 if wide < 0x100 else 2 if wide < 0x10000 else 4)
            found[out] = _bucket(value, buckets)
            out += 1
            if count:
                found[out] = _bucket(pair_hash(before, value), buckets)
                out += 1
            count += 1
            before = value
        words[text] = count
        ends[text + 1] = out
    return out


@njit(error_model="numpy")
def _joined_words(points, offsets, table, utf8, starts, ends, words_of):  # type: ignore[no-untyped-def]
    """WordPunct words in UTF-8, joined by one space: word i is utf8[starts[i]:ends[i]]; words_of [texts + 1]."""
    out = 0
    word = 0
    for text in range(len(offsets) - 1):
        before = 0
        for i in range(offsets[text], offsets[text + 1]):
            c = points[i]
            kind = table[c] & (WORD | SPACE)
            if kind & SPACE:
                before = SPACE
                continue
            if i == offsets[text] or kind != before:
                starts[word] = out
                word += 1
            before = kind
            out = put_utf8(utf8, out, c)
            if i + 1 == offsets[text + 1] or table[points[i + 1]] & (WORD | SPACE) != kind:
                ends[word - 1] = out
                utf8[out] = 32
                out += 1
        words_of[text + 1] = word
    return word


@njit(error_model="numpy")
def _count(found, offsets, buckets, which, counts, ends):  # type: ignore[no-untyped-def]
    """Occurrences of each bucket of found (negative: none) in a text: which (ascending) and counts, of text i in
    ends[i]:ends[i + 1]."""
    tally = np.zeros(buckets, np.int64)
    marks = np.zeros((buckets + 63) // 64, np.uint64)  # one bit a bucket that was met
    out = 0
    for text in range(len(offsets) - 1):
        for i in range(offsets[text], offsets[text + 1]):
            bucket = found[i]
            if bucket < 0:
                continue
            tally[bucket] += 1
            marks[bucket >> 6] |= _ONE << np.uint64(bucket & 63)
        if offsets[text] < offsets[text + 1]:
            for group in range(len(marks)):
                bits = marks[group]
                bucket = group * 64
                while bits:
                    while not bits & np.uint64(0xFF):
                        bits >>= np.uint64(8)
                        bucket += 8
                    if bits & _ONE:
                        which[out] = bucket
                        counts[out] = tally[bucket]
                        tally[bucket] = 0
                        out += 1
                    bits >>= _ONE
                    bucket += 1
                marks[group] = _ZERO
        ends[text + 1] = out
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class Features:
    """Features of the texts of a batch; those of text i are offsets[i]:offsets[i + 1].

    buckets  [features] int32, ascending within a text
    counts   [features] int64, how often each was met
    offsets  [texts + 1] int64
    words    [texts] int64, WordPunct words
    """

    buckets: npt.NDArray[np.int32]
    counts: Ints
    offsets: Ints
    words: Ints


def hash_features(texts: TextBatch, scheme: Scheme = "rpv2", buckets: int = BUCKETS) -> Features:
    """A view.  Time linear in the characters, and buckets / 64 a text; memory about 24 bytes a word."""
    if scheme not in SCHEMES:
        raise ValueError(f"features {scheme!r} are unknown: {' or '.join(SCHEMES)}")
    if not 1 <= buckets <= MAX_BUCKETS:
        raise ValueError(f"buckets {buckets} must be 1 to {MAX_BUCKETS:,}")
    ends = np.zeros(len(texts) + 1, np.int64)
    if scheme == "rpv2":
        words = np.zeros(len(texts), np.int64)
        found = np.empty(2 * len(texts.points), np.int32)
        size = _rpv2_features(texts.points, texts.offsets, class_table(), np.uint64(buckets), found, ends, words)
        found = found[:size]
    else:
        found, words = _sha256_features(texts, buckets, ends)
    which, counts = np.empty(len(found), np.int32), np.empty(len(found), np.int64)
    offsets = np.zeros(len(texts) + 1, np.int64)
    size = _count(found, ends, buckets, which, counts, offsets)
    return Features(which[:size].copy(), counts[:size].copy(), offsets, words)


def _sha256_features(texts: TextBatch, buckets: int, offsets: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
    """Buckets of all features, negative where there is none, and words [texts]; fills offsets."""
    lower = pa.array([text.lower() for text in texts.strings], pa.large_string())
    lowered = TextBatch(pa.RecordBatch.from_arrays([lower], ["text"]), np.ones(len(texts), bool))
    # Each character may be a word, with a space behind it.
    room = len(lowered.points)
    utf8 = np.empty(len(lowered.utf8) + room, np.uint8)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    words_of = np.zeros(len(texts) + 1, np.int64)
    words = _joined_words(lowered.points, lowered.offsets, class_table(), utf8, starts, ends, words_of)
    starts, ends = starts[:words], ends[:words]
    # Word i at 2 i, the pair of words i and i + 1 at 2 i + 1.
    found = np.full(2 * words, -1, np.int32)
    found[0::2] = _sha256_buckets(utf8, starts, ends, buckets)
    if words > 1:
        found[1:-1:2] = _sha256_buckets(utf8, starts[:-1], ends[1:], buckets)
    last_words = words_of[1:][np.diff(words_of) > 0] - 1
    found[2 * last_words + 1] = -1  # no pair from one text to the next
    offsets[:] = 2 * words_of
    return found, np.diff(words_of)


def _sha256_buckets(utf8: npt.NDArray[np.uint8], starts: Ints, ends: Ints, buckets: int) -> npt.NDArray[np.int32]:
    """SHA-256 of utf8[starts[i]:ends[i]], as a big-endian integer, mod buckets."""
    powers = np.array([pow(2, 32 * (7 - k), buckets) for k in range(8)], np.uint64)
    found = np.empty(len(starts), np.int32)
    digests = np.empty((_BLOCK, 8), np.uint32)
    for first in range(0, len(starts), _BLOCK):
        last = min(first + _BLOCK, len(starts))
        sha256_words(utf8, starts[first:last], ends[first:last], digests[: last - first])
        # Each of the eight products is below 2^32 * MAX_BUCKETS = 2^56.
        found[first:last] = (digests[: last - first] * powers).sum(axis=1) % np.uint64(buckets)
    return found
