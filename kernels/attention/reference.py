"""Attention in plain PyTorch: the definition, which holds all scores at once."""

from __future__ import annotations

import torch
from torch import Tensor


def visible(
    queries: int, keys: int, causal: bool, window: int | None, device: torch.device, first_key: int = 0
) -> Tensor:
    """[queries, keys - first_key] bool: which keys a query sees; the last query stands at the last key."""
    position = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(first_key, keys, device=device)[None, :]
    seen = torch.ones(queries, keys - first_key, dtype=torch.bool, device=device)
    if causal:
        seen &= key <= position
    if window is not None:
        seen &= key > position - window
    return seen


def attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, window: int | None, mask: Tensor | None, scale: float
) -> Tensor:
    """softmax(scale q k^T + mask) v over the visible keys.  Arguments as the public function's."""
    exact = torch.float64 if q.dtype == torch.float64 else torch.float32
    per_group = q.shape[2] // k.shape[2]
    k, v = (t.to(exact).repeat_interleave(per_group, 2) for t in (k, v))
    scores = scale * torch.einsum("bihp,bjhp->bhij", q.to(exact), k)
    if mask is not None:
        scores = scores + mask
    seen = visible(q.shape[1], k.shape[1], causal, window, q.device)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("bhij,bjhp->bihp", weights, v).to(q.dtype)
