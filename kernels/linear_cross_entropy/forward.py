"""Losses of an output layer and, in training, their gradients, without a tensor of all logits.

    e_iv = exp(z_iv - z_i,target)   v != target        excess_i = sum_v e_iv        nats_i = log(1 + excess_i)

Measured from the target's logit, the exponentials need no maximum over the row: they are written once, in bf16 (whose
exponent is that of fp32), by the kernel that multiplies, and never rewritten.  The row's sum only scales the results:

    dx_i = (sum_v e_iv W_v - excess_i W_target) / (1 + excess_i)        dW = e^T (x / (1 + excess))

with e_i,target = -excess_i.  Rows go by in chunks, whose exponentials are the only large temporary.

A tile of the vocabulary that exceeds the target by 2**64 stores exponentials relative to its own maximum and notes
that as its shift; `finish_rows` then brings the tiles of such a row to one scale.  Nothing here waits for the device.

Work of a chunk of t rows: t v d multiply-adds three times; 2 t v bytes written once and read twice.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from kernels.linear_cross_entropy.tiles import Tile, chunk_rows, programs_per_row, scoring_rows, slots_for, tile_for

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
# 2**64 times any vocabulary stays far below the largest fp32, and far above what a trained model's targets lack
SHIFT_ABOVE = tl.constexpr(64.0)


@triton.jit(do_not_specialize=["rows", "vocabulary"])
def target_logits(
    x_ptr,
    weight_ptr,
    target_ptr,
    base_ptr,
    rows,
    vocabulary,
    width,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """base_i = log2(e) x_i . W_target(i); zero for a target outside the vocabulary.  One program: BLOCK_T rows."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    target = tl.load(target_ptr + row, row < rows, -1)
    inside = (target >= 0) & (target < vocabulary)
    total = tl.zeros([BLOCK_T], tl.float32)
    for first in range(0, width, BLOCK_D):
        d = first + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < width)[None]
        x = tl.load(x_ptr + row[:, None] * width + d[None], mask, 0.0)  # [t, d]
        w = tl.load(weight_ptr + target[:, None] * width + d[None], mask, 0.0)
        total += tl.sum(x.to(tl.float32) * w.to(tl.float32), 1)
    tl.store(base_ptr + row, total * LOG2_E, row < rows)


@triton.jit(do_not_specialize=["row_first", "rows", "vocabulary"])
def exponentials(
    x_desc,
    weight_desc,
    e_desc,
    target_ptr,
    base_ptr,
    sums_ptr,
    shifts_ptr,
    row_first,
    rows,
    vocabulary,
    tables,
    width,
    BLOCK_T: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
    STORE: tl.constexpr,
):
    """e and its row sums of one tile [BLOCK_T, BLOCK_V]; the target's column is left out.

    Reads x and W tiles, writes 2 bytes an element and two fp32 a row.  `tables` is the row length of sums and shifts.
    """
    local = tl.program_id(0) * BLOCK_T
    tile = tl.program_id(1)
    first = row_first + local
    z = tl.zeros([BLOCK_T, BLOCK_V], tl.float32)
    for k in range(0, width, BLOCK_D):
        x = x_desc.load([first, k])
        w = weight_desc.load([tile * BLOCK_V, k])
        z = tl.dot(x, w.T, z, input_precision="ieee")
    row = first + tl.arange(0, BLOCK_T)
    v = tile * BLOCK_V + tl.arange(0, BLOCK_V)
    target = tl.load(target_ptr + row, row < rows, 0).to(tl.int32)
    base = tl.load(base_ptr + row, row < rows, 0.0)
    z = z * LOG2_E - base[:, None]
    z = tl.where((v[None] != target[:, None]) & (v < vocabulary)[None], z, float("-inf"))
    top = tl.max(z, 1)
    shift = tl.where(top > SHIFT_ABOVE, top, 0.0)
    e = tl.exp2(z - shift[:, None])
    out = tile.to(tl.int64) * tables + local + tl.arange(0, BLOCK_T)
    tl.store(sums_ptr + out, tl.sum(e, 1))
    tl.store(shifts_ptr + out, shift)
    if STORE:
        e_desc.store([local, tile * BLOCK_V], e.to(e_desc.dtype))


@triton.jit(do_not_specialize=["row_first", "rows", "vocabulary", "ignore_index", "tiles"])
def finish_rows(
    e_ptr,
    x_ptr,
    scaled_ptr,
    target_ptr,
    sums_ptr,
    shifts_ptr,
    upstream_ptr,
    nats_ptr,
    coefficient_ptr,
    row_first,
    rows,
    vocabulary,
    ignore_index,
    e_stride,
    tables,
    tiles,
    width,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_TILES: tl.constexpr,
    BLOCK_V: tl.constexpr,
    TRAIN: tl.constexpr,
):
    """Sums the tiles of BLOCK_T rows: nats; in training also e_i,target, the scale of dx_i, and x_i / (1 + excess_i).

    upstream_ptr is None or the gradient of each token's nats, which the scale and the scaled x then contain.
    """
    local = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    row = row_first + local.to(tl.int64)
    there = row < rows
    largest = tl.zeros([BLOCK_T], tl.float32)
    for first in range(0, tiles, BLOCK_TILES):
        tile = first + tl.arange(0, BLOCK_TILES)
        at = tile[:, None].to(tl.int64) * tables + local[None]
        shift = tl.load(shifts_ptr + at, (tile < tiles)[:, None], 0.0)  # [tiles, t]
        largest = tl.maximum(largest, tl.max(shift, 0))
    excess = tl.zeros([BLOCK_T], tl.float32)
    for first in range(0, tiles, BLOCK_TILES):
        tile = first + tl.arange(0, BLOCK_TILES)
        at = tile[:, None].to(tl.int64) * tables + local[None]
        mask = (tile < tiles)[:, None]
        sums = tl.load(sums_ptr + at, mask, 0.0)
        shift = tl.load(shifts_ptr + at, mask, 0.0)
        excess += tl.sum(sums * tl.exp2(shift - largest[None]), 0)
    total = excess + tl.exp2(-largest)
    # log(1 + excess) keeps its digits where the target takes nearly all of the probability
    plus = 1.0 + excess
    small = tl.where(plus == 1.0, excess, tl.log(plus) * (excess / tl.where(plus == 1.0, 1.0, plus - 1.0)))
    nats = tl.where(largest == 0.0, small, largest * LN_2 + tl.log(total))
    target = tl.load(target_ptr + row, there, ignore_index)
    ignored = target == ignore_index
    inside = (target >= 0) & (target < vocabulary) & (~ignored)
    nats = tl.where(plus == float("inf"), float("inf"), nats)
    nats = tl.where(inside, nats, tl.where(ignored, 0.0, float("nan")))
    tl.store(nats_ptr + row, nats, there)
    if TRAIN:
        coefficient = tl.where(inside, 1.0 / total, tl.where(ignored, 0.0, float("nan")))
        if upstream_ptr is not None:
            coefficient *= tl.load(upstream_ptr + row, there & inside, 0.0)
        tl.store(coefficient_ptr + row, coefficient, there)
        tl.store(e_ptr + local.to(tl.int64) * e_stride + target, (-excess).to(e_ptr.dtype.element_ty), there & inside)
        for first in range(0, width, BLOCK_D):
            d = first + tl.arange(0, BLOCK_D)
            mask = there[:, None] & (d < width)[None]
            x = tl.load(x_ptr + row[:, None] * width + d[None], mask, 0.0).to(tl.float32)
            scaled = tl.where(coefficient[:, None] == 0.0, 0.0, x * coefficient[:, None])
            at = local.to(tl.int64)[:, None] * width + d[None]
            tl.store(scaled_ptr + at, scaled.to(scaled_ptr.dtype.element_ty), mask)
        if tl.max(largest) > 0.0:
            shift_at = shifts_ptr + local
            for tile in range(0, tiles):
                shift = tl.load(shift_at)
                factor = tl.exp2(shift - largest)
                v = tile * BLOCK_V + tl.arange(0, BLOCK_V)
                at = e_ptr + local.to(tl.int64)[:, None] * e_stride + v[None]
                mask = (there & (shift != largest))[:, None] & (v < vocabulary)[None] & (v[None] != target[:, None])
                e = tl.load(at, mask, 0.0).to(tl.float32) * factor[:, None]
                tl.store(at, e.to(e_ptr.dtype.element_ty), mask)
                shift_at += tables


def aligned(matrix: Tensor) -> Tensor:
    """The same rows with a width, a stride and an address that the copy engine takes: multiples of 16 bytes."""
    step = 16 // matrix.element_size()
    width = matrix.shape[1]
    if width % step:
        padded = matrix.new_zeros(matrix.shape[0], -(-width // step) * step)
        padded[:, :width] = matrix
        return padded
    matrix = matrix.contiguous()
    return matrix.clone() if matrix.data_ptr() % 16 else matrix


class Launches:
    """Launches of one kernel over the chunks of a call: the same tensors, and integers that it does not specialise on.

    Triton examines every argument of a launch, for boxes of tensors longer than a chunk's kernels take on the device.
    From the second launch on the compiled kernel is called as it is, its `constants` in the order of its parameters.
    """

    def __init__(self, kernel: Any, constants: dict[str, Any], **options: int) -> None:
        self.kernel, self.constants, self.options = kernel, constants, options
        self.compiled: Any = None  # stays None in the interpreter

    def __call__(self, grid: tuple[int, ...], *arguments: Any) -> None:
        if self.compiled is None:
            self.compiled = self.kernel[grid](*arguments, **self.constants, **self.options)
        else:
            self.compiled[(*grid, 1, 1)[:3]](*arguments, *self.constants.values())


class Rows:
    """Launches the kernels over chunks of rows of one call.  x [t, d] and weight [v, d] are `aligned`, of one dtype.

    `kind` is the dtype of the exponentials; None: only the losses are wanted, and none are kept.
    """

    def __init__(
        self, x: Tensor, weight: Tensor, target: Tensor, ignore_index: int, chunk: int, kind: torch.dtype | None
    ) -> None:
        self.x, self.target, self.ignore_index = x, target, ignore_index
        self.t, self.d = x.shape
        self.v = weight.shape[0]
        self.tile: Tile = tile_for(x.dtype, self.d, kind is not None)
        self.tiles = triton.cdiv(self.v, self.tile.block_v)
        self.slots = slots_for(x, self.tiles, kind is not None)
        self.base = x.new_empty(self.t, dtype=torch.float32)
        self.nats = x.new_empty(self.t, dtype=torch.float32)
        self.width = triton.cdiv(min(chunk, self.t), self.tile.block_t) * self.tile.block_t
        self.sums, self.shifts = x.new_empty(2, self.tiles, self.width, dtype=torch.float32)
        self.e = self.scaled = self.coefficient = None
        if kind is not None:
            rows = min(chunk, self.t)
            self.e = x.new_empty(rows, -(-self.v // 64) * 64, dtype=kind)
            self.scaled = x.new_empty(rows, self.d, dtype=kind)
            self.coefficient = x.new_empty(self.t, dtype=torch.float32)
        # a descriptor takes the host longer than a launch, so they are made once
        boxes = [(x, self.tile.block_t), (weight, self.tile.block_v), (self.e, self.tile.block_t)]
        if self.slots:
            from kernels.linear_cross_entropy.hopper import describe

            self.described = [None if m is None else describe(m, rows) for m, rows in boxes]
        else:
            columns = (self.tile.block_d, self.tile.block_d, self.tile.block_v)
            self.described = [
                None if m is None else TensorDescriptor.from_tensor(m, [rows, n])
                for (m, rows), n in zip(boxes, columns, strict=True)
            ]
        self.block_d = min(256, triton.next_power_of_2(self.d))
        target_logits[(triton.cdiv(self.t, 16),)](
            x, weight, target, self.base, self.t, self.v, self.d, BLOCK_T=16, BLOCK_D=self.block_d, num_warps=4
        )
        tile, store = self.tile, kind is not None
        if self.slots:
            from kernels.linear_cross_entropy.hopper import exponentials_streaming

            pieces = {"PIECES": triton.cdiv(self.d, 64), "SLOTS": self.slots, "STORE": store}
            self.exponentials = Launches(exponentials_streaming, pieces, num_warps=4)
        else:
            blocks = {"BLOCK_T": tile.block_t, "BLOCK_V": tile.block_v, "BLOCK_D": tile.block_d, "STORE": store}
            self.exponentials = Launches(exponentials, blocks, num_warps=tile.num_warps, num_stages=tile.num_stages)
        finish = {"BLOCK_T": 16, "BLOCK_D": self.block_d, "BLOCK_TILES": 32, "BLOCK_V": tile.block_v, "TRAIN": store}
        self.finish = Launches(finish_rows, finish, num_warps=4)

    def run(self, first: int, rows: int, upstream: Tensor | None = None) -> None:
        """Rows first .. first + rows: their nats, and where they are kept e, `scaled` and `coefficient`.

        All calls on one object give `upstream`, or none does.
        """
        row_blocks = triton.cdiv(rows, self.tile.block_t)
        grid: tuple[int, ...] = (row_blocks, self.tiles)
        more: tuple[int, ...] = (self.d,)
        if self.slots:
            per_program = triton.cdiv(self.tiles, programs_per_row(row_blocks, self.tiles))
            grid, more = (row_blocks, triton.cdiv(self.tiles, per_program)), (self.tiles, per_program)
        self.exponentials(
            grid, *self.described, self.target, self.base, self.sums, self.shifts, first, self.t, self.v, self.width,
            *more,
        )  # fmt: skip
        self.finish(
            (triton.cdiv(rows, 16),), self.e, self.x, self.scaled, self.target, self.sums, self.shifts, upstream,
            self.nats, self.coefficient, first, min(self.t, first + rows), self.v, self.ignore_index,
            0 if self.e is None else self.e.stride(0), self.width, self.tiles, self.d,
        )  # fmt: skip


def token_nats(x: Tensor, weight: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """Nats of each token: fp32 [t].  Nothing of the size of the logits is allocated."""
    x, weight = aligned(x), aligned(weight)
    t = x.shape[0]
    chunk = scoring_rows(t, weight.shape[0])
    rows = Rows(x, weight, target, ignore_index, chunk, None)
    for first in range(0, t, chunk):
        rows.run(first, min(chunk, t - first))
    return rows.nats


def add_product(total: Tensor, a: Tensor, b: Tensor, first: bool) -> None:
    """total [m, n] fp32 = a^T b, added to what is there unless first.  a [k, m], b [k, n]."""
    if a.is_cuda and a.dtype != torch.float32:
        if first:
            torch.mm(a.mT, b, out_dtype=torch.float32, out=total)
        else:
            torch.addmm(total, a.mT, b, out_dtype=torch.float32, out=total)
    elif first:
        torch.mm(a.mT.float(), b.float(), out=total)
    else:
        total.addmm_(a.mT.float(), b.float())


def gradients(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    ignore_index: int,
    upstream: Tensor | None,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """Nats [t], and the gradients of upstream . nats (of their sum if upstream is None), not yet scaled by more.

    returns nats, raw dx [t, d] (bf16, or fp32 for fp32 inputs; None unless need_x), the fp32 factor [t] that every row
    of it still lacks, and dW [v, d] fp32 (None unless need_weight).
    """
    x, weight = aligned(x), aligned(weight)
    (t, d), v = x.shape, weight.shape[0]
    # the exponentials need the exponent of fp32, so that fp16 takes bf16 from here on
    kind = torch.float32 if x.dtype == torch.float32 else torch.bfloat16
    chunk = min(t, chunk_rows(t, v, d, kind.itemsize))
    rows = Rows(x, weight, target, ignore_index, chunk, kind)
    e, scaled, coefficient = rows.e, rows.scaled, rows.coefficient
    assert e is not None and scaled is not None and coefficient is not None
    factor = weight.to(kind)
    dx = x.new_empty(t, d, dtype=kind) if need_x else None
    dw = x.new_empty(v, d, dtype=torch.float32) if need_weight else None
    for first in range(0, t, chunk):
        n = min(chunk, t - first)
        rows.run(first, n, upstream)
        if dx is not None:
            torch.mm(e[:n, :v], factor, out=dx[first : first + n])
        if dw is not None:
            add_product(dw, e[:n, :v], scaled[:n], first == 0)
    return rows.nats, dx, coefficient, dw
