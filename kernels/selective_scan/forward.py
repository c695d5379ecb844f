"""Forward kernel of the selective scan.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t        y_t = (sum_n C_t h_t + D x_t) silu(z_t)

One program owns E channels of one group and one sequence, walks through time in tiles of T steps, and keeps the
states of its channels in registers.  Bytes: reads x, dt, z once and writes y once; B and C once a program; in
training also y before the gate, and the states in front of each tile, 4 n / T bytes a token and channel.
Floating-point instructions a token, channel and state: 4, and one exponential, which the special-function units do
at 16 an SM and clock: that is the floor.
"""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.language import gl, jit
from kernels.selective_scan.tile import LOG2_E, laned, load, row_by_row, row_of, sigmoid, softplus_and_slope, store
from kernels.selective_scan.tiles import Tile, padded


@jit(do_not_specialize=["length", "blocks", "B_row", "C_row", "B_group", "C_group"])
def selective_scan_forward(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, dt_bias_ptr, state_in_ptr,
    y_ptr, ungated_ptr, entering_ptr, state_ptr,
    length, width, group_width, blocks, x_row, dt_row, z_row, B_row, C_row, B_group, C_group,
    N: tl.constexpr, T: tl.constexpr, E: tl.constexpr, LANES: tl.constexpr, S: tl.constexpr, KEPT: tl.constexpr,
    WARPS: tl.constexpr, WHOLE: tl.constexpr, SOFTPLUS: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    LANED: tl.constexpr = laned(LANES, WARPS)
    FLAT: tl.constexpr = row_by_row(T, E, WARPS)
    STATES: tl.constexpr = row_by_row(T, S * LANES, WARPS)
    BY_CHANNEL: tl.constexpr = gl.SliceLayout(2, LANED)
    BY_LANE: tl.constexpr = gl.SliceLayout(1, LANED)
    ROWS: tl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0])
    COLUMNS: tl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0, 1])  # steps are neighbours
    group = gl.program_id(0) // blocks
    first = group * group_width + (gl.program_id(0) % blocks) * E
    sequence = gl.program_id(1).to(gl.int64)
    end = (group + 1) * group_width

    e = first + gl.arange(0, E, gl.SliceLayout(0, BY_CHANNEL))[None, :, None]
    lane = gl.arange(0, LANES, gl.SliceLayout(0, BY_LANE))[None, None, :]
    t = gl.arange(0, T, gl.SliceLayout(1, BY_CHANNEL))[:, None, None]
    A = ()
    h = ()
    for j in tl.static_range(S):
        n = j * LANES + lane
        known = (e < end) & (n < N)
        A += (gl.load(A_ptr + e * N + n, mask=known, other=0.0) * LOG2_E,)
        if state_in_ptr is not None:
            h += (gl.load(state_in_ptr + (sequence * width + e) * N + n, mask=known, other=0.0),)
        else:
            h += (gl.zeros([1, E, LANES], gl.float32, LANED),)

    e_flat = first + gl.arange(0, E, gl.SliceLayout(0, FLAT))[None, :]
    t_flat = gl.arange(0, T, gl.SliceLayout(1, FLAT))[:, None]
    if dt_bias_ptr is not None:
        dt_bias = gl.load(dt_bias_ptr + e_flat, mask=e_flat < end, other=0.0)
    if D_ptr is not None:
        D = gl.load(D_ptr + e_flat, mask=e_flat < end, other=0.0)
    x_tile = t_flat * x_row + e_flat
    dt_tile = t_flat * dt_row + e_flat
    z_tile = t_flat * z_row + e_flat
    y_tile = t_flat * width + e_flat
    t_states = gl.arange(0, T, gl.SliceLayout(1, STATES))[:, None]
    n_states = gl.arange(0, S * LANES, gl.SliceLayout(0, STATES))[None, :]
    B_tile = group * B_group + t_states * B_row + n_states
    C_tile = group * C_group + t_states * C_row + n_states

    dt_shared = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
    inflow_shared = gl.allocate_shared_memory(gl.float32, [T, E], ROWS)
    STORED: tl.constexpr = B_ptr.dtype.element_ty if PACKED else gl.float32
    B_shared = gl.allocate_shared_memory(STORED, [T, S * LANES], COLUMNS)
    C_shared = gl.allocate_shared_memory(STORED, [T, S * LANES], COLUMNS)

    row = sequence * length
    mask = (t_flat < length) & (e_flat < end)
    known_states = (t_states < length) & (n_states < N)
    x_next = load(x_ptr + row * x_row + x_tile, mask, WHOLE)
    dt_next = load(dt_ptr + row * dt_row + dt_tile, mask, WHOLE)
    if z_ptr is not None:
        z_next = load(z_ptr + row * z_row + z_tile, mask, WHOLE)
    B_next = load(B_ptr + row * B_row + B_tile, known_states, WHOLE)
    C_next = load(C_ptr + row * C_row + C_tile, known_states, WHOLE)
    for start in range(0, length, T):
        mask = (start + t_flat < length) & (e_flat < end)
        x = x_next.to(gl.float32)
        dt = dt_next.to(gl.float32)
        if z_ptr is not None:
            z = z_next.to(gl.float32)
        if dt_bias_ptr is not None:
            dt += dt_bias
        if SOFTPLUS:
            dt, _ = softplus_and_slope(dt)
        if not WHOLE:  # dt 0 leaves the states as they are
            dt = gl.where(mask, dt, 0.0)
        dt_shared.store(dt)
        inflow_shared.store(dt * x)
        B_shared.store(B_next.to(STORED))
        C_shared.store(C_next.to(STORED))
        # the tile after this one is on its way while this one is computed; after the last, that one again
        after = gl.minimum(start + T, (length - 1) // T * T)
        row = sequence * length + after
        mask_after = (after + t_flat < length) & (e_flat < end)
        known_states = (after + t_states < length) & (n_states < N)
        x_next = load(x_ptr + row * x_row + x_tile, mask_after, WHOLE)
        dt_next = load(dt_ptr + row * dt_row + dt_tile, mask_after, WHOLE)
        if z_ptr is not None:
            z_next = load(z_ptr + row * z_row + z_tile, mask_after, WHOLE)
        B_next = load(B_ptr + row * B_row + B_tile, known_states, WHOLE)
        C_next = load(C_ptr + row * C_row + C_tile, known_states, WHOLE)

        dt_lanes = dt_shared.load(BY_CHANNEL)[:, :, None]
        inflow_lanes = inflow_shared.load(BY_CHANNEL)[:, :, None]
        y_lanes = gl.zeros([T, E, LANES], gl.float32, LANED)
        h_after = ()
        for j in tl.static_range(S):
            decay = gl.exp2(dt_lanes * A[j])
            states = inflow_lanes * B_shared.slice(j * LANES, LANES, 1).load(BY_LANE).to(gl.float32)[:, None, :]
            state = h[j]
            for r in tl.static_range(T):
                if entering_ptr is not None and r % KEPT == 0:
                    at = (sequence * gl.cdiv(length, KEPT) + (start + r) // KEPT) * (S * LANES) + j * LANES + lane
                    kept = e < end
                    if not WHOLE:
                        kept = kept & (start + r < length)
                    gl.store(entering_ptr + at * width + e, state, mask=kept)
                state = row_of(decay, t == r) * state + row_of(states, t == r)
                states = gl.where(t == r, state, states)
            h_after += (state,)
            y_lanes += states * C_shared.slice(j * LANES, LANES, 1).load(BY_LANE).to(gl.float32)[:, None, :]
        h = h_after
        y = gl.convert_layout(gl.sum(y_lanes, 2), FLAT)
        if D_ptr is not None:
            y += D * x
        row = sequence * length + start
        if ungated_ptr is not None:
            store(ungated_ptr + row * width + y_tile, y, mask, WHOLE)
        if z_ptr is not None:
            y *= z * sigmoid(z)
        store(y_ptr + row * width + y_tile, y, mask, WHOLE)
    for j in tl.static_range(S):
        n = j * LANES + lane
        gl.store(state_ptr + (sequence * width + e) * N + n, h[j], mask=(e < end) & (n < N))


def forward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    state_in: Tensor | None, softplus: bool, kept_steps: int | None, tile: Tile,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """y, the final state, and with `kept_steps` what backward needs: y before the gate if there is one, and the
    states in front of each `kept_steps` steps, a divisor of the tile's.

    x, dt, z [b, l, e], B, C [b, l, g, n] as `rows` gives them; A, D, dt_bias, state_in float32, contiguous.
    """
    batch, length, width = x.shape
    groups, states = B.shape[2:]
    group_width = width // groups
    blocks = triton.cdiv(group_width, tile.channels)
    y = torch.empty(batch, length, width, dtype=x.dtype, device=x.device)
    state = torch.empty(batch, width, states, dtype=torch.float32, device=x.device)
    entering = ungated = None
    if kept_steps is not None:
        kept = triton.cdiv(length, kept_steps)
        entering = torch.empty(batch, kept, padded(states), width, dtype=torch.float32, device=x.device)
        ungated = torch.empty_like(y) if z is not None else None
    selective_scan_forward[(groups * blocks, batch)](
        x, dt, A, B, C, D, z, dt_bias, state_in, y, ungated, entering, state,
        length, width, group_width, blocks, x.stride(1), dt.stride(1), 0 if z is None else z.stride(1),
        B.stride(1), C.stride(1), B.stride(2), C.stride(2),
        N=states, T=tile.steps, E=tile.channels, LANES=tile.lanes, S=tile.states, KEPT=kept_steps or tile.steps,
        WHOLE=whole(tile, length, group_width, states), SOFTPLUS=softplus, PACKED=tile.packed,
        WARPS=tile.warps, num_warps=tile.warps,
    )  # fmt: skip
    return y, state, ungated, entering


def whole(tile: Tile, length: int, group_width: int, states: int) -> bool:
    """No tile reaches over an edge."""
    return length % tile.steps == 0 and group_width % tile.channels == 0 and states == padded(states)
