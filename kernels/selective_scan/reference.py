"""The selective scan in plain PyTorch: the definition, one step after the other, differentiated by autograd.

Gu and Dao, Mamba, arXiv:2312.00752, equations 1-2 with their discretisation: exact for A, Euler for B.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def selective_scan_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, D: Tensor | None = None, z: Tensor | None = None,
    dt_bias: Tensor | None = None, dt_softplus: bool = True, state_in: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Shapes as `selective_scan`; everything in float32, or in float64 if x is."""
    b, length, e = x.shape
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    state = torch.zeros(b, *A.shape, dtype=dtype, device=x.device) if state_in is None else state_in.clone()
    ys = []
    for t in range(length):
        y, state = _step(x[:, t], dt[:, t], A, B[:, t], C[:, t], state, D, None if z is None else z[:, t], dt_bias,
                         dt_softplus)  # fmt: skip
        ys.append(y)
    return torch.stack(ys, 1), state


def selective_scan_step_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, *, D: Tensor | None = None,
    z: Tensor | None = None, dt_bias: Tensor | None = None, dt_softplus: bool = True,
) -> Tensor:  # fmt: skip
    """Shapes as `selective_scan_step`; `state` is changed in place."""
    y, after = _step(x, dt, A, B, C, state, D, z, dt_bias, dt_softplus)
    state.copy_(after)
    return y


def _step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, D: Tensor | None, z: Tensor | None,
    dt_bias: Tensor | None, dt_softplus: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """x, dt, z [b, e]; B, C [b, n] or [b, g, n]; h [b, e, n] -> y [b, e] and the next h."""
    dtype, e = h.dtype, x.shape[1]
    u, step = x.to(dtype), dt.to(dtype)
    if dt_bias is not None:
        step = step + dt_bias
    if dt_softplus:
        step = F.softplus(step)
    if B.dim() == 2:
        B, C = B[:, None], C[:, None]
    groups = B.shape[1]
    B, C = (t.to(dtype).repeat_interleave(e // groups, 1) for t in (B, C))  # [b, e, n]
    h = torch.exp(step[..., None] * A) * h + (step * u)[..., None] * B
    y = (h * C).sum(-1)
    if D is not None:
        y = y + D * u
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(x.dtype), h
