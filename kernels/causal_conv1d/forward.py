"""Causal depthwise convolution, forward and one token:  y_t = act(bias + sum_j weight_j x_{t-w+1+j}).

Reads x and writes y once: 4 bytes an element in bf16, and 2 w + 12 operations.  A program owns BLOCK_S runs of
RUN = STEPS * BLOCKS consecutive time steps in BLOCK_C channels; a thread owns some channels of one run.  It loads
STEPS rows at once and keeps the last w - 1 in registers, so a row is loaded once, and w - 1 more rows a run.
The program of a sequence's last steps also writes the state.
"""

# Tuples of tiles grow inside the kernels.
# mypy: disable-error-code="assignment"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.causal_conv1d.silu import sigmoid
from kernels.causal_conv1d.tiles import Tile


@triton.jit
def load_row(x_ptr, state_ptr, t, c, stride_l, L, C, in_c, W: tl.constexpr, CHECK_START: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows t [s] of channels c [n]: x where 0 <= t < L, the state (rows -W+1 .. -1) before, 0 elsewhere."""
    pointers = x_ptr + (t.to(tl.int64) * stride_l)[:, None] + c[None, :]
    inside = t < L
    if CHECK_START:
        inside = inside & (t >= 0)
    row = tl.load(pointers, mask=inside[:, None] & in_c[None, :], other=0.0)
    if CHECK_START and state_ptr is not None:
        old = tl.load(
            state_ptr + ((t + (W - 1)) * C)[:, None] + c[None, :],
            mask=((t < 0) & (t >= 1 - W))[:, None] & in_c[None, :],
            other=0.0,
        )
        row = tl.where((t < 0)[:, None], old.to(row.dtype), row)
    return row


@triton.jit
def convolve(rows, ids, taps, bias, W: tl.constexpr, HAS_IDS: tl.constexpr):  # type: ignore[no-untyped-def]
    """bias + the sum over the W rows that end at the last one, of the same sequence as the last one."""
    total = rows[W - 1].to(tl.float32) * taps[W - 1][None, :]
    if bias is not None:
        total += bias[None, :]
    for j in tl.static_range(W - 1):
        term = rows[j].to(tl.float32) * taps[j][None, :]
        if HAS_IDS:
            term = tl.where((ids[j] == ids[W - 1])[:, None], term, 0.0)
        total += term
    return total


@triton.jit(do_not_specialize=["L"])
def conv_forward(  # type: ignore[no-untyped-def]
    x_ptr,
    weight_ptr,
    bias_ptr,
    state_in_ptr,
    ids_ptr,
    y_ptr,
    state_ptr,
    L,
    C,
    stride_b,
    stride_l,
    W: tl.constexpr,
    SILU: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b = tl.program_id(2).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_c = c < C
    first = (tl.program_id(1) * BLOCK_S + tl.arange(0, BLOCK_S)) * (STEPS * BLOCKS)  # [s] first step of each run
    HAS_IDS: tl.constexpr = ids_ptr is not None
    x_ptr += b * stride_b
    y_ptr += b * L * C
    if state_in_ptr is not None:
        state_in_ptr += b * (W - 1) * C
    rows = ()
    ids = ()
    for j in tl.static_range(W - 1):
        t = first + (j - (W - 1))
        rows = rows + (load_row(x_ptr, state_in_ptr, t, c, stride_l, L, C, in_c, W, True),)
        if HAS_IDS:
            ids = ids + (tl.load(ids_ptr + b * L + tl.maximum(t, 0), mask=t < L, other=-1),)
    for block in tl.static_range(BLOCKS):
        t0 = first + block * STEPS
        for i in tl.static_range(STEPS):
            rows = rows + (load_row(x_ptr, state_in_ptr, t0 + i, c, stride_l, L, C, in_c, W, False),)
            if HAS_IDS:
                ids = ids + (tl.load(ids_ptr + b * L + t0 + i, mask=t0 + i < L, other=-1),)
        if block == 0:
            taps = ()
            for j in tl.static_range(W):
                taps = taps + (tl.load(weight_ptr + c * W + j, mask=in_c, other=0.0).to(tl.float32),)
            bias = None
            if bias_ptr is not None:
                bias = tl.load(bias_ptr + c, mask=in_c, other=0.0).to(tl.float32)
        for i in tl.static_range(STEPS):
            y = convolve(rows[i : i + W], ids[i : i + W], taps, bias, W, HAS_IDS)
            if SILU:
                y = y * sigmoid(y)
            t = t0 + i
            pointers = y_ptr + (t.to(tl.int64) * C)[:, None] + c[None, :]
            tl.store(pointers, y.to(y_ptr.dtype.element_ty), mask=(t < L)[:, None] & in_c[None, :])
        rows = rows[STEPS:]
        ids = ids[STEPS:]
    if tl.program_id(1) == tl.num_programs(1) - 1:
        state_ptr += b * (W - 1) * C
        for j in tl.static_range(W - 1):
            at = L - (W - 1) + j
            keep = in_c
            if HAS_IDS:
                last_id = tl.load(ids_ptr + b * L + L - 1)
                keep = keep & (tl.load(ids_ptr + b * L + tl.maximum(at, 0)) == last_id)
            last_row = tl.load(x_ptr + at.to(tl.int64) * stride_l + c, mask=keep & (at >= 0), other=0.0)
            if state_in_ptr is not None:
                old = tl.load(state_in_ptr + (at + (W - 1)) * C + c, mask=keep & (at < 0), other=0.0)
                last_row = tl.where(at < 0, old.to(last_row.dtype), last_row)
            tl.store(state_ptr + j * C + c, last_row.to(state_ptr.dtype.element_ty), mask=in_c)


@triton.jit
def conv_step(  # type: ignore[no-untyped-def]
    x_ptr,
    state_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    C,
    stride_b,
    W: tl.constexpr,
    SILU: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_c = c < C
    x = tl.load(x_ptr + b * stride_b + c, mask=in_c, other=0.0)
    state_ptr += b * (W - 1) * C + c
    y = x.to(tl.float32) * tl.load(weight_ptr + c * W + (W - 1), mask=in_c, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        y += tl.load(bias_ptr + c, mask=in_c, other=0.0).to(tl.float32)
    for j in tl.static_range(W - 1):
        old = tl.load(state_ptr + j * C, mask=in_c, other=0.0)
        if j > 0:
            tl.store(state_ptr + (j - 1) * C, old, mask=in_c)
        y += old.to(tl.float32) * tl.load(weight_ptr + c * W + j, mask=in_c, other=0.0).to(tl.float32)
    tl.store(state_ptr + (W - 2) * C, x.to(state_ptr.dtype.element_ty), mask=in_c)
    if SILU:
        y = y * sigmoid(y)
    tl.store(y_ptr + b * C + c, y.to(y_ptr.dtype.element_ty), mask=in_c)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    silu: bool,
    state_in: Tensor | None,
    ids: Tensor | None,
    tile: Tile,
) -> tuple[Tensor, Tensor]:
    """y and the state.  The last axis of x is contiguous; weight, bias, state_in and ids are contiguous."""
    b, length, channels = x.shape
    w = weight.shape[1]
    assert x.stride(2) == 1
    y = torch.empty((b, length, channels), dtype=x.dtype, device=x.device)
    state = torch.empty((b, w - 1, channels), dtype=x.dtype, device=x.device)
    grid = (-(-channels // tile.channels), -(-length // tile.rows), b)
    conv_forward[grid](
        x,
        weight,
        bias,
        state_in,
        ids,
        y,
        state,
        length,
        channels,
        x.stride(0),
        x.stride(1),
        W=w,
        SILU=silu,
        STEPS=tile.steps,
        BLOCKS=tile.blocks,
        BLOCK_S=tile.runs,
        BLOCK_C=tile.channels,
        num_warps=tile.num_warps,
    )
    return y, state


STEP_CHANNELS = 256
STEP_WARPS = 2


def step(x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """y [b, c]; the contiguous state [b, w - 1, c] is shifted in place."""
    b, channels = x.shape
    y = torch.empty((b, channels), dtype=x.dtype, device=x.device)
    grid = (-(-channels // STEP_CHANNELS), b)
    conv_step[grid](
        x,
        state,
        weight,
        bias,
        y,
        channels,
        x.stride(0),
        W=weight.shape[1],
        SILU=silu,
        BLOCK_C=STEP_CHANNELS,
        num_warps=STEP_WARPS,
    )
    return y
