"""Gradients of the causal long convolution, in the blocks of forward.py.

    g = gate_out * dy        dgate_out = dy * (k * v)        dv = g correlated with k        du = gate_in * dv
    dgate_in = u * dv        dk_m = sum_{b,t} g_t v_{t-m}    dD = dk_0

The taps' gradient is a product over (block, batch) rows for each distance between pieces of blocks, whose
antidiagonals belong to one tap each (v's pieces run against time):

    G[i, j] = sum_rows g[row, i] v[row - distance, j]        tap distance - (tile - 1) + i + j

Sums run in a fixed order: two runs give the same bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from kernels.long_conv.forward import Blocks, _strides, row_of


@triton.jit(do_not_specialize=["length", "blocks", "groups", "size"])
def enter(
    dy_ptr,
    gate_ptr,
    mixed_ptr,
    g_ptr,
    dgate_ptr,
    length,
    width,
    blocks,
    groups,
    size,
    dy_batch,
    dy_time,
    gate_batch,
    gate_time,
    Q: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """g's blocks = gate_out dy, and dgate_out = dy (k * v).  One program: one block of a sequence, BLOCK_C channels."""
    p = tl.program_id(0)
    sequence = tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    j = tl.arange(0, Q)
    t = (p * Q + j).to(tl.int64)
    mask = (t < length)[:, None] & (c < width)[None]
    at = row_of(c.to(tl.int64)[:, None], p, sequence, blocks, groups, size) * Q + j[None]  # [c, q]
    inside = (c < width)[:, None]
    dy = tl.load(dy_ptr + sequence * dy_batch + t[:, None] * dy_time + c[None], mask, 0.0)
    gate = tl.load(gate_ptr + sequence * gate_batch + t[:, None] * gate_time + c[None], mask, 0.0)
    g = (dy.to(tl.float32) * gate.to(tl.float32)).to(g_ptr.dtype.element_ty)
    tl.store(g_ptr + at, tl.trans(g), inside)
    if dgate_ptr is not None:
        mixed = tl.trans(tl.load(mixed_ptr + at, inside, 0.0))
        dgate = dy.to(tl.float32) * mixed.to(tl.float32)
        tl.store(
            dgate_ptr + (sequence * length + t)[:, None] * width + c[None],
            dgate.to(dgate_ptr.dtype.element_ty),
            mask,
        )


@triton.jit(do_not_specialize=["length", "blocks", "groups", "size"])
def leave(
    dv_ptr,
    u_ptr,
    gate_ptr,
    du_ptr,
    dgate_ptr,
    length,
    width,
    blocks,
    groups,
    size,
    u_batch,
    u_time,
    gate_batch,
    gate_time,
    Q: tl.constexpr,
    BLOCK_C: tl.constexpr,
    REVERSED: tl.constexpr,
):
    """du = dv gate_in and dgate_in = dv u, from dv's blocks (REVERSED inside).  gate_ptr None: du = dv."""
    p = tl.program_id(0)
    sequence = tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    j = tl.arange(0, Q)
    t = (p * Q + ((Q - 1 - j) if REVERSED else j)).to(tl.int64)
    mask = (t < length)[:, None] & (c < width)[None]
    at = row_of(c.to(tl.int64)[:, None], p, sequence, blocks, groups, size) * Q + j[None]
    dv = tl.trans(tl.load(dv_ptr + at, (c < width)[:, None], 0.0)).to(tl.float32)  # [q, c]
    out = (sequence * length + t)[:, None] * width + c[None]
    if gate_ptr is not None:
        u = tl.load(u_ptr + sequence * u_batch + t[:, None] * u_time + c[None], mask, 0.0).to(tl.float32)
        tl.store(dgate_ptr + out, (dv * u).to(dgate_ptr.dtype.element_ty), mask)
        gate = tl.load(
            gate_ptr + sequence * gate_batch + t[:, None] * gate_time + c[None],
            mask,
            0.0,
        ).to(tl.float32)
        dv *= gate
    tl.store(du_ptr + out, dv.to(du_ptr.dtype.element_ty), mask)


@triton.jit(do_not_specialize=["rows", "batch", "blocks", "groups"])
def taps_products(
    g_desc,
    v_desc,
    partial_ptr,
    rows,
    batch,
    blocks,
    groups,
    Q: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Antidiagonal sums of G at one distance between pieces of TILE = Q / PARTS steps, for one channel.

    partial[c, distance, 0, s] is the sum over i + j = s and [c, distance, 1, s] over i + j = TILE + s.  Every piece of
    g meets the one piece of v that lies `distance` pieces before it.
    """
    TILE: tl.constexpr = Q // PARTS
    distance = tl.program_id(0)
    c = tl.program_id(1)
    steps = tl.cdiv(rows - distance // PARTS * batch, BLOCK_K)
    product = tl.zeros([TILE, TILE], tl.float32)
    for step in range(0, groups * PARTS * steps):
        piece = step // steps
        row = (step % steps) * BLOCK_K
        ours = piece % PARTS
        theirs = (ours + blocks * PARTS - distance) % PARTS
        shift = (distance - ours + theirs) // PARTS * batch
        group = c * groups + piece // PARTS
        # rows of g behind the last are zeros; v's pieces lie reversed in their blocks
        g = g_desc.load([group, row + shift, ours * TILE]).reshape(BLOCK_K, TILE)
        v = v_desc.load([group, row, (PARTS - 1 - theirs) * TILE]).reshape(BLOCK_K, TILE)
        product = tl.dot(g.T, v, product, input_precision="ieee")
    i = tl.arange(0, TILE)[:, None]
    s = tl.arange(0, TILE)[None]
    turned = tl.gather(product, (s - i + TILE) % TILE, 1)  # [i, s]: element j = s - i, or TILE + s - i if negative
    at = ((c.to(tl.int64) * blocks * PARTS + distance) * 2) * TILE + tl.arange(0, TILE)
    tl.store(partial_ptr + at, tl.sum(tl.where(i <= s, turned, 0.0), 0))
    tl.store(partial_ptr + at + TILE, tl.sum(tl.where(i > s, turned, 0.0), 0))


@triton.jit(do_not_specialize=["length", "blocks"])
def taps_sums(partial_ptr, dk_ptr, length, blocks, Q: tl.constexpr, BLOCK: tl.constexpr):
    """dk[c, m]: two antidiagonals at most hold tap m, of neighbouring distances."""
    c = tl.program_id(0).to(tl.int64)
    m = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    distance = (m + Q - 1) // Q
    s = (m + Q - 1) % Q
    at = partial_ptr + (c * blocks + distance) * 2 * Q + s
    low = tl.load(at, (m < length) & (distance < blocks), 0.0)
    high = tl.load(at - Q, (m < length) & (distance > 0), 0.0)
    tl.store(dk_ptr + c * length + m, low + high, m < length)


def gradients(
    dy: Tensor,
    u: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    v: Tensor,
    mixed: Tensor,
    taps: Tensor,
    need_u: bool,
    need_k: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """du, dk [d, l] fp32, dgate_in, dgate_out; du and dgate_in are None unless need_u, dk unless need_k."""
    sizes = Blocks(u)
    common = {"Q": sizes.q, "BLOCK_C": sizes.block_c, "num_warps": 4}
    shape = (sizes.l, sizes.d, sizes.n, sizes.groups, sizes.size)
    dgate_out = dgate_in = du = dk = None
    if gate_out is None:
        g = sizes.gather(dy, None, False)
    else:
        g, dgate_out = sizes.empty(v), dy.new_empty(dy.shape)
        enter[sizes.grid](
            dy,
            gate_out,
            mixed,
            g,
            dgate_out,
            *shape,
            dy.stride(0),
            dy.stride(1),
            *_strides(gate_out),
            **common,
        )
    if need_u:
        dv = sizes.convolve(g, taps, True)
        du = u.new_empty(u.shape)
        dgate_in = None if gate_in is None else u.new_empty(u.shape)
        leave[sizes.grid](
            dv,
            u,
            gate_in,
            du,
            dgate_in,
            *shape,
            u.stride(0),
            u.stride(1),
            *_strides(gate_in),
            REVERSED=True,
            **common,
        )
    if need_k:
        tile = sizes.tile
        part, pieces = tile.q // tile.parts, sizes.n * tile.parts
        partial = u.new_empty(sizes.d, pieces, 2, part, dtype=torch.float32)
        box = [1, tile.block_rows, part]
        taps_products[(pieces, sizes.d)](
            TensorDescriptor.from_tensor(g, box),
            TensorDescriptor.from_tensor(v, box),
            partial,
            sizes.rows,
            sizes.size,
            sizes.n,
            sizes.groups,
            Q=sizes.q,
            PARTS=tile.parts,
            BLOCK_K=tile.block_rows,
            num_warps=tile.taps_warps,
            num_stages=tile.taps_stages,
        )
        dk = u.new_empty(sizes.d, sizes.l, dtype=torch.float32)
        taps_sums[(sizes.d, triton.cdiv(sizes.l, 1024))](partial, dk, sizes.l, pieces, Q=part, BLOCK=1024, num_warps=4)
    return du, dk, dgate_in, dgate_out
