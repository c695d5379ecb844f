"""The forward pass of `kernels.ssd`: one program carries the state of a head through its chunks.

    M_ij = exp2(s_i - t_j) (C_i . B_j) + [i = j] D,     y = M x + exp2(s) (C H),
    H   <- exp2(s_q) H + B^T (exp2(s_q - t) x)

with s and t as in `kernels.ssd.decay`.  One program owns 64 columns (or fewer) of one head and one run of chunks; the
state H [n, p] stays in registers in fp32.  It reads x once and writes y once; B and C are read by all heads of a group
at about the same time, from L2.  For training it also writes the state that enters each chunk, in the type of x:
n / q times the bytes of x.

Sequences whose heads do not fill the device are cut into segments: `segment_states_kernel` finds what each segment
adds to the state, `pass_segments_kernel` chains them, and the same forward kernel starts from what enters a segment.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.ssd.decay import Decays
from kernels.ssd.describe import describe, describe_blocks
from kernels.ssd.tiles import Tile, ceil_div, segments

# Numbers that vary from call to call: a kernel is compiled once for all of them.
SIZES = ("length", "chunks", "chunks_a_segment", "heads", "heads_a_group", "heads_a_program", "groups", "count")


@triton.jit
def documents_of_chunk(document_ptr, start, left, offs_l, BLOCK_L: tl.constexpr):
    """Document of each row, of the token before the chunk, and of the chunk's last token."""
    own = tl.load(document_ptr + start + tl.minimum(offs_l, left - 1))  # [q]
    before = tl.load(document_ptr + tl.maximum(start - 1, 0))
    after = tl.load(document_ptr + start + tl.minimum(left, BLOCK_L) - 1)
    return own, before, after


@triton.jit(do_not_specialize=SIZES)
def ssd_forward_kernel(
    x_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    s_ptr,
    t_ptr,
    document_ptr,
    state_in_ptr,
    y_ptr,
    state_out_ptr,
    states_ptr,
    length,
    chunks,
    chunks_a_segment,
    heads,
    heads_a_group,
    in_stride_head,
    in_stride_part,
    in_stride_segment,
    in_stride_n,
    in_stride_p,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_D: tl.constexpr,
    HAS_DOCUMENT: tl.constexpr,
    HAS_STATE: tl.constexpr,
    SAVE: tl.constexpr,
):
    part, segment = tl.program_id(0), tl.program_id(2)
    bh = tl.program_id(1).to(tl.int64)
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    group, pid = head // heads_a_group, tl.program_id(1) * PARTS + part
    offs_l, offs_n, offs_p = tl.arange(0, BLOCK_L), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_P)
    left_p = P - part * BLOCK_P
    in_p, in_n = offs_p < left_p, offs_n < N
    s_ptr += bh * chunks * BLOCK_L
    t_ptr += bh * chunks * BLOCK_L
    if HAS_D:
        D = tl.load(D_ptr + head).to(tl.float32)
    if HAS_DOCUMENT:
        document_ptr += batch.to(tl.int64) * length

    if HAS_STATE:
        at = bh * in_stride_head + part * in_stride_part + segment.to(tl.int64) * in_stride_segment
        state = tl.load(
            state_in_ptr + at + offs_n[:, None] * in_stride_n + offs_p[None, :] * in_stride_p,
            mask=in_n[:, None] & in_p[None, :],
            other=0.0,
        ).to(tl.float32)  # [n, p]
    else:
        state = tl.zeros([BLOCK_N, BLOCK_P], tl.float32)

    first = segment * chunks_a_segment
    last = tl.minimum(first + chunks_a_segment, chunks)
    for chunk in range(first, last):
        start = chunk * BLOCK_L
        x = x_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)  # [q, p]
        B = B_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)  # [q, n]
        C = C_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)
        s = tl.load(s_ptr + start + offs_l)  # [q]
        t = tl.load(t_ptr + start + offs_l)
        total = tl.load(s_ptr + start + BLOCK_L - 1)
        entering, leaving, passing = tl.exp2(s), tl.exp2(total - t), tl.exp2(total)
        keep = offs_l[:, None] >= offs_l[None, :]
        if HAS_DOCUMENT:
            own, before, after = documents_of_chunk(document_ptr, start, length - start, offs_l, BLOCK_L)
            keep = keep & (own[:, None] == own[None, :])
            entering = tl.where(own == before, entering, 0.0)
            leaving = tl.where(own == after, leaving, 0.0)
            passing = tl.where(before == after, passing, 0.0)
        narrow = state.to(x.dtype)
        if SAVE:
            states_ptr.store([pid * chunks + chunk, 0, 0], narrow.reshape(1, BLOCK_N, BLOCK_P))
        y = tl.dot(C, narrow, input_precision="ieee") * entering[:, None]  # [q, p]
        mixing = tl.dot(C, tl.trans(B), input_precision="ieee")  # [q, q]
        # masked before the exponential: above the diagonal it would overflow
        mixing *= tl.exp2(tl.where(keep, s[:, None] - t[None, :], -float("inf")))
        if HAS_D:
            mixing += tl.where(offs_l[:, None] == offs_l[None, :], D, 0.0)
        y = tl.dot(mixing.to(x.dtype), x, y, input_precision="ieee")
        y_ptr.store([batch, head, start, part * BLOCK_P], y.to(y_ptr.dtype).reshape(1, 1, BLOCK_L, BLOCK_P))
        inflow = (x * leaving[:, None]).to(x.dtype)
        state = tl.dot(tl.trans(B), inflow, state * passing, input_precision="ieee")
    if last == chunks:
        at = bh * N * P + part * BLOCK_P * N
        tl.store(state_out_ptr + at + offs_n[:, None] + offs_p[None, :] * N, state, mask=in_n[:, None] & in_p[None, :])


@triton.jit(do_not_specialize=SIZES)
def segment_states_kernel(
    x_ptr,
    B_ptr,
    s_ptr,
    t_ptr,
    document_ptr,
    ends_ptr,
    totals_ptr,
    length,
    chunks,
    chunks_a_segment,
    heads,
    heads_a_group,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_DOCUMENT: tl.constexpr,
):
    """What a segment adds to the state, [n, p] fp32, and the decay of a state that passes it, in powers of two."""
    part, segment = tl.program_id(0), tl.program_id(2)
    bh = tl.program_id(1).to(tl.int64)
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    group, pid = head // heads_a_group, tl.program_id(1) * PARTS + part
    offs_l, offs_n, offs_p = tl.arange(0, BLOCK_L), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_P)
    s_ptr += bh * chunks * BLOCK_L
    t_ptr += bh * chunks * BLOCK_L
    if HAS_DOCUMENT:
        document_ptr += batch.to(tl.int64) * length
    state = tl.zeros([BLOCK_N, BLOCK_P], tl.float32)
    decay = 0.0
    first = segment * chunks_a_segment
    for chunk in range(first, tl.minimum(first + chunks_a_segment, chunks)):
        start = chunk * BLOCK_L
        x = x_ptr.load([batch, head, start, part * BLOCK_P]).reshape(BLOCK_L, BLOCK_P)
        B = B_ptr.load([batch, group, start, 0]).reshape(BLOCK_L, BLOCK_N)
        total = tl.load(s_ptr + start + BLOCK_L - 1)
        leaving, passing = tl.exp2(total - tl.load(t_ptr + start + offs_l)), tl.exp2(total)
        decay += total
        if HAS_DOCUMENT:
            own, before, after = documents_of_chunk(document_ptr, start, length - start, offs_l, BLOCK_L)
            leaving = tl.where(own == after, leaving, 0.0)
            passing = tl.where(before == after, passing, 0.0)
            decay = tl.where(before == after, decay, -float("inf"))
        inflow = (x * leaving[:, None]).to(x.dtype)
        state = tl.dot(tl.trans(B), inflow, state * passing, input_precision="ieee")
    at = pid.to(tl.int64) * tl.num_programs(2) + segment
    tl.store(ends_ptr + at * BLOCK_N * BLOCK_P + offs_n[:, None] * BLOCK_P + offs_p[None, :], state)
    tl.store(totals_ptr + at, decay)


@triton.jit(do_not_specialize=SIZES)
def pass_segments_kernel(
    ends_ptr,
    totals_ptr,
    state_in_ptr,
    count,
    P: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_STATE: tl.constexpr,
):
    """Replaces what each segment adds by the state that enters it, in place; one program has ROWS rows of n."""
    pid = tl.program_id(0).to(tl.int64)
    part, bh = pid % PARTS, pid // PARTS
    offs_n, offs = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_P)
    offs_p = part * BLOCK_P + offs
    state = tl.zeros([ROWS, BLOCK_P], tl.float32)
    if HAS_STATE:
        inside = (offs_n[:, None] < N) & (offs_p[None, :] < P)
        state = tl.load(state_in_ptr + bh * N * P + offs_n[:, None] + offs_p[None, :] * N, mask=inside, other=0.0)
        state = state.to(tl.float32)
    for segment in range(0, count):
        at = pid * count + segment
        place = ends_ptr + at * BLOCK_N * BLOCK_P + offs_n[:, None] * BLOCK_P + offs[None, :]
        added = tl.load(place)
        tl.store(place, state)
        state = state * tl.exp2(tl.load(totals_ptr + at)) + added


def ssd_forward(
    x: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    decays: Decays,
    state_in: Tensor | None,
    document: Tensor | None,
    tile: Tile,
    *,
    save: bool,
    count: int | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """y, the final state, and if `save` the states that enter the chunks, [b h parts chunks, n, p] like x.

    count is the number of segments of a sequence; None: as many as fill the device.
    """
    b, length, h, p = x.shape
    g, n = B.shape[2:]
    q, block_p, block_n = tile.block_l, tile.block_p, tile.block_n
    parts, chunks = ceil_div(p, block_p), ceil_div(length, q)
    rows = b * h * parts
    chunks_a_segment = ceil_div(chunks, segments(rows, chunks) if count is None else count)
    count = ceil_div(chunks, chunks_a_segment)
    y = torch.empty((b, length, h, p), dtype=x.dtype, device=x.device)
    state = torch.empty((b, h, p, n), dtype=torch.float32, device=x.device)
    states = torch.empty((rows * chunks, block_n, block_p), dtype=x.dtype, device=x.device) if save else None
    kept = None if states is None else describe_blocks(states)
    x_, y_ = describe(x, q, block_p), describe(y, q, block_p)
    B_, C_ = describe(B, q, block_n), describe(C, q, block_n)
    blocks = {"P": p, "N": n, "PARTS": parts, "BLOCK_P": block_p, "BLOCK_N": block_n}
    options = {"BLOCK_L": q, "HAS_DOCUMENT": document is not None}
    entering, strides = state_in, (n * p, block_p * n, 0, 1, n)
    if count > 1:
        entering = torch.empty((rows, count, block_n, block_p), dtype=torch.float32, device=x.device)
        totals = torch.empty((rows, count), dtype=torch.float32, device=x.device)
        segment_states_kernel[(parts, b * h, count)](
            x_, B_, decays.s, decays.t, document, entering, totals, length, chunks, chunks_a_segment, h, h // g,
            num_warps=tile.num_warps, num_stages=tile.num_stages, **blocks, **options,
        )  # fmt: skip
        block_rows = min(16, block_n)
        pass_segments_kernel[(rows, block_n // block_rows)](
            entering, totals, state_in, count, ROWS=block_rows, HAS_STATE=state_in is not None, num_warps=4, **blocks
        )
        size = block_n * block_p
        strides = (parts * count * size, count * size, size, block_p, 1)
    ssd_forward_kernel[(parts, b * h, count)](
        x_, B_, C_, D, decays.s, decays.t, document, entering, y_, state, kept,
        length, chunks, chunks_a_segment, h, h // g,
        *strides,
        HAS_D=D is not None, HAS_STATE=entering is not None, SAVE=save,
        num_warps=tile.num_warps, num_stages=tile.num_stages, **blocks, **options,
    )  # fmt: skip
    return y, state, states
