"""The gated long convolution beside cuFFT in fp32 and fp16, which are given their own layout, channels first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bench.gpu import Row, Work, forward, forward_backward, relative_error
from kernels.long_conv import long_conv

SHAPES = [
    (16, 2048, 512),
    (32, 1024, 256),
    (8, 4096, 1024),
    (8, 8192, 512),
    (8, 16384, 512),
    (8, 65536, 256),
]


def inputs(b: int, length: int, d: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u [b, l, d], k [d, l], gate_in, gate_out [b, l, d]; a window over the taps as Hyena's filters have."""
    u, gate_in, gate_out = (torch.randn(b, length, d, device="cuda").bfloat16() for _ in range(3))
    window = torch.exp(-4.0 * torch.linspace(0, 1, length, device="cuda"))
    return u, torch.randn(d, length, device="cuda") * length**-0.5 * window, gate_in, gate_out


def ours(u: Tensor, k: Tensor, gate_in: Tensor, gate_out: Tensor) -> Tensor:
    return long_conv(u, k, gate_in=gate_in, gate_out=gate_out)


def transforms(dtype: torch.dtype) -> Callable[..., Tensor]:
    def run(u: Tensor, k: Tensor, gate_in: Tensor, gate_out: Tensor) -> Tensor:
        n = 2 * u.shape[-1]
        spectrum = torch.fft.rfft((u * gate_in).to(dtype), n) * torch.fft.rfft(k.to(dtype), n)
        return torch.fft.irfft(spectrum, n)[..., : u.shape[-1]].to(u.dtype) * gate_out

    return run


def check(length: int, backward: bool) -> Callable[[], float]:
    """Against float32 transforms on a narrow case of the same length (up to 8,192)."""

    def measure() -> float:
        torch.manual_seed(0)
        given = inputs(3, min(length, 8192) - 7, 40)
        leaves = [t.detach().requires_grad_(backward) for t in given]
        wide = [t.detach().float().requires_grad_() for t in given]
        got = ours(*leaves)
        want = transforms(torch.float32)(wide[0].mT, wide[1], wide[2].mT, wide[3].mT).mT
        got_all, want_all = [got.detach()], [want.detach()]
        if backward:
            upstream = torch.randn_like(got)
            got_all += torch.autograd.grad(got, leaves, upstream)
            want_all += torch.autograd.grad(want, wide, upstream.float())
        return relative_error(got_all, want_all)

    return measure


def rows(quick: bool) -> Iterator[Row]:
    for b, length, d in SHAPES[:4] if quick else SHAPES:
        given = inputs(b, length, d)
        first: tuple[Tensor, ...] = tuple(t.mT.contiguous() if t.dim() == 3 else t for t in given)
        kinds = {"cuFFT fp32": torch.float32}
        if length & (length - 1) == 0 and length <= 16384:
            kinds["cuFFT fp16"] = torch.float16
        moved = 8.0 * b * d * length + 4 * d * length
        work = 30.0 * b * d * length * math.log2(2 * length)
        for pass_, make, times in (("fwd", forward, 1), ("fwd+bwd", forward_backward, 3)):
            maker: Callable[..., Work] = make
            peers: dict[str, Any] = {name: maker(transforms(dtype), first) for name, dtype in kinds.items()}
            yield Row(
                op="long_conv",
                shape=f"b{b} l{length} d{d}",
                pass_=pass_,
                ours=maker(ours, given),
                peers=peers,
                check=check(length, pass_ != "fwd"),
                limit=5e-3 if pass_ == "fwd" else 1e-2,
                bytes=times * moved,
                flops=times * work,
            )
