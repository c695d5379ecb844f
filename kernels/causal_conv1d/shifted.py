"""The causal convolution as shifted sums in place: what runs on a CPU, for one sequence a row.

The same sums as the definition, in a quarter of the passes over memory that autograd makes of it.  PyTorch's own
depthwise convolution wants the length last and is slower on a CPU, transpositions not counted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _ShiftedSums(torch.autograd.Function):
    """bias + sum_j taps_j padded_{t+j},  padded = [state_in or zeros, x].  All of one dtype; taps [w, c]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor | None, state_in: Tensor | None) -> Tensor:
        w, length = taps.shape[0], x.shape[1]
        padded = F.pad(x, (0, 0, w - 1, 0)) if state_in is None else torch.cat([state_in, x], 1)
        first = padded[:, :length]
        y = first * taps[0] if bias is None else torch.addcmul(bias, first, taps[0])
        for j in range(1, w):
            y.addcmul_(padded[:, j : j + length], taps[j])
        ctx.save_for_backward(padded, taps)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        padded, taps = ctx.saved_tensors
        w, length = taps.shape[0], dy.shape[1]
        dx = dy * taps[w - 1]
        for j in range(max(0, w - length), w - 1):
            shift = w - 1 - j
            dx[:, : length - shift].addcmul_(dy[:, shift:], taps[j])
        dtaps = torch.stack([(dy * padded[:, j : j + length]).sum((0, 1)) for j in range(w)])
        dstate_in = None
        if ctx.needs_input_grad[3]:
            dstate_in = torch.zeros_like(padded[:, : w - 1])
            for j in range(w - 1):
                rows = min(w - 1 - j, length)
                dstate_in[:, j : j + rows].addcmul_(dy[:, :rows], taps[j])
        return dx, dtaps, dy.sum((0, 1)) if ctx.needs_input_grad[2] else None, dstate_in


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, state_in: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As the definition in reference.py, without seq_idx."""
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    kept, length = weight.shape[1] - 1, x.shape[1]
    taps = weight.to(exact).t().contiguous()
    y = _ShiftedSums.apply(
        x.to(exact), taps, None if bias is None else bias.to(exact), None if state_in is None else state_in.to(exact)
    )
    if activation == "silu":
        y = F.silu(y)
    if length >= kept:
        state = x[:, length - kept :].clone()
    else:
        before = x.new_zeros(x.shape[0], kept, x.shape[2]) if state_in is None else state_in
        state = torch.cat([before[:, length:], x], 1)
    return y.to(x.dtype), state
