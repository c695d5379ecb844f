"""Backward kernels of the selective scan.

With g_t = dL/dh_t, tile by tile from the end:

    g_t  = C_t dy_t + exp(dt_{t+1} A) g_{t+1}             k_t = exp(dt_t A) h_{t-1}
    dC_t = sum_e dy_t h_t       dB_t = sum_e g_t dt_t x_t     dx_t = dt_t sum_n g_t B_t + D dy_t
    ddt_t = sum_n g_t (B_t x_t + A k_t)                       dA = sum_{b,t} dt_t g_t k_t

One program owns the channels and the sequence of a program of the forward pass; the states inside a tile are computed
again from those in front of it.  Sums over channels (dB, dC) leave a program as float32 partials, [programs a
sequence, b, l, 2 n], which `sum_over_programs` adds in a fixed order; sums over sequences are left to torch.
Bytes a token and channel: the inputs, y before the gate and dL/dout once, three gradients, 4 n / T of states, and
16 n / E of partials.  Floating-point instructions a token, channel and state: about 14 and one exponential.
"""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.language import gl, jit
from kernels.selective_scan.forward import whole
from kernels.selective_scan.tile import (
    LN_2,
    LOG2_E,
    channels_around,
    laned,
    load,
    row_by_row,
    row_of,
    sigmoid,
    softplus_and_slope,
    store,
    summed,
)
from kernels.selective_scan.tiles import Tile, padded


@jit
def over_channels(products, AROUND: tl.constexpr):
    """Sums the channels [T, E, LANES] that one thread holds: [T, E / AROUND, LANES]."""
    T: tl.constexpr = products.shape[0]
    E: tl.constexpr = products.shape[1]
    LANES: tl.constexpr = products.shape[2]
    if AROUND > 1:
        products = gl.sum(gl.reshape(products, [T, AROUND, E // AROUND, LANES]), 1)
    return products


@jit(do_not_specialize=["length", "blocks", "B_row", "C_row", "B_group", "C_group"])
def selective_scan_backward(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, dt_bias_ptr, ungated_ptr, entering_ptr, dout_ptr, dstate_ptr,
    dx_ptr, ddt_ptr, dz_ptr, dBC_ptr, dA_ptr, dD_ptr, ddt_bias_ptr, dstate_in_ptr,
    length, width, group_width, blocks, x_row, dt_row, z_row, dout_row, B_row, C_row, B_group, C_group,
    N: tl.constexpr, T: tl.constexpr, E: tl.constexpr, LANES: tl.constexpr, S: tl.constexpr,
    WARPS: tl.constexpr, WHOLE: tl.constexpr, SOFTPLUS: tl.constexpr, PACKED: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    LANED: tl.constexpr = laned(LANES, WARPS)
    FLAT: tl.constexpr = row_by_row(T, E, WARPS)
    STATES: tl.constexpr = row_by_row(T, S * LANES, WARPS)
    SUMMED: tl.constexpr = summed(T, E, LANES, PAIR, WARPS)
    AROUND: tl.constexpr = channels_around(E, LANES, WARPS)
    BY_CHANNEL: tl.constexpr = gl.SliceLayout(2, LANED)
    BY_LANE: tl.constexpr = gl.SliceLayout(1, LANED)
    ROWS: tl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0])
    COLUMNS: tl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0, 1])  # steps are neighbours
    group = gl.program_id(0) // blocks
    first = group * group_width + (gl.program_id(0) % blocks) * E
    sequence = gl.program_id(1).to(gl.int64)
    end = (group + 1) * group_width
    tiles = gl.cdiv(length, T)

    e = first + gl.arange(0, E, gl.SliceLayout(0, BY_CHANNEL))[None, :, None]
    lane = gl.arange(0, LANES, gl.SliceLayout(0, BY_LANE))[None, None, :]
    t = gl.arange(0, T, gl.SliceLayout(1, BY_CHANNEL))[:, None, None]
    A = ()
    G = ()  # dL/dh in front of the tile above
    dA = ()
    h_next = ()
    for j in tl.static_range(S):
        n = j * LANES + lane
        known = (e < end) & (n < N)
        A += (gl.load(A_ptr + e * N + n, mask=known, other=0.0) * LOG2_E,)
        if dstate_ptr is not None:
            G += (gl.load(dstate_ptr + (sequence * width + e) * N + n, mask=known, other=0.0),)
        else:
            G += (gl.zeros([1, E, LANES], gl.float32, LANED),)
        dA += (gl.zeros([1, E, LANES], gl.float32, LANED),)
        at = (sequence * tiles + tiles - 1) * (S * LANES) + n
        h_next += (gl.load(entering_ptr + at * width + e, mask=(e < end) & (n >= 0), other=0.0),)

    e_flat = first + gl.arange(0, E, gl.SliceLayout(0, FLAT))[None, :]
    t_flat = gl.arange(0, T, gl.SliceLayout(1, FLAT))[:, None]
    if dt_bias_ptr is not None:
        dt_bias = gl.load(dt_bias_ptr + e_flat, mask=e_flat < end, other=0.0)
        ddt_bias = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
        ddt_bias.store(gl.zeros([T, E], gl.float32, FLAT))
    if D_ptr is not None:
        D = gl.load(D_ptr + e_flat, mask=e_flat < end, other=0.0)
        dD = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
        dD.store(gl.zeros([T, E], gl.float32, FLAT))
    x_tile = t_flat * x_row + e_flat
    dt_tile = t_flat * dt_row + e_flat
    z_tile = t_flat * z_row + e_flat
    dout_tile = t_flat * dout_row + e_flat
    y_tile = t_flat * width + e_flat
    t_states = gl.arange(0, T, gl.SliceLayout(1, STATES))[:, None]
    n_states = gl.arange(0, S * LANES, gl.SliceLayout(0, STATES))[None, :]
    B_tile = group * B_group + t_states * B_row + n_states
    C_tile = group * C_group + t_states * C_row + n_states
    SUMS: tl.constexpr = gl.SliceLayout(1, SUMMED)  # [T, LANES, dB or dC of PAIR states]
    t_sums = gl.arange(0, T, gl.SliceLayout(1, gl.SliceLayout(2, SUMS)))[:, None, None]
    lane_sums = gl.arange(0, LANES, gl.SliceLayout(0, gl.SliceLayout(2, SUMS)))[None, :, None]
    place = lane_sums * (2 * PAIR) + gl.arange(0, 2 * PAIR, gl.SliceLayout(0, gl.SliceLayout(1, SUMS)))[None, None, :]
    partials_ptr = dBC_ptr + (gl.program_id(0).to(gl.int64) * gl.num_programs(1) + sequence) * length * (2 * LANES * S)

    dt_shared = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
    inflow_shared = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
    dy_shared = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
    x_shared = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
    slope_shared = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
    STORED: tl.constexpr = B_ptr.dtype.element_ty if PACKED else gl.float32
    B_shared = gl.allocate_shared_memory(STORED, [T, S * LANES], COLUMNS)
    C_shared = gl.allocate_shared_memory(STORED, [T, S * LANES], COLUMNS)

    start = (tiles - 1) * T
    row = sequence * length + start
    mask = (start + t_flat < length) & (e_flat < end)
    known_states = (start + t_states < length) & (n_states < N)
    x_next = load(x_ptr + row * x_row + x_tile, mask, WHOLE)
    raw_next = load(dt_ptr + row * dt_row + dt_tile, mask, WHOLE)
    dy_next = load(dout_ptr + row * dout_row + dout_tile, mask, WHOLE)
    if z_ptr is not None:
        z_next = load(z_ptr + row * z_row + z_tile, mask, WHOLE)
        ungated_next = load(ungated_ptr + row * width + y_tile, mask, WHOLE)
    B_next = load(B_ptr + row * B_row + B_tile, known_states, WHOLE)
    C_next = load(C_ptr + row * C_row + C_tile, known_states, WHOLE)
    for i in range(0, tiles):
        start = (tiles - 1 - i) * T
        row = sequence * length + start
        mask = (start + t_flat < length) & (e_flat < end)
        x = x_next.to(gl.float32)
        raw = raw_next.to(gl.float32)
        dy = dy_next.to(gl.float32)
        if z_ptr is not None:
            z = z_next.to(gl.float32)
            gate = sigmoid(z)
            dz = dy * ungated_next.to(gl.float32) * gate * (1.0 + z * (1.0 - gate))
            store(dz_ptr + row * width + y_tile, dz, mask, WHOLE)
            dy *= z * gate
        if dt_bias_ptr is not None:
            raw += dt_bias
        if SOFTPLUS:
            dt, slope = softplus_and_slope(raw)
            slope_shared.store(slope)
        else:
            dt = raw
        if not WHOLE:  # dt 0 leaves the states as they are
            dt = gl.where(mask, dt, 0.0)
        dt_shared.store(dt)
        inflow_shared.store(dt * x)
        x_shared.store(x)
        dy_shared.store(dy)
        B_shared.store(B_next.to(STORED))
        C_shared.store(C_next.to(STORED))
        entering = h_next
        # the tile before this one is on its way while this one is computed; in front of the first, that one again
        before = gl.maximum(start - T, 0)
        row_before = sequence * length + before
        mask_before = (before + t_flat < length) & (e_flat < end)
        known_states = (before + t_states < length) & (n_states < N)
        x_next = load(x_ptr + row_before * x_row + x_tile, mask_before, WHOLE)
        raw_next = load(dt_ptr + row_before * dt_row + dt_tile, mask_before, WHOLE)
        dy_next = load(dout_ptr + row_before * dout_row + dout_tile, mask_before, WHOLE)
        if z_ptr is not None:
            z_next = load(z_ptr + row_before * z_row + z_tile, mask_before, WHOLE)
            ungated_next = load(ungated_ptr + row_before * width + y_tile, mask_before, WHOLE)
        B_next = load(B_ptr + row_before * B_row + B_tile, known_states, WHOLE)
        C_next = load(C_ptr + row_before * C_row + C_tile, known_states, WHOLE)
        h_next = ()
        for j in tl.static_range(S):
            at = (sequence * tiles + before // T) * (S * LANES) + j * LANES + lane
            h_next += (gl.load(entering_ptr + at * width + e, mask=(e < end) & (lane >= 0), other=0.0),)

        dt_lanes = dt_shared.load(BY_CHANNEL)[:, :, None]
        inflow_lanes = inflow_shared.load(BY_CHANNEL)[:, :, None]
        dy_lanes = dy_shared.load(BY_CHANNEL)[:, :, None]
        # over the states of a lane: what reaches dt x, and the exponent dt A
        dinflow_lanes = gl.zeros([T, E, LANES], gl.float32, LANED)
        dexponent_lanes = gl.zeros([T, E, LANES], gl.float32, LANED)
        G_before = ()
        dA_after = ()
        for first_j in tl.static_range(0, S, PAIR):
            dB = ()
            dC = ()
            for j in tl.static_range(first_j, first_j + PAIR):
                B_lanes = B_shared.slice(j * LANES, LANES, 1).load(BY_LANE).to(gl.float32)[:, None, :]
                decay = gl.exp2(dt_lanes * A[j])
                states = inflow_lanes * B_lanes
                k = states
                h = entering[j]
                for r in tl.static_range(T):
                    through = row_of(decay, t == r) * h
                    h = through + row_of(states, t == r)
                    k = gl.where(t == r, through, k)
                states += k
                dC += (over_channels(states * dy_lanes, AROUND),)
                g = dy_lanes * C_shared.slice(j * LANES, LANES, 1).load(BY_LANE).to(gl.float32)[:, None, :]
                later = G[j]
                for r in tl.static_range(T):
                    g_row = row_of(g, t == T - 1 - r) + later
                    later = row_of(decay, t == T - 1 - r) * g_row
                    g = gl.where(t == T - 1 - r, g_row, g)
                G_before += (later,)
                dB += (over_channels(g * inflow_lanes, AROUND),)
                dinflow_lanes += g * B_lanes
                through_decay = g * k
                dexponent_lanes += through_decay * A[j]
                dA_after += (dA[j] + gl.sum(through_decay * dt_lanes, 0)[None, :, :],)
            # the products change hands, so that one thread adds what many hold
            if PAIR == 1:
                products = gl.join(dB[0], dC[0])
            else:
                products = gl.join(gl.join(dB[0], dB[1]), gl.join(dC[0], dC[1]))
                products = gl.reshape(gl.permute(products, (0, 1, 2, 4, 3)), [T, E // AROUND, LANES, 4])
            sums = gl.sum(gl.convert_layout(products, SUMMED), 1)
            sums_at = (start + t_sums) * (2 * LANES * S) + first_j * (2 * LANES) + place
            if WHOLE:
                gl.store(partials_ptr + sums_at, sums)
            else:
                gl.store(partials_ptr + sums_at, sums, mask=start + t_sums < length)
        G = G_before
        dA = dA_after
        # x, dt, dy and the slope come back from shared memory: the registers were needed in between
        x = x_shared.load(FLAT)
        dinflow = gl.convert_layout(gl.sum(dinflow_lanes, 2), FLAT)
        ddt = gl.convert_layout(gl.sum(dexponent_lanes, 2), FLAT) * LN_2 + dinflow * x  # A carries log2(e)
        if SOFTPLUS:
            ddt *= slope_shared.load(FLAT)
        dx = dinflow * dt_shared.load(FLAT)
        if D_ptr is not None:
            dy = dy_shared.load(FLAT)
            dx += D * dy
            dD.store(dD.load(FLAT) + dy * x)
        store(dx_ptr + row * width + y_tile, dx, mask, WHOLE)
        store(ddt_ptr + row * width + y_tile, ddt, mask, WHOLE)
        if dt_bias_ptr is not None:
            if not WHOLE:
                ddt = gl.where(mask, ddt, 0.0)
            ddt_bias.store(ddt_bias.load(FLAT) + ddt)
    for j in tl.static_range(S):
        n = j * LANES + lane
        known = (e < end) & (n < N)
        gl.store(dA_ptr + (sequence * width + e) * N + n, dA[j], mask=known)
        if dstate_in_ptr is not None:
            gl.store(dstate_in_ptr + (sequence * width + e) * N + n, G[j], mask=known)
    e_sums = first + gl.arange(0, E, gl.SliceLayout(0, FLAT))
    if D_ptr is not None:
        gl.store(dD_ptr + sequence * width + e_sums, gl.sum(dD.load(FLAT), 0), mask=e_sums < end)
    if dt_bias_ptr is not None:
        gl.store(ddt_bias_ptr + sequence * width + e_sums, gl.sum(ddt_bias.load(FLAT), 0), mask=e_sums < end)


@triton.jit
def sum_over_programs(
    partials_ptr, dB_ptr, dC_ptr, rows, blocks,
    N: tl.constexpr, LANES: tl.constexpr, S: tl.constexpr, PAIR: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """dB and dC [rows, g, N] from partials [g, blocks, rows, (PAIR j, lane, dB or dC, j)].  A program: ROWS rows."""
    WIDTH: tl.constexpr = 2 * LANES * S
    group = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    place = tl.arange(0, WIDTH)
    valid = (row < rows)[:, None] & (place >= 0)[None, :]
    at = row[:, None] * WIDTH + place[None, :]
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    for block in range(blocks):
        total += tl.load(partials_ptr + (group * blocks + block) * rows * WIDTH + at, mask=valid, other=0.0)
    j = place // (2 * PAIR * LANES) * PAIR + place % PAIR
    n = j * LANES + place // (2 * PAIR) % LANES
    out = (row[:, None] * tl.num_programs(1) + group) * N + n[None, :]
    known = valid & (n < N)[None, :]
    is_C = (place // PAIR % 2 == 1)[None, :]
    tl.store(dB_ptr + out, total, mask=known & ~is_C)
    tl.store(dC_ptr + out, total, mask=known & is_C)


def backward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    ungated: Tensor | None, entering: Tensor, dout: Tensor, dstate: Tensor | None, needs_state: bool, softplus: bool,
    tile: Tile,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """dx, ddt, dA, dB, dC, dD, dz, d dt_bias, d state_in.  Tensors as in `forward`, which kept `tile.steps`."""
    batch, length, width = x.shape
    groups, states = B.shape[2:]
    group_width = width // groups
    blocks = triton.cdiv(group_width, tile.channels)
    dx = torch.empty(batch, length, width, dtype=x.dtype, device=x.device)
    ddt = torch.empty(batch, length, width, dtype=dt.dtype, device=x.device)
    dz = torch.empty_like(dx) if z is not None else None
    floats = {"dtype": torch.float32, "device": x.device}
    partials = torch.empty(groups * blocks, batch, length, 2 * padded(states), **floats)
    dA = torch.empty(batch, width, states, **floats)
    dD = torch.empty(batch, width, **floats) if D is not None else None
    ddt_bias = torch.empty(batch, width, **floats) if dt_bias is not None else None
    dstate_in = torch.empty(batch, width, states, **floats) if needs_state else None
    selective_scan_backward[(groups * blocks, batch)](
        x, dt, A, B, C, D, z, dt_bias, ungated, entering, dout, dstate,
        dx, ddt, dz, partials, dA, dD, ddt_bias, dstate_in,
        length, width, group_width, blocks, x.stride(1), dt.stride(1), 0 if z is None else z.stride(1),
        dout.stride(1), B.stride(1), C.stride(1), B.stride(2), C.stride(2),
        N=states, T=tile.steps, E=tile.channels, LANES=tile.lanes, S=tile.states,
        WHOLE=whole(tile, length, group_width, states), SOFTPLUS=softplus,
        PACKED=tile.packed, PAIR=tile.pair, WARPS=tile.warps, num_warps=tile.warps,
    )  # fmt: skip
    dB = torch.empty(batch, length, groups, states, dtype=B.dtype, device=x.device)
    dC = torch.empty_like(dB)
    rows = max(1, 512 // padded(states))
    sum_over_programs[(triton.cdiv(batch * length, rows), groups)](
        partials, dB, dC, batch * length, blocks,
        N=states, LANES=tile.lanes, S=tile.states, PAIR=tile.pair, ROWS=rows, num_warps=4,
    )  # fmt: skip
    return (
        dx, ddt, dA.sum(0), dB, dC, None if dD is None else dD.sum(0), dz,
        None if ddt_bias is None else ddt_bias.sum(0), dstate_in,
    )  # fmt: skip
