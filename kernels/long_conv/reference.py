"""The gated causal long convolution in plain PyTorch: the definition, by Fourier transforms.

    v = gate_in * u        y_t = gate_out_t * (sum_{m <= t} k_m v_{t-m} + D v_t)

Backward, with g = gate_out * dy:  dv_t = sum_m k_m g_{t+m} + D g_t,  dk_m = sum_{b,t} g_t v_{t-m},  dD = dk_0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def transform_length(length: int) -> int:
    """The smallest 2^a, 3 * 2^a or 5 * 2^a that holds a linear convolution of two sequences of `length`."""
    least = max(2, 2 * length - 1)
    power = 1 << (least - 1).bit_length()
    return min(n for n in (power, power // 4 * 3, power // 8 * 5) if n >= least)


def long_conv(
    u: Tensor,
    k: Tensor,
    D: Tensor | None = None,
    gate_in: Tensor | None = None,
    gate_out: Tensor | None = None,
) -> Tensor:
    """u, gates [b, l, d], k [d, l], D [d] -> y [b, l, d] like u; computed in fp32 (fp64 if u is)."""
    length = u.shape[1]
    precision = torch.promote_types(u.dtype, torch.float32)
    v = (u if gate_in is None else u * gate_in).to(precision).mT
    n = transform_length(length)
    y = torch.fft.irfft(torch.fft.rfft(v, n) * torch.fft.rfft(k.to(precision), n), n)[..., :length]
    if D is not None:
        y = y + D.to(precision)[:, None] * v
    y = y.mT
    return (y if gate_out is None else y * gate_out).to(u.dtype)
