"""`toeplitz` of forward.py for Hopper: all rows of a channel stay in shared memory, Toeplitz tiles stream past them.

A distance of delta blocks is a window of the rows that starts delta * batch rows earlier (later in the backward pass),
so that nothing but the tiles, which all rows share, is loaded more than once.  One warp loads; two groups of four
warps hold two accumulators of 64 rows each, chosen so that both have about the same number of causal products.

One program: one channel of one group of sequences, up to 512 rows of (block, sequence) pairs.  The number of
sequences is a multiple of 8, the rows of a swizzled line group, so that every window starts at one.
"""

from __future__ import annotations

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

SLOTS = {1: 6, 2: 4}  # tiles that fit beside 256 or 512 rows
ROWS_LAYOUT = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=3)
TAPS_LAYOUT = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=4)


@gluon.jit
def _distances(first, last, rows, batch, blocks, BACKWARD: gl.constexpr):
    """How many distances have a product for some row of first .. last."""
    if BACKWARD:
        return gl.maximum((rows - 1 - first) // batch + 1, 0)
    else:
        return gl.minimum(last // batch + 1, blocks)


@gluon.jit
def _load(
    in_desc,
    taps_desc,
    left,
    right,
    taps,
    barriers,
    c,
    taps_c,
    rows,
    batch,
    blocks,
    BACKWARD: gl.constexpr,
):
    """The loading warp: every row of the channel, with 64 rows of zeros before or behind them, then the tiles."""
    rows_ready, taps_ready, taps_empty = barriers
    PIECES: gl.constexpr = left.shape[0] // 8
    SLOTS: gl.constexpr = taps.shape[0]
    mbarrier.expect(rows_ready, 2 * PIECES * in_desc.block_type.nbytes)
    for piece in gl.static_range(PIECES):
        first = piece * 64 - (0 if BACKWARD else 64)
        into = left.index(piece * 8)._reinterpret(in_desc.dtype, [1, 64, 64], in_desc.layout)
        tma.async_copy_global_to_shared(in_desc, [c, first, 0], rows_ready, into)
        into = right.index(piece * 8)._reinterpret(in_desc.dtype, [1, 64, 64], in_desc.layout)
        tma.async_copy_global_to_shared(in_desc, [c, first, 64], rows_ready, into)
    before = gl.to_tensor(0)
    for part in gl.static_range(PIECES // 4):
        count = 2 * _distances(256 * part, 256 * part + 255, rows, batch, blocks, BACKWARD)
        for step in range(count):
            slot = (before + step) % SLOTS
            mbarrier.wait(taps_empty.index(slot), (((before + step) // SLOTS) & 1) ^ 1)
            mbarrier.expect(taps_ready.index(slot), taps_desc.block_type.nbytes)
            at = [taps_c, 0, 0, step * 64]
            tma.async_copy_global_to_shared(taps_desc, at, taps_ready.index(slot), taps.index(slot))
        before += count


@gluon.jit
def _store(out_desc, out, c, row, total):
    """64 rows of results, in two halves through one buffer."""
    halves = total.to(out_desc.dtype).reshape([64, 2, 64]).permute((0, 2, 1)).split()
    for half in gl.static_range(2):
        tma.store_wait(pendings=0)
        out.store(halves[half].reshape([1, 64, 64]))
        fence_async_shared()
        tma.async_copy_shared_to_global(out_desc, [c, row, half * 64], out)


@gluon.jit
def _multiply(
    out_desc, left, right, taps, out, barriers, c, rows, batch, blocks, FIRST: gl.constexpr, SECOND: gl.constexpr,
    BACKWARD: gl.constexpr,
):  # fmt: skip
    """Four warps: of every 256 rows the 64 rows number FIRST and the 64 rows number SECOND."""
    rows_ready, taps_ready, taps_empty = barriers
    SLOTS: gl.constexpr = taps.shape[0]
    PARTS: gl.constexpr = left.shape[0] // 32
    kind: gl.constexpr = out_desc.dtype
    matrix: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 16])
    # MORE is the one whose rows have products at more distances
    MORE: gl.constexpr = 64 * (FIRST if BACKWARD else SECOND)
    LESS: gl.constexpr = 64 * (SECOND if BACKWARD else FIRST)
    LEAD: gl.constexpr = 0 if BACKWARD else 8
    stride = batch // 8 if BACKWARD else -(batch // 8)
    mbarrier.wait(rows_ready, 0)
    before = gl.to_tensor(0)
    for part in gl.static_range(PARTS):
        count = _distances(256 * part, 256 * part + 255, rows, batch, blocks, BACKWARD)
        less = _distances(256 * part + LESS, 256 * part + LESS + 63, rows, batch, blocks, BACKWARD)
        more = _distances(256 * part + MORE, 256 * part + MORE + 63, rows, batch, blocks, BACKWARD)
        at_more = gl.to_tensor(32 * part + MORE // 8 + LEAD)
        at_less = gl.to_tensor(32 * part + LESS // 8 + LEAD)
        a = gl.zeros([64, 128], gl.float32, layout)
        b = gl.zeros([64, 128], gl.float32, layout)
        for delta in range(less):
            step = before + delta * 2
            for half in gl.static_range(2):
                slot = (step + half) % SLOTS
                mbarrier.wait(taps_ready.index(slot), ((step + half) // SLOTS) & 1)
                tile = taps.index(slot)._reinterpret(kind, [128, 64], matrix).permute((1, 0))
                source = right if half else left
                a = warpgroup_mma(
                    source.index(at_more)._reinterpret(kind, [64, 64], matrix),
                    tile,
                    a,
                    is_async=True,
                )
                b = warpgroup_mma(
                    source.index(at_less)._reinterpret(kind, [64, 64], matrix),
                    tile,
                    b,
                    is_async=True,
                )
            a, b = warpgroup_mma_wait(0, deps=(a, b))
            mbarrier.arrive(taps_empty.index(step % SLOTS), count=1)
            mbarrier.arrive(taps_empty.index((step + 1) % SLOTS), count=1)
            at_more += stride
            at_less += stride
        for delta in range(less, more):
            step = before + delta * 2
            for half in gl.static_range(2):
                slot = (step + half) % SLOTS
                mbarrier.wait(taps_ready.index(slot), ((step + half) // SLOTS) & 1)
                tile = taps.index(slot)._reinterpret(kind, [128, 64], matrix).permute((1, 0))
                source = right if half else left
                a = warpgroup_mma(
                    source.index(at_more)._reinterpret(kind, [64, 64], matrix),
                    tile,
                    a,
                    is_async=True,
                )
            a = warpgroup_mma_wait(0, deps=(a,))
            mbarrier.arrive(taps_empty.index(step % SLOTS), count=1)
            mbarrier.arrive(taps_empty.index((step + 1) % SLOTS), count=1)
            at_more += stride
        # tiles that only the other group multiplies with are given back as they come
        for step in range(before + 2 * more, before + 2 * count):
            slot = step % SLOTS
            mbarrier.wait(taps_ready.index(slot), (step // SLOTS) & 1)
            mbarrier.arrive(taps_empty.index(slot), count=1)
        before += 2 * count
        _store(out_desc, out, c, 256 * part + MORE, a)
        _store(out_desc, out, c, 256 * part + LESS, b)
    tma.store_wait(pendings=0)


@gluon.jit(do_not_specialize=["rows", "batch", "blocks", "groups"])
def toeplitz_resident(
    in_desc, taps_desc, out_desc, rows, batch, blocks, groups, PARTS: gl.constexpr, SLOTS: gl.constexpr,
    BACKWARD: gl.constexpr,
):  # fmt: skip
    """out rows = sum_delta rows shifted by delta blocks, times T_delta, for up to 256 PARTS rows of one channel."""
    kind: gl.constexpr = in_desc.dtype
    c = gl.program_id(0)
    lines: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    left = gl.allocate_shared_memory(kind, [32 * PARTS + 8, 8, 64], lines)
    right = gl.allocate_shared_memory(kind, [32 * PARTS + 8, 8, 64], lines)
    taps = gl.allocate_shared_memory(kind, [SLOTS, 1, 16, 8, 64], taps_desc.layout)
    out = gl.allocate_shared_memory(kind, [2, 1, 64, 64], out_desc.layout)
    rows_ready = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    taps_ready = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    taps_empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    mbarrier.init(rows_ready, count=1)
    for slot in gl.static_range(SLOTS):
        mbarrier.init(taps_ready.index(slot), count=1)
        mbarrier.init(taps_empty.index(slot), count=2)
    fence_async_shared()
    barriers = (rows_ready, taps_ready, taps_empty)
    out0 = out.index(0)
    out1 = out.index(1)
    gl.warp_specialize(
        [
            (
                _multiply,
                (
                    out_desc,
                    left,
                    right,
                    taps,
                    out0,
                    barriers,
                    c,
                    rows,
                    batch,
                    blocks,
                    0,
                    3,
                    BACKWARD,
                ),
            ),
            (
                _multiply,
                (
                    out_desc,
                    left,
                    right,
                    taps,
                    out1,
                    barriers,
                    c,
                    rows,
                    batch,
                    blocks,
                    1,
                    2,
                    BACKWARD,
                ),
            ),
            (
                _load,
                (
                    in_desc,
                    taps_desc,
                    left,
                    right,
                    taps,
                    barriers,
                    c,
                    c // groups,
                    rows,
                    batch,
                    blocks,
                    BACKWARD,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )


def launch(
    blocks: Tensor, taps: Tensor, taps_shape: list[int], taps_strides: list[int], out: Tensor, batch: int, n: int,
    groups: int, backward: bool,
) -> None:  # fmt: skip
    """blocks, out [d * groups, n * batch, 128] of a 16-bit dtype; taps as `Blocks.taps` stores them."""
    box = [1, 64, 64]
    parts = -(-blocks.shape[1] // 256)
    toeplitz_resident[(blocks.shape[0],)](
        TensorDescriptor.from_tensor(blocks, box, ROWS_LAYOUT),
        TensorDescriptor(taps, taps_shape, taps_strides, [1, 16, 8, 64], TAPS_LAYOUT),
        TensorDescriptor.from_tensor(out, box, ROWS_LAYOUT),
        blocks.shape[1],
        batch,
        n,
        groups,
        PARTS=parts,
        SLOTS=SLOTS[parts],
        BACKWARD=backward,
        num_warps=4,
    )
