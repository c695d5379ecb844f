"""The causal long convolution by Fourier transforms in fp32, for lengths and dtypes that products do not serve.

Sequences go to [d, b, n] and back by the kernels of the products, which multiply with the gates, convert and pad with
zeros up to the transforms' length n on the way; transforms and products of spectra are PyTorch's.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from kernels.long_conv.backward import enter, leave
from kernels.long_conv.forward import _strides, from_blocks, to_blocks
from kernels.long_conv.reference import transform_length


class Padded:
    """Sizes of one call, and the launches of the passes: a sequence is n / q blocks of q steps."""

    def __init__(self, u: Tensor) -> None:
        self.b, self.l, self.d = u.shape
        self.n = transform_length(self.l)
        self.q = min(128, self.n & -self.n)
        block_c = 32  # fp32 blocks fill twice the registers
        self.whole = (self.n // self.q, self.b, triton.cdiv(self.d, block_c))
        self.filled = (triton.cdiv(self.l, self.q), self.b, triton.cdiv(self.d, block_c))
        # every sequence is a group of its own
        self.sizes = (self.l, self.d, self.n // self.q, self.b, 1)
        self.constants = {"Q": self.q, "BLOCK_C": block_c, "num_warps": 4}

    def empty(self, like: Tensor) -> Tensor:
        return like.new_empty(self.d, self.b, self.n, dtype=torch.float32)

    def gather(self, a: Tensor, gate: Tensor | None) -> Tensor:
        """a (times gate) as [d, b, n], zero from l on."""
        out = self.empty(a)
        strides = (a.stride(0), a.stride(1), *_strides(gate))
        to_blocks[self.whole](a, gate, out, *self.sizes, *strides, REVERSED=False, **self.constants)
        return out


def forward(
    u: Tensor, k: Tensor, direct: Tensor | None, gate_in: Tensor | None, gate_out: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y [b, l, d]; and for the backward pass v's spectrum, the convolution [d, b, n] and the taps' spectrum."""
    sizes = Padded(u)
    if direct is not None:
        k = k.clone()
        k[:, 0] += direct
    taps = torch.fft.rfft(k, sizes.n)
    v = torch.fft.rfft(sizes.gather(u, gate_in))
    mixed = torch.fft.irfft(v * taps[:, None], sizes.n)
    y = u.new_empty(u.shape)
    from_blocks[sizes.filled](mixed, gate_out, y, *sizes.sizes, *_strides(gate_out), **sizes.constants)
    return y, v, mixed, taps


def gradients(
    dy: Tensor,
    u: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    v: Tensor,
    mixed: Tensor,
    taps: Tensor,
    need_u: bool,
    need_k: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """du, dk [d, l] fp32, dgate_in, dgate_out, as `backward.gradients`."""
    sizes = Padded(u)
    dgate_out = dgate_in = du = dk = None
    if gate_out is None:
        g = sizes.gather(dy, None)
    else:
        g, dgate_out = sizes.empty(u), dy.new_empty(dy.shape)
        strides = (dy.stride(0), dy.stride(1), *_strides(gate_out))
        enter[sizes.whole](dy, gate_out, mixed, g, dgate_out, *sizes.sizes, *strides, **sizes.constants)
    spectrum = torch.fft.rfft(g)
    if need_k:
        dk = torch.fft.irfft((spectrum * v.conj()).sum(1), sizes.n)[:, : sizes.l].contiguous()
    if need_u:
        dv = torch.fft.irfft(spectrum.mul_(taps.conj()[:, None]), sizes.n)
        du = u.new_empty(u.shape)
        dgate_in = None if gate_in is None else u.new_empty(u.shape)
        strides = (u.stride(0), u.stride(1), *_strides(gate_in))
        leave[sizes.filled](dv, u, gate_in, du, dgate_in, *sizes.sizes, *strides, REVERSED=False, **sizes.constants)
    return du, dk, dgate_in, dgate_out
