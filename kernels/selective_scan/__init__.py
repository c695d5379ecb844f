"""The selective scan of Mamba: `selective_scan`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.selective_scan.reference import SelectiveScan, choose_chunk, scan_sequential

__all__ = ["scan_sequential", "selective_scan"]


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    state_in: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Mamba's state space:  h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t,   y_t = sum_n C_t h_t + D x_t.

    x, dt     [b, l, e]  fp32 | fp64, dt already positive
    A         [e, n]     A < 0
    B, C      [b, l, n]  shared by all channels e
    D         [e]        or None: no direct path
    state_in  [b, e, n]  or None: zeros
    chunk     time steps done one after the other; chunks run side by side.  None: chosen by size and device
    returns   y [b, l, e] and the final state [b, e, n]

    All tensors have the dtype and device of x; TypeError or ValueError otherwise.  bf16 is refused: the
    recurrence multiplies thousands of decays near one, so states are kept in fp32 whatever the rest of a
    model uses.  Differentiable once in every tensor argument.  Any l >= 1.  Deterministic: no atomics,
    fixed order of sums.  Reads and writes about 7 tensors of b*l*n*e numbers forward and 14 backward;
    keeps 2 of them for the backward pass up to 64 MB each, and recomputes them above.
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"selective_scan: x is {x.dtype}; float32 or float64 is needed")
    b, length, e = x.shape
    n = A.shape[-1]
    if length == 0:
        raise ValueError("selective_scan: length 0")
    wanted = {
        "dt": (dt, (b, length, e)),
        "A": (A, (e, n)),
        "B": (B, (b, length, n)),
        "C": (C, (b, length, n)),
    }
    if D is not None:
        wanted["D"] = (D, (e,))
    if state_in is not None:
        wanted["state_in"] = (state_in, (b, e, n))
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"selective_scan: {name} is {tuple(tensor.shape)}; {shape} is needed")
        if tensor.dtype != x.dtype:
            raise TypeError(f"selective_scan: {name} is {tensor.dtype}, x is {x.dtype}")
    state = x.new_zeros(b, e, n) if state_in is None else state_in
    size = choose_chunk(b, length, n * e, x.device) if chunk is None else min(chunk, length)
    if size < 1:
        raise ValueError(f"selective_scan: chunk {chunk}; 1 or more is needed")
    # dt = 0 at the padded end is the identity (decay 1, inflow 0), so the final state stays right
    pad = -length % size
    padded = [F.pad(t, (0, 0, 0, pad)) if pad else t for t in (x, dt, B, C)]
    x_, dt_, B_, C_ = (t.contiguous() for t in padded)
    y, final = SelectiveScan.apply(x_, dt_, A, B_, C_, state, size)
    if pad:
        y = y[:, :length]
    if D is not None:
        y = torch.addcmul(y, x, D)
    return y, final
