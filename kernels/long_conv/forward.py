"""The causal long convolution as products of Toeplitz tiles on tensor cores.

Time is cut into n = ceil(l / q) blocks of q.  For one channel, with y_p and v_p the blocks as [batch, q] matrices,

    y_p = sum_delta v_{p-delta} T_delta^T        T_delta[i, j] = k[delta q + i - j]

A row of the product is one (block, batch) pair, so the products are tall whatever the batch.  No Toeplitz tile is
ever built: `shifted_taps` stores a few copies of the taps, each one tap further than the last, and the copy engine
reads a tile out of them as a box whose row i starts i taps later.  So the inner index must run against time, and
v's blocks are stored with time reversed inside each block.  T_delta[i, q - 1 - j] = k[delta q - (q - 1) + i + j]
is symmetric in i and j, so that the same kernel computes the gradient of v from that of y:

    dv_p = sum_delta g_{p+delta} T_delta

with g's blocks in their natural order and the result's reversed.

Work: 2 l^2 b d / 2 multiply-adds and the causal tiles' corners; each of v, y is read and written three times.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from kernels.long_conv.tiles import Tile, resident_sequences, tile_for


@triton.jit(do_not_specialize=["length", "k_stride"])
def shifted_taps(
    k_ptr,
    direct_ptr,
    out_ptr,
    length,
    k_stride,
    width,
    Q: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out[c, r, m] = k[c, m + r - (q - 1)], plus D[c] at tap 0, zero outside the taps.  out [d, copies, width]."""
    c = tl.program_id(0).to(tl.int64)
    m = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    direct = 0.0
    if direct_ptr is not None:
        direct = tl.load(direct_ptr + c).to(tl.float32)
    for r in tl.static_range(COPIES):
        tap = m + r - (Q - 1)
        value = tl.load(k_ptr + c * k_stride + tap, (tap >= 0) & (tap < length), 0.0).to(tl.float32)
        value += tl.where(tap == 0, direct, 0.0)
        tl.store(
            out_ptr + (c * COPIES + r) * width + m,
            value.to(out_ptr.dtype.element_ty),
            m < width,
        )


@triton.jit
def row_of(c, p, sequence, blocks, groups, size):
    """Row of block p of a sequence among those of all channels: [channel, group, block, sequence in the group]."""
    return ((c * groups + sequence // size) * blocks + p) * size + sequence % size


@triton.jit(do_not_specialize=["length", "blocks", "groups", "size"])
def to_blocks(
    a_ptr,
    b_ptr,
    out_ptr,
    length,
    width,
    blocks,
    groups,
    size,
    a_batch,
    a_time,
    b_batch,
    b_time,
    Q: tl.constexpr,
    BLOCK_C: tl.constexpr,
    REVERSED: tl.constexpr,
):
    """out[c, p, b, j] = a * b at time p q + j (or p q + q - 1 - j), zero past the end.  b_ptr None: a alone.

    One program: one block of one sequence, BLOCK_C channels.  Reads [q, BLOCK_C], writes its transpose.
    """
    p = tl.program_id(0)
    sequence = tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    j = tl.arange(0, Q)
    t = p * Q + ((Q - 1 - j) if REVERSED else j)
    mask = (t < length)[:, None] & (c < width)[None]
    value = tl.load(
        a_ptr + sequence * a_batch + t.to(tl.int64)[:, None] * a_time + c[None],
        mask,
        0.0,
    )  # [q, c]
    if b_ptr is not None:
        gate = tl.load(
            b_ptr + sequence * b_batch + t.to(tl.int64)[:, None] * b_time + c[None],
            mask,
            0.0,
        )
        value = (value.to(tl.float32) * gate.to(tl.float32)).to(value.dtype)
    at = row_of(c.to(tl.int64)[:, None], p, sequence, blocks, groups, size) * Q + j[None]
    tl.store(out_ptr + at, tl.trans(value), (c < width)[:, None])


@triton.jit(do_not_specialize=["length", "blocks", "groups", "size"])
def from_blocks(
    in_ptr,
    gate_ptr,
    out_ptr,
    length,
    width,
    blocks,
    groups,
    size,
    gate_batch,
    gate_time,
    Q: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """out[b, t, c] = in[c, p, b, i] gate[b, t, c] at t = p q + i.  gate_ptr None: the transposition alone."""
    p = tl.program_id(0)
    sequence = tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    i = tl.arange(0, Q)
    t = p * Q + i
    at = row_of(c.to(tl.int64)[:, None], p, sequence, blocks, groups, size) * Q + i[None]
    value = tl.trans(tl.load(in_ptr + at, (c < width)[:, None], 0.0)).to(tl.float32)  # [q, c]
    mask = (t < length)[:, None] & (c < width)[None]
    if gate_ptr is not None:
        value *= tl.load(
            gate_ptr + sequence * gate_batch + t.to(tl.int64)[:, None] * gate_time + c[None],
            mask,
            0.0,
        ).to(tl.float32)
    at = (sequence * length + t)[:, None] * width + c[None]
    tl.store(out_ptr + at, value.to(out_ptr.dtype.element_ty), mask)


@triton.jit(do_not_specialize=["rows", "batch", "tiles", "groups"])
def toeplitz(
    in_desc,
    taps_desc,
    out_desc,
    rows,
    batch,
    tiles,
    groups,
    Q: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BACKWARD: tl.constexpr,
):
    """out rows = sum_delta in rows shifted by delta blocks, times T_delta.  One program: BLOCK_R rows of one channel.

    Rows are (block, batch) pairs, [d, rows, q]; rows outside are zeros to the copy engine.  The programs with the most
    products come first.
    """
    c = tl.program_id(0)
    last = tiles - 1 - tl.program_id(1)
    # forward reads earlier blocks, backward later ones
    first = (tl.program_id(1) if BACKWARD else last) * BLOCK_R
    reach = (rows - 1 - first) if BACKWARD else (tl.minimum(first + BLOCK_R, rows) - 1)
    PIECES: tl.constexpr = Q // BLOCK_K
    total = tl.zeros([BLOCK_R, Q], tl.float32)
    for step in range(0, (reach // batch + 1) * PIECES):
        delta = step // PIECES
        piece = (step % PIECES) * BLOCK_K
        shift = delta * batch
        tile = in_desc.load([c, (first + shift) if BACKWARD else (first - shift), piece]).reshape(BLOCK_R, BLOCK_K)
        # row 0, column 0 of the box is tap delta q - (q - 1) + piece, stored q - 1 further
        taps = taps_desc.load([c // groups, 0, 0, delta * Q + piece]).reshape(Q, BLOCK_K)
        total = tl.dot(tile, taps.T, total, input_precision="ieee")
    out_desc.store([c, first, 0], total.to(out_desc.dtype).reshape(1, BLOCK_R, Q))


class Blocks:
    """Sizes of one call and the launches that forward and backward share.

    Blocks of all channels are [d * groups, rows, q], a row for every block of every sequence of a group.
    """

    def __init__(self, u: Tensor) -> None:
        self.b, self.l, self.d = u.shape
        self.dtype = u.dtype
        self.tile: Tile = tile_for(u.dtype)
        self.q = self.tile.q
        self.n = triton.cdiv(self.l, self.q)
        resident = resident_sequences(u, self.b, self.n)
        self.resident = resident > 0
        self.size = resident or self.b
        self.groups = self.b // self.size
        self.rows = self.n * self.size
        self.block_c = 64
        self.grid = (self.n, self.b, triton.cdiv(self.d, self.block_c))

    def empty(self, like: Tensor) -> Tensor:
        return like.new_empty(self.d * self.groups, self.rows, self.q)

    def taps(self, k: Tensor, direct: Tensor | None) -> Tensor:
        """k and D, rounded to the dtype of the products: [d, copies, width], each copy one tap further."""
        copies = 16 // self.dtype.itemsize
        # a multiple of 16 numbers, so that stores are known to be aligned
        width = -(-((self.n + 1) * self.q + copies) // 16) * 16
        out = k.new_empty(self.d, copies, width, dtype=self.dtype)
        shifted_taps[(self.d, triton.cdiv(width, 1024))](
            k,
            direct,
            out,
            self.l,
            k.stride(0),
            width,
            Q=self.q,
            COPIES=copies,
            BLOCK=1024,
            num_warps=4,
        )
        return out

    def gather(self, a: Tensor, gate: Tensor | None, reverse: bool) -> Tensor:
        """a (times gate) as blocks [d, rows, q]."""
        out = self.empty(a)
        to_blocks[self.grid](
            a,
            gate,
            out,
            self.l,
            self.d,
            self.n,
            self.groups,
            self.size,
            a.stride(0),
            a.stride(1),
            *_strides(gate),
            Q=self.q,
            BLOCK_C=self.block_c,
            REVERSED=reverse,
            num_warps=4,
        )
        return out

    def scatter(self, blocks: Tensor, gate: Tensor | None) -> Tensor:
        """Blocks in natural order (times gate) as [b, l, d]."""
        out = blocks.new_empty(self.b, self.l, self.d)
        from_blocks[self.grid](
            blocks,
            gate,
            out,
            self.l,
            self.d,
            self.n,
            self.groups,
            self.size,
            *_strides(gate),
            Q=self.q,
            BLOCK_C=self.block_c,
            num_warps=4,
        )
        return out

    def convolve(self, blocks: Tensor, taps: Tensor, backward: bool) -> Tensor:
        tile, out = self.tile, self.empty(blocks)
        _, copies, width = taps.shape
        # rows of the box are 1 tap apart: copy by copy, then 16 bytes further in each
        taps_box = [1, self.q // copies, copies, tile.block_k]
        taps_shape = [self.d, self.q // copies, copies, width]
        taps_strides = [copies * width, copies, width, 1]
        if self.resident:
            from kernels.long_conv import hopper

            hopper.launch(
                blocks,
                taps,
                taps_shape,
                taps_strides,
                out,
                self.size,
                self.n,
                self.groups,
                backward,
            )
            return out
        tiles = triton.cdiv(self.rows, tile.block_r)
        toeplitz[(self.d * self.groups, tiles)](
            TensorDescriptor.from_tensor(blocks, [1, tile.block_r, tile.block_k]),
            TensorDescriptor(taps, taps_shape, taps_strides, taps_box),
            TensorDescriptor.from_tensor(out, [1, tile.block_r, self.q]),
            self.rows,
            self.size,
            tiles,
            self.groups,
            Q=self.q,
            BLOCK_R=tile.block_r,
            BLOCK_K=tile.block_k,
            BACKWARD=backward,
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
        )
        return out


def _strides(gate: Tensor | None) -> tuple[int, int]:
    return (0, 0) if gate is None else (gate.stride(0), gate.stride(1))


def forward(
    u: Tensor,
    k: Tensor,
    direct: Tensor | None,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y [b, l, d]; and for the backward pass v's blocks, the convolution's blocks and the taps."""
    sizes = Blocks(u)
    taps = sizes.taps(k, direct)
    v = sizes.gather(u, gate_in, True)
    mixed = sizes.convolve(v, taps, False)
    return sizes.scatter(mixed, gate_out), v, mixed, taps
