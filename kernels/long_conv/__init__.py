"""Gated causal convolution with a kernel as long as the sequence: `long_conv`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.dispatch import runs_triton
from kernels.long_conv import reference
from kernels.long_conv.tiles import uses_products

__all__ = ["long_conv"]

_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


class _LongConv(torch.autograd.Function):
    """The kernels: products of Toeplitz tiles, or passes around transforms."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        k: Tensor,
        D: Tensor | None,
        gate_in: Tensor | None,
        gate_out: Tensor | None,
        products: bool,
    ) -> Tensor:
        from kernels.long_conv import forward, transforms

        way = forward.forward if products else transforms.forward
        y, v, mixed, taps = way(u, k, D, gate_in, gate_out)
        ctx.save_for_backward(u, gate_in, gate_out, v, mixed if gate_out is not None else None, taps)
        ctx.products = products
        ctx.dtypes = k.dtype, None if D is None else D.dtype
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        from kernels.long_conv import backward, transforms

        u, gate_in, gate_out, v, mixed, taps = ctx.saved_tensors
        needs = ctx.needs_input_grad
        k_dtype, direct_dtype = ctx.dtypes
        way = backward.gradients if ctx.products else transforms.gradients
        du, dk, dgate_in, dgate_out = way(
            _unit(upstream[0]), u, gate_in, gate_out, v, mixed, taps, needs[0] or needs[3], needs[1] or needs[2]
        )
        direct = None if direct_dtype is None or dk is None else dk[:, 0].to(direct_dtype)
        return du, None if dk is None else dk.to(k_dtype), direct, dgate_in, dgate_out, None


def _unit(tensor: Tensor) -> Tensor:
    """The same tensor with neighbouring channels side by side in memory."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def long_conv(
    u: Tensor,
    k: Tensor,
    *,
    D: Tensor | None = None,
    gate_in: Tensor | None = None,
    gate_out: Tensor | None = None,
) -> Tensor:
    """Gated causal convolution:  v = gate_in * u,   y_t = gate_out_t * (sum_{m <= t} k_m v_{t-m} + D v_t).

    u         [b, l, d]  bf16 | fp16 | fp32 | fp64; views of a fused projection are taken as they are
    k         [d, l]     fp32 (fp64 if u is): tap m of channel c is k[c, m]
    D         [d]        like k, or None: no direct path
    gate_in   [b, l, d]  like u, or None: ones
    gate_out  [b, l, d]  like u, or None: ones
    returns   y [b, l, d] like u

    Differentiable once in every tensor.  Deterministic.  Any l.  On a GPU, 16-bit inputs of up to 8192 steps run as
    products of Toeplitz tiles, with k + D and v rounded to u's dtype and sums in fp32; fp32 inputs, longer ones, and
    long ones of few sequences run as Fourier transforms in fp32.
    """
    if u.dtype not in _FLOATS:
        raise TypeError(f"long_conv: u is {u.dtype}; bfloat16, float16, float32 or float64 is needed")
    if u.dim() != 3 or u.numel() == 0:
        raise ValueError(f"long_conv: u is {tuple(u.shape)}; [b, l, d] is needed, none of them 0")
    _, length, d = u.shape
    wide = torch.promote_types(u.dtype, torch.float32)
    wanted = {
        "k": (k, (d, length), wide),
        "D": (D, (d,), wide),
        "gate_in": (gate_in, tuple(u.shape), u.dtype),
        "gate_out": (gate_out, tuple(u.shape), u.dtype),
    }
    for name, (tensor, shape, dtype) in wanted.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            raise ValueError(f"long_conv: {name} is {tuple(tensor.shape)}; {shape} is needed")
        if tensor.dtype != dtype:
            raise TypeError(f"long_conv: {name} is {tensor.dtype}; {dtype} is needed")
    if runs_triton("long_conv", u, k, D, gate_in, gate_out):
        gates = [None if gate is None else _unit(gate) for gate in (gate_in, gate_out)]
        y: Tensor = _LongConv.apply(_unit(u), _unit(k), D, *gates, uses_products(u))
        return y
    with torch.autocast(u.device.type, enabled=False):
        return reference.long_conv(u, k, D, gate_in, gate_out)
