"""RMSNorm, LayerNorm (both with an optional residual stream) and gated RMSNorm, forward.

One program owns BLOCK_R rows, each wholly in its registers: every input is read once and every output written once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.causal_conv1d.silu import sigmoid
from kernels.norm.tiles import Tile, block


@triton.jit(do_not_specialize=["R"])
def norm_forward(  # type: ignore[no-untyped-def]
    x_ptr,
    residual_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    r_ptr,
    R,
    stride_x,
    stride_residual,
    eps,
    CENTRED: tl.constexpr,
    D: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.arange(0, BLOCK_D)
    inside = (row < R)[:, None] & (c < D)[None, :]
    r = tl.load(x_ptr + (row * stride_x)[:, None] + c[None, :], mask=inside, other=0.0).to(tl.float32)
    if residual_ptr is not None:
        old = residual_ptr + (row * stride_residual)[:, None] + c[None, :]
        r += tl.load(old, mask=inside, other=0.0).to(tl.float32)
        tl.store(r_ptr + (row * D)[:, None] + c[None, :], r, mask=inside)
    weight = tl.load(weight_ptr + c, mask=c < D, other=0.0).to(tl.float32)
    if CENTRED:
        mean = tl.sum(r, 1) / D
        r = tl.where(inside, r - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(r * r, 1) / D + eps)
    y = r * scale[:, None] * weight[None, :]
    if bias_ptr is not None:
        y += tl.load(bias_ptr + c, mask=c < D, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + (row * D)[:, None] + c[None, :], y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["R"])
def gated_forward(  # type: ignore[no-untyped-def]
    x_ptr,
    z_ptr,
    weight_ptr,
    y_ptr,
    R,
    stride_x,
    stride_z,
    eps,
    D: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """D is the width of a group; program_id(1) the group."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.arange(0, BLOCK_D)
    start = tl.program_id(1) * D
    inside = (row < R)[:, None] & (c < D)[None, :]
    x = tl.load(x_ptr + (row * stride_x)[:, None] + (start + c)[None, :], mask=inside, other=0.0).to(tl.float32)
    z = tl.load(z_ptr + (row * stride_z)[:, None] + (start + c)[None, :], mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + start + c, mask=c < D, other=0.0).to(tl.float32)
    v = x * (z * sigmoid(z))
    scale = tl.rsqrt(tl.sum(v * v, 1) / D + eps)
    y = v * scale[:, None] * weight[None, :]
    out = y_ptr + (row * (D * tl.num_programs(1)))[:, None] + (start + c)[None, :]
    tl.store(out, y.to(y_ptr.dtype.element_ty), mask=inside)


def forward(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    eps: float,
    centred: bool,
    strides: tuple[int, int],
    tile: Tile,
) -> tuple[Tensor, Tensor]:
    """y and r = residual + x (x itself without a residual).  strides: from row to row, of x and residual."""
    width = x.shape[-1]
    rows = x.numel() // width
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    r = x if residual is None else torch.empty(x.shape, dtype=torch.float32, device=x.device)
    norm_forward[(-(-rows // tile.rows),)](
        x,
        residual,
        weight,
        bias,
        y,
        r,
        rows,
        strides[0],
        strides[1],
        eps,
        CENTRED=centred,
        D=width,
        BLOCK_R=tile.rows,
        BLOCK_D=block(width),
        num_warps=tile.num_warps,
    )
    return y, r


def forward_gated(
    x: Tensor, z: Tensor, weight: Tensor, group: int, eps: float, strides: tuple[int, int], tile: Tile
) -> Tensor:
    """y.  strides: from row to row, of x and z."""
    width = x.shape[-1]
    rows = x.numel() // width
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    gated_forward[(-(-rows // tile.rows), width // group)](
        x,
        z,
        weight,
        y,
        rows,
        strides[0],
        strides[1],
        eps,
        D=group,
        BLOCK_R=tile.rows,
        BLOCK_D=block(group),
        num_warps=tile.num_warps,
    )
    return y
