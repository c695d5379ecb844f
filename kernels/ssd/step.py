"""Decoding with the state of Mamba-2, one token: the state is read and written, 8 p n bytes a head.

One program owns BLOCK_P rows of the state of one head; all arithmetic is fp32 on the ordinary units, since memory is
the limit.
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
