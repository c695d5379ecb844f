"""The causal depthwise convolution in plain PyTorch: the definition, differentiated by autograd."""

from __future__ import annotations

import torch
from torch import Tensor


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    state_in: Tensor | None,
    seq_idx: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y_t = act(bias + sum_j weight_j x_{t-w+1+j}) and the last w-1 inputs.  Arguments as the public function's."""
    b, length, channels = x.shape
    w = weight.shape[1]
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    before = x.new_zeros(b, w - 1, channels) if state_in is None else state_in.to(x.dtype)
    padded = torch.cat([before, x], 1)  # [b, w - 1 + l, c]: position t of x is at t + w - 1
    same = None
    if seq_idx is not None:  # what stands before the first token belongs to its sequence
        ids = torch.cat([seq_idx[:, :1].expand(b, w - 1), seq_idx], 1)
        same = [(ids[:, j : j + length] == seq_idx)[..., None] for j in range(w)]
    total = torch.zeros(b, length, channels, dtype=exact, device=x.device)
    for j in range(w):
        term = padded[:, j : j + length].to(exact) * weight[:, j].to(exact)
        total = total + (term if same is None else torch.where(same[j], term, torch.zeros_like(term)))
    if bias is not None:
        total = total + bias.to(exact)
    if activation == "silu":
        total = total * torch.sigmoid(total)
    state = padded[:, length:]
    if seq_idx is not None:
        state = torch.where((ids[:, length:] == seq_idx[:, -1:])[..., None], state, torch.zeros_like(state))
    return total.to(x.dtype), state.clone()


def causal_conv1d_step(x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    """One token: y = act(bias + sum_j weight_j window_j), window = state and then x; state becomes window[1:]."""
    y, new = causal_conv1d(x[:, None], weight, bias, activation, state, None)
    with torch.no_grad():
        state.copy_(new)
    return y[:, 0]
