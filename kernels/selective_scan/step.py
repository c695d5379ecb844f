"""Kernel of one step of decoding: the states are read and written once, which is what the step costs."""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.jit import constexpr_function

from kernels.language import gl, jit
from kernels.selective_scan.tile import LOG2_E, sigmoid, softplus_and_slope
from kernels.selective_scan.tiles import STEP_VALUES, STEP_WARPS, padded


@constexpr_function
def wide_rows(N, WARPS):
    """Of states [E, N]: 16 bytes to a thread."""
    across = min(32, N // 4)
    return gl.BlockedLayout([1, 4], [32 // across, across], [WARPS, 1], [1, 0])


@jit
def selective_scan_step_kernel(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, dt_bias_ptr, state_ptr, y_ptr,
    width, group_width, x_row, dt_row, z_row, B_row, C_row, B_group, C_group,
    N: tl.constexpr, N_PADDED: tl.constexpr, E: tl.constexpr, GROUPED: tl.constexpr,
    SOFTPLUS: tl.constexpr, WARPS: tl.constexpr,
):  # fmt: skip
    """One program: E channels of one sequence."""
    STATES: tl.constexpr = wide_rows(N_PADDED, WARPS)
    sequence = gl.program_id(1).to(gl.int64)
    e = gl.program_id(0) * E + gl.arange(0, E, gl.SliceLayout(1, STATES))
    n = gl.arange(0, N_PADDED, gl.SliceLayout(0, STATES))[None, :]
    channel = e < width
    e_row = e[:, None]
    known = (e_row < width) & (n < N)
    at = (sequence * width + e_row) * N + n
    state = gl.load(state_ptr + at, mask=known, other=0.0)
    A = gl.load(A_ptr + e_row * N + n, mask=known, other=0.0)
    B_at, C_at, used = B_ptr + sequence * B_row + n, C_ptr + sequence * C_row + n, n < N
    if GROUPED:
        group = e_row // group_width
        B_at, C_at, used = B_at + group * B_group, C_at + group * C_group, known
    B = gl.load(B_at, mask=used, other=0.0).to(gl.float32)
    C = gl.load(C_at, mask=used, other=0.0).to(gl.float32)
    x = gl.load(x_ptr + sequence * x_row + e, mask=channel, other=0.0).to(gl.float32)
    dt = gl.load(dt_ptr + sequence * dt_row + e, mask=channel, other=0.0).to(gl.float32)
    if dt_bias_ptr is not None:
        dt += gl.load(dt_bias_ptr + e, mask=channel, other=0.0)
    if SOFTPLUS:
        dt, _ = softplus_and_slope(dt)
    state = gl.exp2(dt[:, None] * (A * LOG2_E)) * state + (dt * x)[:, None] * B
    gl.store(state_ptr + at, state, mask=known)
    y = gl.sum(state * C, 1)
    if D_ptr is not None:
        y += gl.load(D_ptr + e, mask=channel, other=0.0) * x
    if z_ptr is not None:
        z = gl.load(z_ptr + sequence * z_row + e, mask=channel, other=0.0).to(gl.float32)
        y *= z * sigmoid(z)
    gl.store(y_ptr + sequence * width + e, y.to(y_ptr.dtype.element_ty), mask=channel)


def step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, D: Tensor | None, z: Tensor | None,
    dt_bias: Tensor | None, softplus: bool,
) -> Tensor:  # fmt: skip
    """x, dt, z [b, e], B, C [b, g, n], last axes contiguous; state [b, e, n] contiguous, changed in place."""
    batch, width, states = state.shape
    wide = padded(states)
    channels = max(1, STEP_VALUES // wide)
    y = torch.empty(batch, width, dtype=x.dtype, device=x.device)
    selective_scan_step_kernel[(triton.cdiv(width, channels), batch)](
        x, dt, A, B, C, D, z, dt_bias, state, y,
        width, width // B.shape[1], x.stride(0), dt.stride(0), 0 if z is None else z.stride(0),
        B.stride(0), C.stride(0), B.stride(1), C.stride(1),
        N=states, N_PADDED=wide, E=channels, GROUPED=B.shape[1] > 1, SOFTPLUS=softplus, WARPS=STEP_WARPS,
        num_warps=STEP_WARPS,
    )  # fmt: skip
    return y
