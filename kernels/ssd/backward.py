"""The backward pass of `kernels.ssd`: what flows back into the states, then every chunk by itself, then the decays.

With H the state that enters a chunk, G the gradient of the state that leaves it, L_ij = exp2(s_i - s_j) for i >= j,
and step_j = exp(ln 2 (s_j - t_j)) (`kernels.ssd.decay`):

    G of the chunk before = exp2(s_q) G + C^T (exp2(s) dy)                            `state_gradients_kernel`
    P_ij = L_ij step_j (dy_i . x_j)
    dC = (sum_heads P) B + sum_heads exp2(s) dy H^T                                   `chunk_gradients_kernel`, of C
    dB = (sum_heads P)^T C + sum_heads exp2(s_q - t) x G^T                            of B
    dx_j = step_j (sum_i L_ij (C_i . B_j) dy_i + exp2(s_q - s_j) B_j G) + D dy_j      of x
    da_t = sum_{i>=t>j} P_ij (C_i . B_j) + sum_{i>=t} E_i + sum_{j<t} F_j + T         `decay_gradients_kernel`

where E_i = exp2(s_i) C_i H dy_i is what the incoming state gives to y_i, F_j = exp2(s_q - t_j) B_j G x_j what x_j
gives to the outgoing one, and T = exp2(s_q) <G, H>, the trace of a product.  No term of da cancels another: a suffix
sum over the whole sequence would be shorter, and useless in bfloat16.

A program of `chunk_gradients_kernel` owns one chunk, one group of heads and one of three sides, so that dB and dC are
summed over heads in registers, in the order of the heads, and C B^T is found once.  One program for all sides would
need twice the registers there are.  The three run next to each other: two read x and dy from L2.  Nothing is
transposed but what was loaded: each product is computed in the orientation in which it is used.

Of a token and head, in 16-bit types and chunks of 64: dy is read and G written for the states, then x, dy, H and G are
read and dx is written, 8 p + 6 n p / 64 bytes; and there are 512 p + 12 n p floating-point operations.
"""

from __future__ import annotations

import dataclasses

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.ssd.decay import Decays
from kernels.ssd.describe import describe, describe_blocks
from kernels.ssd.forward import SIZES, documents_of_chunk
from kernels.ssd.tiles import Tile, ceil_div, head_splits, power_of_two, state_tile


@triton.jit(do_not_specialize=SIZES)
def state_gradients_kernel(
    dy_ptr,
    C_ptr,
    s_ptr,
    document_ptr,
    dstate_ptr,
    gradients_ptr,
    dstate_in_ptr,
    length,
    chunks,
    heads,
    heads_a_group,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_DOCUMENT: tl.constexpr,
    HAS_DSTATE: tl.constexpr,
):
    """G of every chunk, in the type of x; one program has ROWS rows of the n of one head.  Bytes: dy and G once."""
    pid, row = tl.program_id(0), tl.program_id(1) * ROWS
    part, bh = pid % PARTS, (pid // PARTS).to(tl.int64)
    batch, head = pid // PARTS // heads, pid // PARTS % heads
    offs_l, offs_p = tl.arange(0, BLOCK_L), tl.arange(0, BLOCK_P)
    offs_n = row + tl.arange(0, ROWS)
    in_p, in_n = offs_p < P - part * BLOCK_P, offs_n < N
    s_ptr += bh * chunks * BLOCK_L
    if HAS_DOCUMENT:
        document_ptr += batch.to(tl.int64) * length
    outside = bh * N * P + part * BLOCK_P * N + offs_n[:, None] + offs_p[None, :] * N
    inside = in_n[:, None] & in_p[None, :]
    if HAS_DSTATE:
        gradient = tl.load(dstate_ptr + outside, mask=inside, other=0.0).to(tl.float32)  # [n, p]
    else:
        gradient = tl.zeros([ROWS, BLOCK_P], tl.float32)
    for back in range(0, chunks):
        chunk = chunks - 1 - back
        start = chunk * BLOCK_L
        dy = dy_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)  # [q, p]
        C = C_ptr.load([batch, head // heads_a_group, start, row]).reshape(BLOCK_L, ROWS)  # [q, n]
        entering = tl.exp2(tl.load(s_ptr + start + offs_l))
        passing = tl.exp2(tl.load(s_ptr + start + BLOCK_L - 1))
        if HAS_DOCUMENT:
            own, before, after = documents_of_chunk(document_ptr, start, length - start, offs_l, BLOCK_L)
            entering = tl.where(own == before, entering, 0.0)
            passing = tl.where(before == after, passing, 0.0)
        gradients_ptr.store([pid * chunks + chunk, row, 0], gradient.to(dy.dtype).reshape(1, ROWS, BLOCK_P))
        outflow = (dy * entering[:, None]).to(dy.dtype)
        gradient = tl.dot(tl.trans(C), outflow, gradient * passing, input_precision="ieee")
    tl.store(dstate_in_ptr + outside, gradient, mask=inside)


@triton.jit
def _side_of_C(
    x_ptr,
    dy_ptr,
    B_ptr,
    C_ptr,
    s_ptr,
    t_ptr,
    document_ptr,
    states_ptr,
    dC_ptr,
    E_ptr,
    start,
    length,
    chunk,
    chunks,
    heads,
    batch,
    first_head,
    heads_a_program,
    group,
    split,
    batches,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_DOCUMENT: tl.constexpr,
):
    offs_l = tl.arange(0, BLOCK_L)
    C = C_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)
    own = offs_l
    if HAS_DOCUMENT:
        own, before, after = documents_of_chunk(document_ptr, start, length - start, offs_l, BLOCK_L)
    dC = tl.zeros([BLOCK_L, BLOCK_N], tl.float32)
    pairs = tl.zeros([BLOCK_L, BLOCK_L], tl.float32)  # sum of P over heads
    first_row = (batch * heads + first_head) * PARTS
    for i in range(heads_a_program * PARTS):
        head, part = first_head + i // PARTS, i % PARTS
        row = first_row + i
        x = x_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)  # [q, p]
        dy = dy_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)
        state = states_ptr.load([row * chunks + chunk, 0, 0]).reshape(BLOCK_N, BLOCK_P)
        decays = (batch.to(tl.int64) * heads + head) * chunks * BLOCK_L + start
        s = tl.load(s_ptr + decays + offs_l)
        t = tl.load(t_ptr + decays + offs_l)
        entering = tl.exp2(s)
        keep = offs_l[:, None] >= offs_l[None, :]
        if HAS_DOCUMENT:
            keep = keep & (own[:, None] == own[None, :])
            entering = tl.where(own == before, entering, 0.0)
        products = tl.dot(dy, tl.trans(x), input_precision="ieee")  # [i, j]
        pairs += products * tl.exp2(tl.where(keep, s[:, None] - t[None, :], -float("inf")))
        E = tl.sum(tl.dot(C, state, input_precision="ieee") * dy, 1) * entering
        dC = tl.dot((dy * entering[:, None]).to(dy.dtype), tl.trans(state), dC, input_precision="ieee")
        tl.store(E_ptr + row.to(tl.int64) * chunks * BLOCK_L + start + offs_l, E)
    B = B_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)
    dC = tl.dot(pairs.to(B.dtype), B, dC, input_precision="ieee")
    dC_ptr.store([split * batches + batch, group, start, 0], dC.to(dC_ptr.dtype).reshape(1, 1, BLOCK_L, BLOCK_N))


@triton.jit
def _side_of_B(
    x_ptr,
    dy_ptr,
    C_ptr,
    s_ptr,
    t_ptr,
    document_ptr,
    states_ptr,
    gradients_ptr,
    dB_ptr,
    chunk_sums_ptr,
    start,
    length,
    chunk,
    chunks,
    heads,
    batch,
    first_head,
    heads_a_program,
    group,
    split,
    batches,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_DOCUMENT: tl.constexpr,
):
    offs_l, offs_p = tl.arange(0, BLOCK_L), tl.arange(0, BLOCK_P)
    own = offs_l
    if HAS_DOCUMENT:
        own, before, after = documents_of_chunk(document_ptr, start, length - start, offs_l, BLOCK_L)
    dB = tl.zeros([BLOCK_L, BLOCK_N], tl.float32)
    pairs = tl.zeros([BLOCK_L, BLOCK_L], tl.float32)  # sum of P^T over heads
    first_row = (batch * heads + first_head) * PARTS
    for i in range(heads_a_program * PARTS):
        head, part = first_head + i // PARTS, i % PARTS
        row = first_row + i
        x = x_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)  # [q, p]
        dy = dy_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)
        gradient = gradients_ptr.load([row * chunks + chunk, 0, 0]).reshape(BLOCK_N, BLOCK_P)  # [n, p]
        decays = (batch.to(tl.int64) * heads + head) * chunks * BLOCK_L + start
        s = tl.load(s_ptr + decays + offs_l)
        t = tl.load(t_ptr + decays + offs_l)
        state = states_ptr.load([row * chunks + chunk, 0, 0]).reshape(BLOCK_N, BLOCK_P)
        total = tl.load(s_ptr + decays + BLOCK_L - 1)
        leaving, passing = tl.exp2(total - t), tl.exp2(total)
        keep = offs_l[None, :] >= offs_l[:, None]
        if HAS_DOCUMENT:
            keep = keep & (own[:, None] == own[None, :])
            leaving = tl.where(own == after, leaving, 0.0)
            passing = tl.where(before == after, passing, 0.0)
        products = tl.dot(x, tl.trans(dy), input_precision="ieee")  # [j, i]
        pairs += products * tl.exp2(tl.where(keep, s[None, :] - t[:, None], -float("inf")))
        overlaps = tl.dot(tl.trans(state), gradient, input_precision="ieee")  # [p, p]
        T = tl.sum(tl.where(offs_p[:, None] == offs_p[None, :], overlaps, 0.0)) * passing
        tl.store(chunk_sums_ptr + (row * chunks + chunk) * 4, T)
        dB = tl.dot((x * leaving[:, None]).to(x.dtype), tl.trans(gradient), dB, input_precision="ieee")
    C = C_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)  # [q, n]
    dB = tl.dot(pairs.to(C.dtype), C, dB, input_precision="ieee")
    dB_ptr.store([split * batches + batch, group, start, 0], dB.to(dB_ptr.dtype).reshape(1, 1, BLOCK_L, BLOCK_N))


@triton.jit
def _side_of_x(
    x_ptr,
    dy_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    s_ptr,
    step_ptr,
    document_ptr,
    gradients_ptr,
    dx_ptr,
    dstep_ptr,
    V_ptr,
    chunk_sums_ptr,
    start,
    length,
    chunk,
    chunks,
    heads,
    batch,
    first_head,
    heads_a_program,
    group,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_D: tl.constexpr,
    HAS_DOCUMENT: tl.constexpr,
):
    offs_l = tl.arange(0, BLOCK_L)
    B = B_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)  # [q, n]
    C = C_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)
    BC = tl.dot(B, tl.trans(C), input_precision="ieee")  # [j, i]
    own = offs_l
    if HAS_DOCUMENT:
        own, before, after = documents_of_chunk(document_ptr, start, length - start, offs_l, BLOCK_L)
    first_row = (batch * heads + first_head) * PARTS
    for i in range(heads_a_program * PARTS):
        head, part = first_head + i // PARTS, i % PARTS
        row = first_row + i
        x = x_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)  # [q, p]
        dy = dy_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)
        gradient = gradients_ptr.load([row * chunks + chunk, 0, 0]).reshape(BLOCK_N, BLOCK_P)  # [n, p]
        decays = (batch.to(tl.int64) * heads + head) * chunks * BLOCK_L + start
        s = tl.load(s_ptr + decays + offs_l)
        step = tl.load(step_ptr + decays + offs_l)
        leaving = tl.exp2(tl.load(s_ptr + decays + BLOCK_L - 1) - s)
        keep = offs_l[None, :] >= offs_l[:, None]
        if HAS_DOCUMENT:
            keep = keep & (own[:, None] == own[None, :])
            leaving = tl.where(own == after, leaving, 0.0)
        mixing = BC * tl.exp2(tl.where(keep, s[None, :] - s[:, None], -float("inf")))  # [j, i]
        dx = tl.dot(B, gradient, input_precision="ieee") * leaving[:, None]  # [q, p]
        F = tl.sum(dx * x, 1)
        dx = tl.dot(mixing.to(dy.dtype), dy, dx, input_precision="ieee") * step[:, None]
        if HAS_D:
            dx += tl.load(D_ptr + head).to(tl.float32) * dy
            tl.store(chunk_sums_ptr + (row * chunks + chunk) * 4 + 1, tl.sum(x.to(tl.float32) * dy))
        dx_ptr.store([batch, head, start, part * BLOCK_P], dx.to(dx_ptr.dtype).reshape(1, 1, BLOCK_L, BLOCK_P))
        crossing = tl.dot(x, tl.trans(dy), input_precision="ieee") * mixing  # P_ij (C_i . B_j) / step_j
        by_j = tl.sum(crossing, 1) + F
        by_i = tl.sum(crossing * step[:, None], 0)
        at = row.to(tl.int64) * chunks * BLOCK_L + start + offs_l
        tl.store(dstep_ptr + at, by_j)
        tl.store(V_ptr + at, by_i - by_j * step)
        tl.store(chunk_sums_ptr + (row * chunks + chunk) * 4 + 2, tl.sum(F * step))


@triton.jit(do_not_specialize=SIZES)
def chunk_gradients_kernel(
    x_ptr,
    dy_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    s_ptr,
    t_ptr,
    step_ptr,
    document_ptr,
    states_ptr,
    gradients_ptr,
    dx_ptr,
    dB_ptr,
    dC_ptr,
    dstep_ptr,
    V_ptr,
    E_ptr,
    chunk_sums_ptr,
    length,
    chunks,
    heads,
    groups,
    heads_a_group,
    heads_a_program,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_D: tl.constexpr,
    HAS_DOCUMENT: tl.constexpr,
):
    side, chunk = tl.program_id(0) % 3, tl.program_id(0) // 3
    batch, group, split = tl.program_id(1) // groups, tl.program_id(1) % groups, tl.program_id(2)
    batches = tl.num_programs(1) // groups
    first_head = group * heads_a_group + split * heads_a_program
    start = chunk * BLOCK_L
    if HAS_DOCUMENT:
        document_ptr += batch.to(tl.int64) * length
    if side == 0:
        _side_of_C(
            x_ptr, dy_ptr, B_ptr, C_ptr, s_ptr, t_ptr, document_ptr, states_ptr,
            dC_ptr, E_ptr,
            start, length, chunk, chunks, heads, batch, first_head, heads_a_program, group, split, batches,
            P, N, PARTS, BLOCK_L, BLOCK_P, BLOCK_N, HAS_DOCUMENT,
        )  # fmt: skip
    elif side == 1:
        _side_of_B(
            x_ptr, dy_ptr, C_ptr, s_ptr, t_ptr, document_ptr, states_ptr, gradients_ptr, dB_ptr, chunk_sums_ptr,
            start, length, chunk, chunks, heads, batch, first_head, heads_a_program, group, split, batches,
            P, N, PARTS, BLOCK_L, BLOCK_P, BLOCK_N, HAS_DOCUMENT,
        )  # fmt: skip
    else:
        _side_of_x(
            x_ptr, dy_ptr, B_ptr, C_ptr, D_ptr, s_ptr, step_ptr, document_ptr, gradients_ptr,
            dx_ptr, dstep_ptr, V_ptr, chunk_sums_ptr,
            start, length, chunk, chunks, heads, batch, first_head, heads_a_program, group,
            P, N, PARTS, BLOCK_L, BLOCK_P, BLOCK_N, HAS_D, HAS_DOCUMENT,
        )  # fmt: skip


@triton.jit(do_not_specialize=SIZES)
def decay_gradients_kernel(
    step_ptr,
    A_ptr,
    dstep_ptr,
    V_ptr,
    E_ptr,
    chunk_sums_ptr,
    ddt_ptr,
    sums_ptr,
    length,
    chunks,
    heads,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_H: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    HAS_D: tl.constexpr,
):
    """d dt, and by chunk the sums for dA, d dt_bias, dD: [b chunks, 3, h]."""
    chunk, batch = tl.program_id(0), tl.program_id(2).to(tl.int64)
    head = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    offs_l = tl.arange(0, BLOCK_L)
    real = head < heads
    A = tl.load(A_ptr + head, mask=real, other=0.0).to(tl.float32)
    bh = batch * heads + head
    step = tl.load(
        step_ptr + (bh * chunks + chunk)[:, None] * BLOCK_L + offs_l[None, :], mask=real[:, None], other=0.0
    )  # [heads, q]
    da = tl.zeros([BLOCK_H, BLOCK_L], tl.float32)
    ddt = tl.zeros([BLOCK_H, BLOCK_L], tl.float32)
    dD = tl.zeros([BLOCK_H], tl.float32)
    for part in tl.static_range(PARTS):
        row = (bh * PARTS + part) * chunks + chunk
        at = row[:, None] * BLOCK_L + offs_l[None, :]
        V = tl.load(V_ptr + at, mask=real[:, None], other=0.0) + tl.load(E_ptr + at, mask=real[:, None], other=0.0)
        ddt += tl.load(dstep_ptr + at, mask=real[:, None], other=0.0)
        passed = tl.load(chunk_sums_ptr + row * 4, mask=real, other=0.0)
        passed += tl.load(chunk_sums_ptr + row * 4 + 2, mask=real, other=0.0)
        da += tl.cumsum(V, 1, reverse=True) + passed[:, None]
        if HAS_D:
            dD += tl.load(chunk_sums_ptr + row * 4 + 1, mask=real, other=0.0)
    ddt += A[:, None] * da
    dA = tl.sum(step * da, 1)
    if SOFTPLUS:
        ddt *= 1.0 - tl.exp2(step * -1.4426950408889634)  # sigmoid of what softplus gave
    rows = chunk * BLOCK_L + offs_l
    live = rows < length
    out = (batch * length + rows)[None, :] * heads + head[:, None]
    tl.store(ddt_ptr + out, ddt.to(ddt_ptr.dtype.element_ty), mask=real[:, None] & live[None, :])
    sums = sums_ptr + (batch * chunks + chunk) * 3 * heads + head
    tl.store(sums, dA, mask=real)
    tl.store(sums + heads, tl.sum(tl.where(live[None, :], ddt, 0.0), 1), mask=real)
    tl.store(sums + 2 * heads, dD, mask=real)


@dataclasses.dataclass(frozen=True)
class Gradients:
    """In the types of what they are the gradients of; those of A, dt_bias, D and the state fp32."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    dt_bias: Tensor
    state_in: Tensor


def ssd_backward(
    dy: Tensor,
    dstate: Tensor | None,
    x: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    decays: Decays,
    states: Tensor,
    document: Tensor | None,
    tile: Tile,
    *,
    dt_dtype: torch.dtype,
    softplus: bool,
) -> Gradients:
    """dy [b, l, h, p] contiguous, dstate [b, h, p, n] contiguous or None."""
    b, length, h, p = x.shape
    g, n = B.shape[2:]
    q, block_p, block_n = tile.block_l, tile.block_p, tile.block_n
    parts, chunks = ceil_div(p, block_p), ceil_div(length, q)
    rows, group = b * h * parts, h // g
    splits = head_splits(b * g * chunks, group)
    single = torch.float32
    gradients = torch.empty_like(states)
    dstate_in = torch.empty((b, h, p, n), dtype=single, device=x.device)
    blocks = {"P": p, "N": n, "PARTS": parts, "BLOCK_L": q, "BLOCK_P": block_p, "BLOCK_N": block_n}
    states_tile = state_tile(tile)
    dx = torch.empty((b, length, h, p), dtype=x.dtype, device=x.device)
    kept = x.dtype if splits == 1 else single
    dB, dC = torch.empty((2, splits * b, length, g, n), dtype=kept, device=x.device).unbind(0)
    x_, dy_, dx_ = (describe(t, q, block_p) for t in (x, dy, dx))
    B_, C_, dB_, dC_ = (describe(t, q, block_n) for t in (B, C, dB, dC))
    options = {"HAS_DOCUMENT": document is not None}
    state_gradients_kernel[(rows, block_n // states_tile.rows)](
        dy_, describe(C, q, states_tile.rows), decays.s, document, dstate,
        describe_blocks(gradients, states_tile.rows), dstate_in, length, chunks, h, group,
        ROWS=states_tile.rows, HAS_DSTATE=dstate is not None,
        num_warps=states_tile.num_warps, num_stages=states_tile.num_stages, **blocks, **options,
    )  # fmt: skip
    dstep, V, E = torch.empty((3, rows, chunks * q), dtype=single, device=x.device).unbind(0)
    chunk_sums = torch.empty((rows, chunks, 4), dtype=single, device=x.device)
    chunk_gradients_kernel[(3 * chunks, b * g, splits)](
        x_, dy_, B_, C_, D, decays.s, decays.t, decays.step, document,
        describe_blocks(states), describe_blocks(gradients),
        dx_, dB_, dC_, dstep, V, E, chunk_sums, length, chunks, h, g, group, group // splits,
        HAS_D=D is not None,
        num_warps=tile.num_warps, num_stages=tile.num_stages, **blocks, **options,
    )  # fmt: skip
    ddt = torch.empty((b, length, h), dtype=dt_dtype, device=x.device)
    sums = torch.empty((b * chunks, 3, h), dtype=single, device=x.device)
    block_h = min(16, power_of_two(h))
    decay_gradients_kernel[(chunks, ceil_div(h, block_h), b)](
        decays.step, A, dstep, V, E, chunk_sums, ddt, sums, length, chunks, h,
        PARTS=parts, BLOCK_L=q, BLOCK_H=block_h, SOFTPLUS=softplus, HAS_D=D is not None, num_warps=4,
    )  # fmt: skip
    dA, dt_bias, dD = sums.sum(0).unbind(0)
    if splits > 1:
        dB, dC = (t.view(splits, b, length, g, n).sum(0).to(x.dtype) for t in (dB, dC))
    return Gradients(dx, ddt, dA, dB, dC, dD, dt_bias, dstate_in)
