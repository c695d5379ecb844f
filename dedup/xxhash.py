"""xxHash (XXH64 and XXH32, seed 0) of many byte strings in one buffer, for values that are defined by it.

Specification: Cyan4973/xxHash, doc/xxhash_spec.md.  Little-endian machines.
"""

from __future__ import annotations

import numpy as np

from quality_signals.compiled import njit
from quality_signals.dsir_digests import eight_bytes

# Bytes that must follow the last string in a buffer: words of 4 bytes are read 8 bytes at a time.
PADDING = 8

_U = np.uint64
_A, _B, _C, _D, _E = (
    _U(0x9E3779B185EBCA87),
    _U(0xC2B2AE3D27D4EB4F),
    _U(0x165667B19E3779F9),
    _U(0x85EBCA77C2B2AE63),
    _U(0x27D4EB2F165667C5),
)
_LANES = (_U((int(_A) + int(_B)) & 0xFFFFFFFFFFFFFFFF), _B, _U(0), _U(-int(_A) & 0xFFFFFFFFFFFFFFFF))
_a, _b, _c, _d, _e = (np.uint32(p) for p in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1))
_lanes = (np.uint32((int(_a) + int(_b)) & 0xFFFFFFFF), _b, np.uint32(0), np.uint32(-int(_a) & 0xFFFFFFFF))
_LOW = _U(0xFFFFFFFF)


@njit(inline="always")
def _left64(value, bits):  # type: ignore[no-untyped-def]
    return value << _U(bits) | value >> _U(64 - bits)


@njit(inline="always")
def _round64(lane, word):  # type: ignore[no-untyped-def]
    return _left64(lane + word * _B, 31) * _A


@njit(inline="always")
def _left32(value, bits):  # type: ignore[no-untyped-def]
    return np.uint32(value << np.uint32(bits) | value >> np.uint32(32 - bits))


@njit(inline="always")
def _round32(lane, word):  # type: ignore[no-untyped-def]
    return np.uint32(_left32(np.uint32(lane + word * _b), 13) * _a)


@njit(error_model="numpy")
def xxh64(data, starts, ends, found):  # type: ignore[no-untyped-def]
    """found[i] = XXH64(data[starts[i]:ends[i]]).  data uint8 with PADDING, starts and ends int64, found uint64."""
    for i in range(len(starts)):
        at, end = starts[i], ends[i]
        length = end - at
        if length >= 32:
            first, second, third, fourth = _LANES
            while end - at >= 32:
                first = _round64(first, eight_bytes(data, at))
                second = _round64(second, eight_bytes(data, at + 8))
                third = _round64(third, eight_bytes(data, at + 16))
                fourth = _round64(fourth, eight_bytes(data, at + 24))
                at += 32
            h = _left64(first, 1) + _left64(second, 7) + _left64(third, 12) + _left64(fourth, 18)
            h = (h ^ _round64(_U(0), first)) * _A + _D
            h = (h ^ _round64(_U(0), second)) * _A + _D
            h = (h ^ _round64(_U(0), third)) * _A + _D
            h = (h ^ _round64(_U(0), fourth)) * _A + _D
        else:
            h = _E
        h += _U(length)
        while end - at >= 8:
            h = _left64(h ^ _round64(_U(0), eight_bytes(data, at)), 27) * _A + _D
            at += 8
        if end - at >= 4:
            h = _left64(h ^ (eight_bytes(data, at) & _LOW) * _A, 23) * _B + _C
            at += 4
        while at < end:
            h = _left64(h ^ _U(data[at]) * _E, 11) * _A
            at += 1
        h = (h ^ h >> _U(33)) * _B
        h = (h ^ h >> _U(29)) * _C
        found[i] = h ^ h >> _U(32)


@njit(error_model="numpy")
def xxh32(data, starts, ends, found):  # type: ignore[no-untyped-def]
    """found[i] = XXH32(data[starts[i]:ends[i]]).  data uint8 with PADDING, starts and ends int64, found uint32."""
    for i in range(len(starts)):
        at, end = starts[i], ends[i]
        length = end - at
        if length >= 16:
            first, second, third, fourth = _lanes
            while end - at >= 16:
                low, high = eight_bytes(data, at), eight_bytes(data, at + 8)
                first = _round32(first, np.uint32(low))
                second = _round32(second, np.uint32(low >> _U(32)))
                third = _round32(third, np.uint32(high))
                fourth = _round32(fourth, np.uint32(high >> _U(32)))
                at += 16
            h = np.uint32(_left32(first, 1) + _left32(second, 7) + _left32(third, 12) + _left32(fourth, 18))
        else:
            h = _e
        h = np.uint32(h + np.uint32(length))
        while end - at >= 4:
            h = np.uint32(_left32(np.uint32(h + np.uint32(eight_bytes(data, at)) * _c), 17) * _d)
            at += 4
        while at < end:
            h = np.uint32(_left32(np.uint32(h + np.uint32(data[at]) * _e), 11) * _a)
            at += 1
        h = np.uint32((h ^ h >> np.uint32(15)) * _b)
        h = np.uint32((h ^ h >> np.uint32(13)) * _c)
        found[i] = h ^ h >> np.uint32(16)
