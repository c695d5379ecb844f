"""What the kernels of the selective scan share: layouts, rows of a tile of time steps, softplus.

A tile [T, E, LANES] lies with all T steps of a channel and a state in the registers of one thread, LANES neighbouring
threads on the states of a channel, and the other threads on channels.  Because every step lies in a register, picking
a row and placing one are renamings, not instructions.  State n of a channel is number n // LANES of thread n % LANES.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton.language as tl
from torch import Tensor
from triton.runtime.jit import constexpr_function

from kernels.language import gl, jit

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@constexpr_function
def laned(LANES, WARPS):
    """Of tiles [T, E, LANES]."""
    return gl.BlockedLayout([1, 1, 1], [1, 32 // LANES, LANES], [1, WARPS, 1], [2, 1, 0])


@constexpr_function
def row_by_row(T, WIDTH, WARPS):
    """Of tiles [T, WIDTH] as they lie in memory."""
    wide = max(1, min(8, WIDTH, T * WIDTH // (32 * WARPS)))
    across = min(32, WIDTH // wide)
    return gl.BlockedLayout([1, wide], [32 // across, across], [WARPS, 1], [1, 0])


@constexpr_function
def channels_around(E, LANES, WARPS):
    """Channels of a tile that one thread holds."""
    return max(1, E * LANES // (32 * WARPS))


@constexpr_function
def summed(T, E, LANES, PAIR, WARPS):
    """Of products [T, channels, LANES, 2 PAIR] whose channels are to be added: many of them in a thread."""
    channels = E // max(1, E * LANES // (32 * WARPS))
    splits = min(channels, max(1, 32 * WARPS // (T * LANES)))
    return gl.BlockedLayout(
        [1, channels // splits, 1, 2 * PAIR], [32 // (LANES * splits), splits, LANES, 1], [WARPS, 1, 1, 1], [3, 2, 1, 0]
    )


def rows(tensor: Tensor) -> Tensor:
    """`tensor` [b, l, ...], or a copy: its rows (b, l) equally far apart and its last axis contiguous."""
    b, length = tensor.shape[:2]
    if tensor.stride(-1) == 1 and (b == 1 or tensor.stride(0) == length * tensor.stride(1)):
        return tensor
    return tensor.contiguous()


@jit
def row_of(tile, here):
    """The row [1, E, LANES] of `tile` where `here` holds.  As integers, whose sum with 0 the compiler removes."""
    bits = gl.where(here, tile.to(gl.int32, bitcast=True), 0)
    return gl.sum(bits, 0)[None, :, :].to(gl.float32, bitcast=True)


@jit
def log1p_of_unit(v):
    """log(1 + v) for v in [0, 1]: 2 atanh(s) with s = v / (2 + v) <= 1/3; the series is cut at s**15 / 15 < 5e-9."""
    s = v / (2.0 + v)
    q = s * s
    p = q * (1.0 / 13.0) + 1.0 / 11.0
    p = q * p + 1.0 / 9.0
    p = q * p + 1.0 / 7.0
    p = q * p + 1.0 / 5.0
    p = q * p + 1.0 / 3.0
    return 2.0 * s + 2.0 * s * (q * p)


@jit
def softplus_and_slope(raw):
    """log(1 + exp(raw)) and its derivative."""
    v = gl.exp2(-gl.abs(raw) * LOG2_E)
    return gl.maximum(raw, 0.0) + log1p_of_unit(v), gl.where(raw > 0, 1.0, v) / (1.0 + v)


@jit
def sigmoid(z):
    return 1.0 / (1.0 + gl.exp2(-z * LOG2_E))


@jit
def load(at, mask, WHOLE: tl.constexpr):
    if WHOLE:
        values = gl.load(at)
    else:
        values = gl.load(at, mask=mask, other=0.0)
    return values


@jit
def store(at, values, mask, WHOLE: tl.constexpr):
    if WHOLE:
        gl.store(at, values.to(at.dtype.element_ty))
    else:
        gl.store(at, values.to(at.dtype.element_ty), mask=mask)
