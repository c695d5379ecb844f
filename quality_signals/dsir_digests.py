"""SHA-1 and SHA-256 of many short strings at once, for values that are defined by them.

FIPS 180-4, sections 6.1.2 and 6.2.2, on vectors: lane j of every vector belongs to string j, so one sequence of
instructions hashes `LANES` strings.  The rounds are spelled out as LLVM IR on vectors (numba compiles it for the
machine that it runs on; LLVM splits the vectors where registers are narrower), since rounds over arrays are not
vectorised by themselves.  One block of one string takes about 20 ns (SHA-1) on a core with 256-bit vectors.

SHA-1 is broken as a signature; it is here because references define values by it (`minhash@rpv2`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from quality_signals.compiled import njit

LANES = 8
BLOCK = 64  # bytes
_SHA1_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0], np.uint32)
_SHA1_CONSTANTS = (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)  # each for 20 rounds

_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
WORD = ir.IntType(32)
VECTOR = ir.VectorType(WORD, LANES)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _fraction(number: int, root: int) -> int:
    """First 32 bits of the fraction of the square (2) or cube (3) root of an integer."""
    scaled = number << 32 * root
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**root <= scaled else (low, middle)
    return low & 0xFFFFFFFF


# FIPS 180-4, 5.3.3 and 4.2.2: fractions of the roots of the first primes.
_SHA256_START = np.array([_fraction(prime, 2) for prime in _primes(8)], np.uint32)
_SHA256_CONSTANTS = tuple(_fraction(prime, 3) for prime in _primes(64))


def splat(value: int) -> Any:
    return ir.Constant(VECTOR, [value] * LANES)


class Lanes:
    """Arithmetic on vectors of 32-bit words, as instructions for a builder."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def sum(self, *terms: Any) -> Any:
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, term)
        return total

    def xor(self, *terms: Any) -> Any:
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.xor(total, term)
        return total

    def right(self, value: Any, bits: int) -> Any:
        return self.builder.lshr(value, splat(bits))

    def left_rotated(self, value: Any, bits: int) -> Any:
        return self.builder.or_(self.builder.shl(value, splat(bits)), self.right(value, 32 - bits))

    def right_rotated(self, value: Any, bits: int) -> Any:
        return self.left_rotated(value, 32 - bits)

    def choice(self, b: Any, c: Any, d: Any) -> Any:
        """Ch: bits of c where b is set, else of d."""
        return self.builder.xor(d, self.builder.and_(b, self.builder.xor(c, d)))

    def majority(self, b: Any, c: Any, d: Any) -> Any:
        """Maj."""
        return self.builder.or_(self.builder.and_(b, c), self.builder.and_(d, self.builder.or_(b, c)))


def _sha1_rounds(lanes: Lanes, w: list[Any], state: Sequence[Any]) -> Sequence[Any]:
    a, b, c, d, e = state
    for t in range(80):
        if t >= 16:
            w.append(lanes.left_rotated(lanes.xor(w[t - 3], w[t - 8], w[t - 14], w[t - 16]), 1))
        if t < 20:
            mixed = lanes.choice(b, c, d)
        elif 40 <= t < 60:
            mixed = lanes.majority(b, c, d)
        else:
            mixed = lanes.xor(b, c, d)
        step = lanes.sum(e, w[t], splat(_SHA1_CONSTANTS[t // 20]), mixed, lanes.left_rotated(a, 5))
        a, b, c, d, e = step, a, lanes.left_rotated(b, 30), c, d
    return a, b, c, d, e


def _sha256_rounds(lanes: Lanes, w: list[Any], state: Sequence[Any]) -> Sequence[Any]:
    def rotations(value: Any, *bits: int) -> Any:
        return lanes.xor(*(lanes.right_rotated(value, n) for n in bits))

    a, b, c, d, e, f, g, h = state
    for t in range(64):
        if t >= 16:
            old, new = w[t - 15], w[t - 2]
            low = lanes.xor(rotations(old, 7, 18), lanes.right(old, 3))
            high = lanes.xor(rotations(new, 17, 19), lanes.right(new, 10))
            w.append(lanes.sum(high, w[t - 7], low, w[t - 16]))
        first = lanes.sum(h, rotations(e, 6, 11, 25), lanes.choice(e, f, g), splat(_SHA256_CONSTANTS[t]), w[t])
        second = lanes.sum(rotations(a, 2, 13, 22), lanes.majority(a, b, c))
        a, b, c, d, e, f, g, h = lanes.sum(first, second), a, b, c, lanes.sum(d, first), e, f, g
    return a, b, c, d, e, f, g, h


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """8 vectors of 8 words -> the vectors of their first words, their second words, ...

    Each step swaps the off-diagonal halves of all blocks of 2 * step words square.
    """
    for step in (4, 2, 1):
        low = [k if not k & step else LANES + k - step for k in range(LANES)]
        high = [k + step if not k & step else LANES + k for k in range(LANES)]
        for i in range(LANES):
            if not i & step:
                pair = rows[i], rows[i + step]
                for place, mask in ((i, low), (i + step, high)):
                    rows[place] = builder.shuffle_vector(*pair, ir.Constant(VECTOR, mask))
    return rows


def _compression(rounds: Any, size: int) -> Any:
    """The code generator of `state after a block`: state uint32 [size, LANES], blocks uint64 [LANES, 8], C order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        state, blocks = (
            builder.bitcast(context.make_array(kind)(context, builder, array).data, VECTOR.as_pointer())
            for kind, array in zip(signature.args, arguments, strict=True)
        )
        swap = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, [VECTOR]), f"llvm.bswap.v{LANES}i32"
        )

        def place(pointer: Any, row: int) -> Any:
            return builder.gep(pointer, [ir.Constant(WORD, row)], source_etype=VECTOR)

        def load(pointer: Any, row: int) -> Any:
            return builder.load(place(pointer, row), typ=VECTOR, align=4)

        # Of the 16 words of each lane the first 8, then the others; big-endian in memory.
        words = []
        for half in range(2):
            lanes = [builder.call(swap, [load(blocks, 2 * lane + half)]) for lane in range(LANES)]
            words += transposed(builder, lanes)
        before = [load(state, i) for i in range(size)]
        after = rounds(Lanes(builder), words, before)
        for i in range(size):
            builder.store(builder.add(before[i], after[i]), place(state, i), align=4)
        return context.get_dummy_value()

    return generate


@intrinsic
def _sha1_block(typingctx, state, blocks):  # type: ignore[no-untyped-def]
    return types.void(state, blocks), _compression(_sha1_rounds, 5)


@intrinsic
def _sha256_block(typingctx, state, blocks):  # type: ignore[no-untyped-def]
    return types.void(state, blocks), _compression(_sha256_rounds, 8)


@intrinsic
def eight_bytes(typingctx, data, i):  # type: ignore[no-untyped-def]
    """data[i:i + 8] (uint8, unchecked) as they stand, as a uint64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(start, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(place, typ=ir.IntType(64), align=1)

    return types.uint64(data, types.intp), generate


@intrinsic
def swapped(typingctx, value):  # type: ignore[no-untyped-def]
    """A uint64 with its bytes in the other order."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), generate


@njit()
def fill_block(blocks, lane, data, start, end, block):  # type: ignore[no-untyped-def]
    """Row `lane` of blocks: the bytes of block number `block` of the padded message data[start:end]."""
    at = start + block * BLOCK
    if at + BLOCK <= end:
        for t in range(8):
            blocks[lane, t] = eight_bytes(data, at + 8 * t)
        return
    rest = end - at  # bytes of the message in this block; below 0 in a block of padding only
    if at + BLOCK <= len(data):
        for t in range(8):  # without branches, which would be guessed wrong
            unused = np.uint64(32 - 4 * min(max(rest - 8 * t, 0), 8))
            blocks[lane, t] = eight_bytes(data, at + 8 * t) & (_ONES >> unused >> unused)
    else:
        for t in range(8):
            word = np.uint64(0)
            for i in range(min(at + 8 * t + 8, end) - 1, at + 8 * t - 1, -1):
                word = word << np.uint64(8) | np.uint64(data[i])
            blocks[lane, t] = word
    if rest >= 0:
        blocks[lane, rest >> 3] |= np.uint64(0x80) << np.uint64(8 * (rest & 7))
    if (end - start + 8) // BLOCK == block:  # the last block: the length in bits, big-endian
        blocks[lane, 7] = swapped(np.uint64(end - start) << np.uint64(3))


@njit(error_model="numpy")
def put_utf8(utf8, at, c):  # type: ignore[no-untyped-def]
    """Writes the code point c (uint32) in UTF-8 from utf8[at] on; returns where it ends."""
    if c < 0x80:
        utf8[at] = c
        return at + 1
    if c < 0x800:
        utf8[at] = 0xC0 | c >> np.uint32(6)
        at += 1
    else:
        if c < 0x10000:
            utf8[at] = 0xE0 | c >> np.uint32(12)
            at += 1
        else:
            utf8[at] = 0xF0 | c >> np.uint32(18)
            utf8[at + 1] = 0x80 | c >> np.uint32(12) & 0x3F
            at += 2
        utf8[at] = 0x80 | c >> np.uint32(6) & 0x3F
        at += 1
    utf8[at] = 0x80 | c & 0x3F
    return at + 1


@njit()
def sha1_words(data, starts, ends, found):  # type: ignore[no-untyped-def]
    """found[i, k] = word k (big-endian) of SHA-1(data[starts[i]:ends[i]]), for the words that `found` has room for.

    data uint8, starts and ends int64 [n], found uint32 [n, 1 to 5], all contiguous.  Each `LANES` strings in a row
    take the time of the longest of them.
    """
    blocks = np.zeros((LANES, 8), np.uint64)
    state = np.empty((5, LANES), np.uint32)
    for first in range(0, len(starts), LANES):
        lanes = min(len(starts) - first, LANES)
        longest = 0
        for lane in range(lanes):
            longest = max(longest, ends[first + lane] - starts[first + lane])
        for i in range(5):
            for lane in range(LANES):
                state[i, lane] = _SHA1_START[i]
        for block in range((longest + 8) // BLOCK + 1):
            for lane in range(lanes):
                fill_block(blocks, lane, data, starts[first + lane], ends[first + lane], block)
            _sha1_block(state, blocks)
            for lane in range(lanes):
                if (ends[first + lane] - starts[first + lane] + 8) // BLOCK == block:
                    for k in range(found.shape[1]):
                        found[first + lane, k] = state[k, lane]


@njit()
def sha256_words(data, starts, ends, found):  # type: ignore[no-untyped-def]
    """As `sha1_words`, for SHA-256; found uint32 [n, 1 to 8]."""
    blocks = np.zeros((LANES, 8), np.uint64)
    state = np.empty((8, LANES), np.uint32)
    for first in range(0, len(starts), LANES):
        lanes = min(len(starts) - first, LANES)
        longest = 0
        for lane in range(lanes):
            longest = max(longest, ends[first + lane] - starts[first + lane])
        for i in range(8):
            for lane in range(LANES):
                state[i, lane] = _SHA256_START[i]
        for block in range((longest + 8) // BLOCK + 1):
            for lane in range(lanes):
                fill_block(blocks, lane, data, starts[first + lane], ends[first + lane], block)
            _sha256_block(state, blocks)
            for lane in range(lanes):
                if (ends[first + lane] - starts[first + lane] + 8) // BLOCK == block:
                    for k in range(found.shape[1]):
                        found[first + lane, k] = state[k, lane]
