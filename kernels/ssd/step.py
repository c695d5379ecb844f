"""Decoding with the state of Mamba-2: one token, or several tokens from a checkpoint.

`ssd_step_kernel` reads and writes the state: 8 p n bytes a head.  `ssd_replay_kernel` reads it alone, and the tokens
since the checkpoint, whose inputs are cached:

    y_t = exp(s_t) H C_t + sum_{j<=t} exp(s_t - s_j) step_j (C_t . B_j) x_j + D x_t

and writes it only when told to fold the tokens into it.  One program owns BLOCK_P rows of the state of one head; all
arithmetic is fp32 on the ordinary units, since memory is the limit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.ssd.decay import positive
from kernels.ssd.tiles import StepTile, ceil_div, power_of_two


@triton.jit
def silu(z):
    return z / (1.0 + tl.exp2(z * -1.4426950408889634))


@triton.jit(do_not_specialize=("heads",))
def ssd_step_kernel(
    state_ptr,
    x_ptr,
    dt_ptr,
    A_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    z_ptr,
    bias_ptr,
    y_ptr,
    heads,
    x_stride_b,
    x_stride_h,
    dt_stride_b,
    dt_stride_h,
    B_stride_b,
    B_stride_g,
    C_stride_b,
    C_stride_g,
    z_stride_b,
    z_stride_h,
    GROUP: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    HAS_D: tl.constexpr,
    HAS_Z: tl.constexpr,
):
    bh = tl.program_id(1).to(tl.int64)
    batch, head = bh // heads, bh % heads
    offs_p, offs_n = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_N)
    in_p, in_n = offs_p < P, offs_n < N
    at = state_ptr + bh * P * N + (offs_p[:, None] * N + offs_n[None, :])
    inside = in_p[:, None] & in_n[None, :]
    state = tl.load(at, mask=inside, other=0.0)  # [p, n]
    x = tl.load(x_ptr + batch * x_stride_b + head * x_stride_h + offs_p, mask=in_p, other=0.0).to(tl.float32)
    B = tl.load(B_ptr + batch * B_stride_b + (head // GROUP) * B_stride_g + offs_n, mask=in_n, other=0.0)
    C = tl.load(C_ptr + batch * C_stride_b + (head // GROUP) * C_stride_g + offs_n, mask=in_n, other=0.0)
    step = tl.load(dt_ptr + batch * dt_stride_b + head * dt_stride_h).to(tl.float32)
    if SOFTPLUS:
        step = positive(step, tl.load(bias_ptr + head).to(tl.float32), SOFTPLUS)
    decay = tl.exp2(step * tl.load(A_ptr + head).to(tl.float32) * 1.4426950408889634)
    state = state * decay + (step * x)[:, None] * B.to(tl.float32)[None, :]
    tl.store(at, state, mask=inside)
    y = tl.sum(state * C.to(tl.float32)[None, :], 1)
    if HAS_D:
        y += tl.load(D_ptr + head).to(tl.float32) * x
    if HAS_Z:
        y *= silu(tl.load(z_ptr + batch * z_stride_b + head * z_stride_h + offs_p, mask=in_p, other=0.0).to(tl.float32))
    tl.store(y_ptr + bh * P + offs_p, y.to(y_ptr.dtype.element_ty), mask=in_p)


@triton.jit(do_not_specialize=("length", "new", "heads"))
def ssd_replay_kernel(
    state_ptr,
    x_ptr,
    dt_ptr,
    A_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    z_ptr,
    bias_ptr,
    y_ptr,
    length,
    new,
    heads,
    x_stride_b,
    x_stride_l,
    x_stride_h,
    dt_stride_b,
    dt_stride_l,
    dt_stride_h,
    B_stride_b,
    B_stride_l,
    B_stride_g,
    C_stride_b,
    C_stride_l,
    C_stride_g,
    z_stride_b,
    z_stride_l,
    z_stride_h,
    GROUP: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    HAS_D: tl.constexpr,
    HAS_Z: tl.constexpr,
    FOLD: tl.constexpr,
):
    bh = tl.program_id(1).to(tl.int64)
    batch, head = bh // heads, bh % heads
    offs_l, offs_n = tl.arange(0, BLOCK_L), tl.arange(0, BLOCK_N)
    offs_p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    in_l, in_p, in_n = offs_l < length, offs_p < P, offs_n < N
    at = state_ptr + bh * P * N + (offs_p[:, None] * N + offs_n[None, :])
    inside = in_p[:, None] & in_n[None, :]
    state = tl.load(at, mask=inside, other=0.0)  # [p, n]
    x_ptr += batch * x_stride_b + head * x_stride_h
    B_ptr += batch * B_stride_b + (head // GROUP) * B_stride_g
    C_ptr += batch * C_stride_b + (head // GROUP) * C_stride_g
    step = tl.load(dt_ptr + batch * dt_stride_b + head * dt_stride_h + offs_l * dt_stride_l, mask=in_l, other=0.0)
    step = step.to(tl.float32)
    if SOFTPLUS:
        step = positive(step, tl.load(bias_ptr + head).to(tl.float32), SOFTPLUS)
    step = tl.where(in_l, step, 0.0)  # [l]
    s = tl.cumsum(step * (tl.load(A_ptr + head).to(tl.float32) * 1.4426950408889634), 0)
    x = tl.load(
        x_ptr + offs_l[:, None] * x_stride_l + offs_p[None, :], mask=in_l[:, None] & in_p[None, :], other=0.0
    ).to(tl.float32)  # [l, p]
    B = tl.load(
        B_ptr + offs_l[:, None] * B_stride_l + offs_n[None, :], mask=in_l[:, None] & in_n[None, :], other=0.0
    ).to(tl.float32)  # [l, n]
    for i in range(0, new):
        row = length - new + i
        C = tl.load(C_ptr + row * C_stride_l + offs_n, mask=in_n, other=0.0).to(tl.float32)
        own = tl.sum(tl.where(offs_l == row, s, 0.0), 0)
        weight = tl.exp2(tl.where(offs_l <= row, own - s, -float("inf"))) * step * tl.sum(B * C[None, :], 1)
        if HAS_D:
            weight += tl.where(offs_l == row, tl.load(D_ptr + head).to(tl.float32), 0.0)
        y = tl.sum(state * C[None, :], 1) * tl.exp2(own) + tl.sum(x * weight[:, None], 0)
        if HAS_Z:
            place = z_ptr + batch * z_stride_b + i * z_stride_l + head * z_stride_h + offs_p
            y *= silu(tl.load(place, mask=in_p, other=0.0).to(tl.float32))
        out = ((batch * new + i) * heads + head) * P + offs_p
        tl.store(y_ptr + out, y.to(y_ptr.dtype.element_ty), mask=in_p)
    if FOLD:
        last = tl.sum(tl.where(offs_l == length - 1, s, 0.0), 0)
        state *= tl.exp2(last)
        leaving = tl.exp2(last - s) * step
        for j in range(0, length):
            share = tl.sum(tl.where(offs_l == j, leaving, 0.0), 0)
            x_j = tl.load(x_ptr + j * x_stride_l + offs_p, mask=in_p, other=0.0).to(tl.float32)
            B_j = tl.load(B_ptr + j * B_stride_l + offs_n, mask=in_n, other=0.0).to(tl.float32)
            state += (share * x_j)[:, None] * B_j[None, :]
        tl.store(at, state, mask=inside)


def ssd_step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    tile: StepTile,
) -> Tensor:
    b, h, p, n = state.shape
    y = torch.empty((b, h, p), dtype=x.dtype, device=x.device)
    ssd_step_kernel[(ceil_div(p, tile.block_p), b * h)](
        state, x, dt, A, B, C, D, z, dt_bias, y, h,
        *x.stride()[:2], *dt.stride(), *B.stride()[:2], *C.stride()[:2], *((0, 0) if z is None else z.stride()[:2]),
        GROUP=h // B.shape[1], P=p, N=n, BLOCK_P=tile.block_p, BLOCK_N=power_of_two(n),
        SOFTPLUS=dt_bias is not None, HAS_D=D is not None, HAS_Z=z is not None, num_warps=tile.num_warps,
    )  # fmt: skip
    return y


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
    length = x.shape[1]
    y = torch.empty((b, new, h, p), dtype=x.dtype, device=x.device)
    ssd_replay_kernel[(ceil_div(p, tile.block_p), b * h)](
        state, x, dt, A, B, C, D, z, dt_bias, y, length, new, h,
        *x.stride()[:3], *dt.stride(), *B.stride()[:3], *C.stride()[:3], *((0, 0, 0) if z is None else z.stride()[:3]),
        GROUP=h // B.shape[2], P=p, N=n, BLOCK_L=power_of_two(length), BLOCK_P=tile.block_p,
        BLOCK_N=power_of_two(n), SOFTPLUS=dt_bias is not None, HAS_D=D is not None, HAS_Z=z is not None,
        FOLD=fold, num_warps=tile.num_warps,
    )  # fmt: skip
    return y
