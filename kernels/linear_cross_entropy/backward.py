"""The last step of the gradients of an output layer: rows times their factors times one upstream number.

Reads every element once and writes it once, in the dtype of the parameter or activation.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit(do_not_specialize=["rows"])
def scale_rows(
    in_ptr,
    factor_ptr,
    scale_ptr,
    out_ptr,
    rows,
    in_width,
    width,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """out_i = in_i factor_i scale of BLOCK_T rows, cut to width.  factor_ptr or scale_ptr may be None: one."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    factor = tl.full([BLOCK_T], 1.0, tl.float32)
    if scale_ptr is not None:
        factor *= tl.load(scale_ptr)
    if factor_ptr is not None:
        factor *= tl.load(factor_ptr + row, row < rows, 0.0)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask = (row < rows)[:, None] & (d < width)[None]
    value = tl.load(in_ptr + row[:, None] * in_width + d[None], mask, 0.0).to(tl.float32)  # [t, d]
    # an ignored row adds nothing, whatever its product holds
    value = tl.where(factor[:, None] == 0.0, 0.0, value * factor[:, None])
    tl.store(out_ptr + row[:, None] * width + d[None], value.to(out_ptr.dtype.element_ty), mask)


def scaled(matrix: Tensor, factor: Tensor | None, scale: Tensor | None, width: int, dtype: torch.dtype) -> Tensor:
    """matrix [t, >= width] with row i times factor_i times scale, cut to `width`, in `dtype`."""
    out = matrix.new_empty(matrix.shape[0], width, dtype=dtype)
    block_d = min(256, triton.next_power_of_2(width))
    scale_rows[(triton.cdiv(matrix.shape[0], 16), triton.cdiv(width, block_d))](
        matrix,
        factor,
        scale,
        out,
        matrix.shape[0],
        matrix.shape[1],
        width,
        BLOCK_T=16,
        BLOCK_D=block_d,
        num_warps=4,
    )
    return out
