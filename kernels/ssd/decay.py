"""Steps and decays of `kernels.ssd`, found once for the forward and the backward pass.

    step = dt or softplus(dt + bias),     s = cumulative sum of step A / ln 2 inside each chunk,     t = s - log2 step

so that exp(s_i - s_j) step_j of the formulas is exp2(s_i - t_j): one subtraction and one exponential.  Past the end
of a sequence the step is 0 and t infinite: decay 1 and no inflow, in whichever direction a pass runs.
"""

from __future__ import annotations

import dataclasses

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.ssd.tiles import ceil_div, power_of_two


@triton.jit
def positive(dt, bias, SOFTPLUS: tl.constexpr):
    """dt, or softplus(dt + bias), to the last bits of float32; linear above 20."""
    if SOFTPLUS:
        raw = dt + bias
        e = tl.exp2(tl.minimum(raw, 20.0) * 1.4426950408889634)
        u = 1.0 + e
        # log(1 + e) of a small e: the quotient undoes the rounding of 1 + e
        small = tl.where(u == 1.0, e, tl.log(u) * (e / tl.where(u == 1.0, 1.0, u - 1.0)))
        dt = tl.where(raw > 20.0, raw, small)
    return dt


@triton.jit(do_not_specialize=("length", "padded", "heads"))
def decays_kernel(
    dt_ptr,
    A_ptr,
    bias_ptr,
    step_ptr,
    s_ptr,
    t_ptr,
    length,
    padded,
    heads,
    dt_stride_b,
    dt_stride_l,
    dt_stride_h,
    BLOCK_L: tl.constexpr,
    BLOCK_H: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):
    chunk, batch = tl.program_id(0), tl.program_id(2).to(tl.int64)
    head = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    rows = chunk * BLOCK_L + tl.arange(0, BLOCK_L)
    real = head < heads
    live = real[:, None] & (rows < length)[None, :]
    A = tl.load(A_ptr + head, mask=real, other=0.0).to(tl.float32)
    at = rows.to(tl.int64)[None, :] * dt_stride_l + head[:, None] * dt_stride_h
    dt = tl.load(dt_ptr + batch * dt_stride_b + at, mask=live, other=0.0).to(tl.float32)  # [heads, q]
    if SOFTPLUS:
        bias = tl.load(bias_ptr + head, mask=real, other=0.0).to(tl.float32)
        dt = positive(dt, bias[:, None], SOFTPLUS)
    dt = tl.where(live, dt, 0.0)
    s = tl.cumsum(dt * (A * 1.4426950408889634)[:, None], 1)
    out = (batch * heads + head)[:, None] * padded + rows[None, :]
    tl.store(step_ptr + out, dt, mask=real[:, None])
    tl.store(s_ptr + out, s, mask=real[:, None])
    t = tl.where(dt > 0.0, s - tl.log2(tl.where(dt > 0.0, dt, 1.0)), float("inf"))
    tl.store(t_ptr + out, t, mask=real[:, None])


@dataclasses.dataclass(frozen=True)
class Decays:
    """All [b, h, chunks * q] fp32."""

    step: Tensor
    s: Tensor
    t: Tensor


def decays(dt: Tensor, A: Tensor, dt_bias: Tensor | None, q: int) -> Decays:
    b, length, h = dt.shape
    chunks = ceil_div(length, q)
    block_h = min(16, power_of_two(h))
    found = torch.empty((3, b, h, chunks * q), dtype=torch.float32, device=dt.device)
    step, s, t = found.unbind(0)
    decays_kernel[(chunks, ceil_div(h, block_h), b)](
        dt, A, dt_bias, step, s, t, length, chunks * q, h, *dt.stride(),
        BLOCK_L=q, BLOCK_H=block_h, SOFTPLUS=dt_bias is not None, num_warps=4,
    )  # fmt: skip
    return Decays(step, s, t)
