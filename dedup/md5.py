"""MD5 of many short strings at once (RFC 1321), for values that are defined by it.

As `quality_signals.dsir_digests`: lane j of every vector belongs to string j.  MD5 is broken as a signature; C4 knows
its lines and chooses its URLs by it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quality_signals.compiled import njit
from quality_signals.dsir_digests import BLOCK, LANES, VECTOR, WORD, Lanes, fill_block, splat, swapped, transposed

_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476], np.uint32)
_CONSTANTS = [int(abs(math.sin(i + 1)) * 2**32) for i in range(64)]
_SHIFTS = [(7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21)]
_STEPS = [(1, 0), (5, 1), (3, 5), (7, 0)]  # which word a round takes: (factor * i + offset) mod 16
_ALL = 0xFFFFFFFF


def _rounds(lanes: Lanes, words: list[Any], state: list[Any]) -> list[Any]:
    a, b, c, d = state
    for i in range(64):
        number = i // 16
        if number == 0:
            mixed = lanes.choice(b, c, d)
        elif number == 1:
            mixed = lanes.choice(d, b, c)
        elif number == 2:
            mixed = lanes.xor(b, c, d)
        else:
            mixed = lanes.xor(c, lanes.builder.or_(b, lanes.xor(d, splat(_ALL))))
        factor, offset = _STEPS[number]
        total = lanes.sum(a, mixed, splat(_CONSTANTS[i]), words[(factor * i + offset) % 16])
        a, d, c, b = d, c, b, lanes.sum(b, lanes.left_rotated(total, _SHIFTS[number][i % 4]))
    return [a, b, c, d]


@intrinsic
def _md5_block(typingctx, state, blocks):  # type: ignore[no-untyped-def]
    """state uint32 [4, LANES] after blocks uint64 [LANES, 8]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, data = (
            builder.bitcast(context.make_array(kind)(context, builder, array).data, VECTOR.as_pointer())
            for kind, array in zip(signature.args, arguments, strict=True)
        )

        def place(pointer: Any, row: int) -> Any:
            return builder.gep(pointer, [ir.Constant(WORD, row)], source_etype=VECTOR)

        words = []
        for half in range(2):
            rows = [builder.load(place(data, 2 * lane + half), typ=VECTOR, align=4) for lane in range(LANES)]
            words += transposed(builder, rows)
        before = [builder.load(place(given, i), typ=VECTOR, align=4) for i in range(4)]
        for i, after in enumerate(_rounds(Lanes(builder), words, before)):
            builder.store(builder.add(before[i], after), place(given, i), align=4)
        return context.get_dummy_value()

    return types.void(state, blocks), generate


@njit()
def md5_halves(data, starts, ends, found):  # type: ignore[no-untyped-def]
    """found[i] = the two halves of MD5(data[starts[i]:ends[i]]), big-endian: they sort as the hex digests do.

    data uint8, starts and ends int64 [n], found uint64 [n, 2], all contiguous.  Each `LANES` strings in a row take the
    time of the longest of them.
    """
    blocks = np.zeros((LANES, 8), np.uint64)
    state = np.empty((4, LANES), np.uint32)
    for first in range(0, len(starts), LANES):
        lanes = min(len(starts) - first, LANES)
        longest = 0
        for lane in range(lanes):
            longest = max(longest, ends[first + lane] - starts[first + lane])
        for i in range(4):
            for lane in range(LANES):
                state[i, lane] = _START[i]
        for block in range((longest + 8) // BLOCK + 1):
            for lane in range(lanes):
                start, end = starts[first + lane], ends[first + lane]
                fill_block(blocks, lane, data, start, end, block)
                if (end - start + 8) // BLOCK == block:
                    blocks[lane, 7] = np.uint64(end - start) << np.uint64(3)
            _md5_block(state, blocks)
            for lane in range(lanes):
                if (ends[first + lane] - starts[first + lane] + 8) // BLOCK == block:
                    for half in range(2):
                        low, high = np.uint64(state[2 * half, lane]), np.uint64(state[2 * half + 1, lane])
                        found[first + lane, half] = swapped(low | high << np.uint64(32))
