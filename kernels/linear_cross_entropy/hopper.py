"""`exponentials` of forward.py for Hopper: rows stay in shared memory, the weight streams past them.

One program owns BLOCK_T rows of x, all of their width, and a run of vocabulary tiles.  One warp loads tiles of W; two
groups of four warps take the tiles in turn, so that one multiplies while the other exponentiates and stores.  A tile
of W is read once a program, so that the second-level cache delivers half of what square tiles would ask of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

LOG2_E = gl.constexpr(1.4426950408889634)
SHIFT_ABOVE = gl.constexpr(64.0)


@gluon.jit
def _load(x_desc, weight_desc, xs, ws, barriers, first, tile_first, count):
    """The loading warp: x once, then every piece of every tile of W in the order of use."""
    x_ready, w_ready, w_empty, turns = barriers
    PIECES: gl.constexpr = xs.shape[0]
    SLOTS: gl.constexpr = ws.shape[0]
    BLOCK_D: gl.constexpr = x_desc.block_type.shape[1]
    BLOCK_V: gl.constexpr = weight_desc.block_type.shape[0]
    mbarrier.expect(x_ready, PIECES * x_desc.block_type.nbytes)
    for k in gl.static_range(PIECES):
        tma.async_copy_global_to_shared(x_desc, [first, k * BLOCK_D], x_ready, xs.index(k))
    for step in range(count * PIECES):
        slot = step % SLOTS
        mbarrier.wait(w_empty.index(slot), ((step // SLOTS) & 1) ^ 1)
        mbarrier.expect(w_ready.index(slot), weight_desc.block_type.nbytes)
        at = [(tile_first + step // PIECES) * BLOCK_V, (step % PIECES) * BLOCK_D]
        tma.async_copy_global_to_shared(weight_desc, at, w_ready.index(slot), ws.index(slot))


@gluon.jit
def _multiply(
    e_desc, xs, ws, out, barriers, pointers, first, local, tile_first, count, rows, vocabulary, tables,
    TURN: gl.constexpr, STORE: gl.constexpr,
):  # fmt: skip
    """Four warps: every second tile, from TURN on."""
    x_ready, w_ready, w_empty, turns = barriers
    target_ptr, base_ptr, sums_ptr, shifts_ptr = pointers
    PIECES: gl.constexpr = xs.shape[0]
    SLOTS: gl.constexpr = ws.shape[0]
    BLOCK_T: gl.constexpr = xs.shape[1]
    BLOCK_V: gl.constexpr = ws.shape[1]
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_V, 16])
    by_row: gl.constexpr = gl.SliceLayout(1, layout)
    offset = gl.arange(0, BLOCK_T, by_row)
    row = first + offset
    target = gl.load(target_ptr + row, row < rows, 0).to(gl.int32)
    base = gl.load(base_ptr + row, row < rows, 0.0)
    mbarrier.wait(x_ready, 0)
    for i in range(TURN, count, 2):
        # by turns: a group that ran ahead would take an older phase of a slot's barrier for the one it waits for
        mbarrier.wait(turns.index(TURN), ((i // 2) & 1) ^ (1 - TURN))
        z = gl.zeros([BLOCK_T, BLOCK_V], gl.float32, layout)
        for k in range(PIECES):
            step = i * PIECES + k
            slot = step % SLOTS
            mbarrier.wait(w_ready.index(slot), (step // SLOTS) & 1)
            z = warpgroup_mma(xs.index(k), ws.index(slot).permute((1, 0)), z, use_acc=k > 0, is_async=True)
            z = warpgroup_mma_wait(1, deps=(z,))
            mbarrier.arrive(w_empty.index((step - 1) % SLOTS), count=1, pred=k > 0)
        mbarrier.arrive(turns.index(1 - TURN), count=1)
        z = warpgroup_mma_wait(0, deps=(z,))
        mbarrier.arrive(w_empty.index((i * PIECES + PIECES - 1) % SLOTS), count=1)
        tile = tile_first + i
        v = tile * BLOCK_V + gl.arange(0, BLOCK_V, gl.SliceLayout(0, layout))
        z = z * LOG2_E - base.expand_dims(1)
        keep = (v.expand_dims(0) != target.expand_dims(1)) & (v < vocabulary).expand_dims(0)
        z = gl.where(keep, z, float("-inf"))
        top = gl.max(z, 1)
        shift = gl.where(top > SHIFT_ABOVE, top, 0.0)
        e = gl.exp2(z - shift.expand_dims(1))
        at = tile.to(gl.int64) * tables + local + offset
        gl.store(sums_ptr + at, gl.sum(e, 1))
        gl.store(shifts_ptr + at, shift)
        if STORE:
            halves = e.to(e_desc.dtype).reshape([BLOCK_T, 2, BLOCK_V // 2]).permute((0, 2, 1)).split()
            for half in gl.static_range(2):
                tma.store_wait(pendings=0)
                out.store(halves[half])
                fence_async_shared()
                tma.async_copy_shared_to_global(e_desc, [local, tile * BLOCK_V + half * (BLOCK_V // 2)], out)
    if STORE:
        tma.store_wait(pendings=0)


@gluon.jit(do_not_specialize=["row_first", "rows", "vocabulary", "tiles", "per_program"])
def exponentials_streaming(
    x_desc, weight_desc, e_desc, target_ptr, base_ptr, sums_ptr, shifts_ptr, row_first, rows, vocabulary, tables,
    tiles, per_program, PIECES: gl.constexpr, SLOTS: gl.constexpr, STORE: gl.constexpr,
):  # fmt: skip
    """e and its row sums for BLOCK_T rows and tiles program * per_program .. of the vocabulary."""
    BLOCK_T: gl.constexpr = x_desc.block_type.shape[0]
    BLOCK_D: gl.constexpr = x_desc.block_type.shape[1]
    BLOCK_V: gl.constexpr = weight_desc.block_type.shape[0]
    kind: gl.constexpr = x_desc.dtype
    local = gl.program_id(0) * BLOCK_T
    first = row_first + local
    tile_first = gl.program_id(1) * per_program
    count = gl.minimum(per_program, tiles - tile_first)
    xs = gl.allocate_shared_memory(kind, [PIECES, BLOCK_T, BLOCK_D], x_desc.layout)
    ws = gl.allocate_shared_memory(kind, [SLOTS, BLOCK_V, BLOCK_D], weight_desc.layout)
    x_ready = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    w_ready = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    w_empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    turns = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    mbarrier.init(x_ready, count=1)
    mbarrier.init(turns.index(0), count=1)
    mbarrier.init(turns.index(1), count=1)
    for slot in gl.static_range(SLOTS):
        mbarrier.init(w_ready.index(slot), count=1)
        mbarrier.init(w_empty.index(slot), count=1)
    fence_async_shared()
    if STORE:
        out = gl.allocate_shared_memory(e_desc.dtype, [2, BLOCK_T, BLOCK_V // 2], e_desc.layout)
        out0 = out.index(0)
        out1 = out.index(1)
    else:
        out0 = xs.index(0)
        out1 = xs.index(0)
    barriers = (x_ready, w_ready, w_empty, turns)
    pointers = (target_ptr, base_ptr, sums_ptr, shifts_ptr)
    gl.warp_specialize(
        [
            (
                _multiply,
                (e_desc, xs, ws, out0, barriers, pointers, first, local, tile_first, count, rows, vocabulary, tables,
                 0, STORE),
            ),
            (
                _multiply,
                (e_desc, xs, ws, out1, barriers, pointers, first, local, tile_first, count, rows, vocabulary, tables,
                 1, STORE),
            ),
            (_load, (x_desc, weight_desc, xs, ws, barriers, first, tile_first, count)),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip


def describe(matrix: Tensor, rows: int) -> TensorDescriptor:
    """Boxes of `rows` rows and 64 columns of a 16-bit matrix."""
    kind = gl.bfloat16 if matrix.dtype == torch.bfloat16 else gl.float16
    layout = gl.NVMMASharedLayout.get_default_for([rows, 64], kind)
    return TensorDescriptor.from_tensor(matrix, [rows, 64], layout)
