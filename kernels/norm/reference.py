"""The norms in plain PyTorch: the definitions, differentiated by autograd."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def exact(dtype: torch.dtype) -> torch.dtype:
    """What statistics and residual streams are held in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def rms_norm(x: Tensor, weight: Tensor, residual: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """y = r / sqrt(mean(r^2) + eps) * weight, and r = residual + x."""
    kind = exact(x.dtype)
    r = x.to(kind) if residual is None else residual.to(kind) + x.to(kind)
    y = r * torch.rsqrt(r.square().mean(-1, keepdim=True) + eps) * weight.to(kind)
    return y.to(x.dtype), r


def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """y = (r - mean(r)) / sqrt(var(r) + eps) * weight + bias, and r = residual + x."""
    kind = exact(x.dtype)
    r = x.to(kind) if residual is None else residual.to(kind) + x.to(kind)
    y = F.layer_norm(r, r.shape[-1:], weight.to(kind), None if bias is None else bias.to(kind), eps)
    return y.to(x.dtype), r


def gated_rms_norm(x: Tensor, z: Tensor, weight: Tensor, group: int, eps: float) -> Tensor:
    """y = v / sqrt(mean(v^2) + eps) * weight, v = x silu(z); the mean runs over each `group` neighbouring channels."""
    kind = exact(x.dtype)
    v = (x.to(kind) * F.silu(z.to(kind))).unflatten(-1, (-1, group))
    y = (v * torch.rsqrt(v.square().mean(-1, keepdim=True) + eps)).flatten(-2)
    return (y * weight.to(kind)).to(x.dtype)
