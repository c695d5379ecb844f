"""Decoding with the state of Mamba-2, several tokens from a checkpoint: the state is read, 4 p n bytes a head, and
the tokens since the checkpoint, whose inputs are cached:

    y_t = exp(s_t) H C_t + sum_{j<=t} exp(s_t - s_j) step_j (C_t . B_j) x_j + D x_t

It is written only when told to fold the tokens into it.  One program owns BLOCK_P rows of the state of one head, eight
neighbouring threads a row: so a row is summed mostly in registers, and eight tokens are summed in the same threads.
"""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor
from triton.runtime.jit import constexpr_function

from kernels.language import gl, jit
from kernels.ssd.decay import positive
from kernels.ssd.step import silu
from kernels.ssd.tiles import StepTile, ceil_div, power_of_two

LOG2_E = tl.constexpr(1.4426950408889634)


@constexpr_function
def of_states(ACROSS, WARPS):
    """Of states [p, n // ACROSS, n % ACROSS]: 16 bytes to each of the neighbouring threads on a row."""
    return gl.BlockedLayout([1, 1, 4], [128 // ACROSS, 1, ACROSS // 4], [WARPS, 1, 1], [2, 0, 1])


@constexpr_function
def of_inputs(ACROSS, WARPS):
    """Of x as [p, tokens]: rows where those of the states are."""
    return gl.BlockedLayout([1, 1], [128 // ACROSS, ACROSS // 4], [WARPS, 1], [1, 0])


@constexpr_function
def of_keys(N, WARPS):
    """Of B [tokens, n]."""
    across = min(32, N // 4)
    return gl.BlockedLayout([1, 4], [32 // across, across], [WARPS, 1], [1, 0])


@jit
def add(a, b):
    return a + b


@jit(do_not_specialize=("length", "new", "heads"))
def ssd_replay_kernel(
    state_ptr, x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, y_ptr,
    length, new, heads,
    x_stride_b, x_stride_l, x_stride_h, dt_stride_b, dt_stride_l, dt_stride_h, B_stride_b, B_stride_l, B_stride_g,
    C_stride_b, C_stride_l, C_stride_g, z_stride_b, z_stride_l, z_stride_h,
    GROUP: tl.constexpr, P: tl.constexpr, N: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr, ACROSS: tl.constexpr, SOFTPLUS: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr,
    FOLD: tl.constexpr, WARPS: tl.constexpr,
):  # fmt: skip
    STATES: tl.constexpr = of_states(ACROSS, WARPS)
    INPUTS: tl.constexpr = of_inputs(ACROSS, WARPS)
    KEYS: tl.constexpr = of_keys(BLOCK_N, WARPS)
    COLUMNS: tl.constexpr = gl.SliceLayout(0, STATES)
    ROWS: tl.constexpr = gl.SliceLayout(1, gl.SliceLayout(1, STATES))
    TOKENS: tl.constexpr = gl.SliceLayout(0, INPUTS)
    LINE: tl.constexpr = gl.BlockedLayout([1], [32], [WARPS], [0])
    bh = gl.program_id(1).to(gl.int64)
    batch, head = bh // heads, bh % heads
    first = gl.program_id(0) * BLOCK_P
    n = (gl.arange(0, BLOCK_N // ACROSS, gl.SliceLayout(1, COLUMNS)) * ACROSS)[:, None]
    n = n + gl.arange(0, ACROSS, gl.SliceLayout(0, COLUMNS))[None, :]
    p = first + gl.arange(0, BLOCK_P, ROWS)
    known = n < N
    at = p[:, None][:, None, :] * N + n[None, :, :]
    inside = (p < P)[:, None][:, None, :] & known[None, :, :]
    state = gl.load(state_ptr + bh * P * N + at, mask=inside, other=0.0)
    x_ptr += batch * x_stride_b + head * x_stride_h
    B_ptr += batch * B_stride_b + (head // GROUP) * B_stride_g
    C_ptr += batch * C_stride_b + (head // GROUP) * C_stride_g
    token, in_line = gl.arange(0, BLOCK_L, TOKENS), gl.arange(0, BLOCK_L, LINE)
    dt_at = dt_ptr + batch * dt_stride_b + head * dt_stride_h + in_line * dt_stride_l
    step = gl.load(dt_at, mask=in_line < length, other=0.0).to(gl.float32)
    key_token = gl.arange(0, BLOCK_L, gl.SliceLayout(1, KEYS))
    key_n = gl.arange(0, BLOCK_N, gl.SliceLayout(0, KEYS))
    B = gl.load(
        B_ptr + key_token[:, None] * B_stride_l + key_n[None, :],
        mask=(key_token < length)[:, None] & (key_n < N)[None, :], other=0.0,
    ).to(gl.float32)  # fmt: skip
    p_of_x = first + gl.arange(0, BLOCK_P, gl.SliceLayout(1, INPUTS))
    x = gl.load(
        x_ptr + token[None, :] * x_stride_l + p_of_x[:, None],
        mask=(token < length)[None, :] & (p_of_x < P)[:, None], other=0.0,
    ).to(gl.float32)  # fmt: skip
    if SOFTPLUS:
        step = positive(step, gl.load(bias_ptr + head).to(gl.float32), SOFTPLUS)
    step = gl.where(in_line < length, step, 0.0)
    s = gl.associative_scan(step * (gl.load(A_ptr + head).to(gl.float32) * LOG2_E), 0, add)
    step, s = gl.convert_layout(step, TOKENS), gl.convert_layout(s, TOKENS)
    for i in range(0, new):
        row = length - new + i
        C = gl.load(C_ptr + row * C_stride_l + n, mask=known, other=0.0).to(gl.float32)
        C_of_keys = gl.load(C_ptr + row * C_stride_l + key_n, mask=key_n < N, other=0.0).to(gl.float32)
        own = gl.sum(gl.where(token == row, s, 0.0), 0)
        weight = gl.exp2(gl.where(token <= row, own - s, -float("inf"))) * step
        weight *= gl.convert_layout(gl.sum(B * C_of_keys[None, :], 1), TOKENS)
        if HAS_D:
            weight += gl.where(token == row, gl.load(D_ptr + head).to(gl.float32), 0.0)
        y = gl.sum(gl.sum(state * C[None, :, :], 1), 1) * gl.exp2(own)
        y += gl.convert_layout(gl.sum(x * weight[None, :], 1), ROWS)
        if HAS_Z:
            z_at = z_ptr + batch * z_stride_b + i * z_stride_l + head * z_stride_h + p
            z = gl.load(z_at, mask=p < P, other=0.0).to(gl.float32)
            y *= silu(z)
        out = ((batch * new + i) * heads + head) * P + p
        gl.store(y_ptr + out, y.to(y_ptr.dtype.element_ty), mask=p < P)
    if FOLD:
        last = gl.sum(gl.where(token == length - 1, s, 0.0), 0)
        state *= gl.exp2(last)
        leaving = gl.exp2(last - s) * step
        for j in range(0, length):
            share = gl.sum(gl.where(token == j, leaving, 0.0), 0)
            x_j = gl.load(x_ptr + j * x_stride_l + p, mask=p < P, other=0.0).to(gl.float32)
            B_j = gl.load(B_ptr + j * B_stride_l + n, mask=known, other=0.0).to(gl.float32)
            state += (share * x_j)[:, None][:, None, :] * B_j[None, :, :]
        gl.store(state_ptr + bh * P * N + at, state, mask=inside)


def ssd_replay(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    new: int,
    fold: bool,
    tile: StepTile,
) -> Tensor:
    b, h, p, n = state.shape
    wide = max(4, power_of_two(n))
    length = x.shape[1]
    y = torch.empty((b, new, h, p), dtype=x.dtype, device=x.device)
    ssd_replay_kernel[(ceil_div(p, tile.block_p), b * h)](
        state, x, dt, A, B, C, D, z, dt_bias, y, length, new, h,
        *x.stride()[:3], *dt.stride(), *B.stride()[:3], *C.stride()[:3], *((0, 0, 0) if z is None else z.stride()[:3]),
        GROUP=h // B.shape[2], P=p, N=n, BLOCK_L=power_of_two(length), BLOCK_P=tile.block_p,
        BLOCK_N=wide, ACROSS=min(32, wide), SOFTPLUS=dt_bias is not None, HAS_D=D is not None, HAS_Z=z is not None,
        FOLD=fold, WARPS=tile.num_warps, num_warps=tile.num_warps,
    )  # fmt: skip
    return y
