"""Norms with what stands beside them in a block: `rms_norm`, `layer_norm` (add and norm), `gated_rms_norm`."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.dispatch import runs_triton
from kernels.norm import reference
from kernels.norm.tiles import WIDEST, WIDEST_GROUP, backward_tile, forward_tile

__all__ = ["gated_rms_norm", "layer_norm", "rms_norm"]

_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def _check(op: str, x: Tensor, width: int, widest: int, *vectors: tuple[str, Tensor | None]) -> None:
    if x.dtype not in _FLOATS:
        raise TypeError(f"{op}: x is {x.dtype}; bfloat16, float16, float32 or float64 is needed")
    if x.ndim < 1 or 0 in x.shape:
        raise ValueError(f"{op}: x is {tuple(x.shape)}; [.., d] with no empty axis is needed")
    if width > widest:
        raise ValueError(f"{op}: a mean over {width} numbers; at most {widest} is possible")
    for name, vector in vectors:
        if vector is None:
            continue
        if vector.ndim != 1 or vector.shape[0] != x.shape[-1]:
            raise ValueError(f"{op}: {name} is {tuple(vector.shape)}; ({x.shape[-1]},) is needed")
        if vector.dtype not in (x.dtype, torch.float32):
            raise TypeError(f"{op}: {name} is {vector.dtype}; {x.dtype} or float32 is needed")


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """x with equal distances from row to row and a contiguous last axis (x itself where it has), and the distance."""
    width = x.shape[-1]
    if x.is_contiguous():
        return x, width
    if x.stride(-1) == 1 and x.ndim > 1:
        stride = x.stride(-2)
        extent = stride
        for axis in range(x.ndim - 2, -1, -1):
            if x.shape[axis] != 1 and x.stride(axis) != extent:
                break
            extent *= x.shape[axis]
        else:
            return x, stride
    return x.contiguous(), width


def _differentiated(*tensors: Tensor | None) -> bool:
    """A Function costs ten microseconds of Python even where nothing is to be differentiated."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _forward(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float, centred: bool
) -> tuple[Tensor, Tensor, int]:
    """y, r = residual + x, and the distance of r's rows."""
    from kernels.norm.forward import forward

    x, stride_x = _rows(x)
    tile = forward_tile(x.shape[-1])
    if residual is None:
        y, _ = forward(x, None, weight, bias, eps, centred, (stride_x, 0), tile)
        return y, x, stride_x
    residual, stride_residual = _rows(residual)
    y, r = forward(x, residual, weight, bias, eps, centred, (stride_x, stride_residual), tile)
    return y, r, x.shape[-1]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float, centred: bool
    ) -> Any:
        ctx.set_materialize_grads(False)
        y, r, stride_r = _forward(x, residual, weight, bias, eps, centred)
        ctx.save_for_backward(r, weight, bias)
        ctx.static = (eps, centred, residual is not None, x.dtype, stride_r)
        return y if residual is None else (y, r)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dr: Tensor | None = None) -> tuple[Tensor | None, ...]:
        from kernels.norm.backward import backward

        r, weight, bias = ctx.saved_tensors
        eps, centred, with_residual, dtype, stride_r = ctx.static
        if dy is None:
            dy = torch.zeros(r.shape, dtype=dtype, device=r.device)
        dy, stride_dy = _rows(dy)
        stride_dr = 0
        if dr is not None:
            dr, stride_dr = _rows(dr)
        width = r.shape[-1]
        dx, dresidual, dweight, dbias = backward(
            r,
            dy,
            dr,
            weight,
            bias,
            eps,
            centred,
            with_residual,
            (stride_r, stride_dy, stride_dr),
            backward_tile(width, r.numel() // width),
        )
        return dx, dresidual, dweight, dbias, None, None


def _forward_gated(
    x: Tensor, stride_x: int, z: Tensor, stride_z: int, weight: Tensor, group: int, eps: float
) -> Tensor:
    from kernels.norm.forward import forward_gated

    return forward_gated(x, z, weight, group, eps, (stride_x, stride_z), forward_tile(group))


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, weight: Tensor, group: int, eps: float) -> Tensor:
        x, stride_x = _rows(x)
        z, stride_z = _rows(z)
        ctx.save_for_backward(x, z, weight)
        ctx.static = (group, eps, stride_x, stride_z)
        return _forward_gated(x, stride_x, z, stride_z, weight, group, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from kernels.norm.backward import backward_gated

        x, z, weight = ctx.saved_tensors
        group, eps, stride_x, stride_z = ctx.static
        dy, stride_dy = _rows(gradients[0])
        tile = backward_tile(group, x.numel() // x.shape[-1])
        dx, dz, dweight = backward_gated(x, z, dy, weight, group, eps, (stride_x, stride_z, stride_dy), tile)
        return dx, dz, dweight, None, None


def _run(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float, centred: bool
) -> Tensor | tuple[Tensor, Tensor]:
    if _differentiated(x, residual, weight, bias):
        result: Tensor | tuple[Tensor, Tensor] = _Norm.apply(x, residual, weight, bias, eps, centred)
        return result
    y, r, _ = _forward(x, residual, weight, bias, eps, centred)
    return y if residual is None else (y, r)


def _check_residual(op: str, x: Tensor, residual: Tensor | None) -> None:
    if residual is None:
        return
    if residual.shape != x.shape:
        raise ValueError(f"{op}: residual is {tuple(residual.shape)}; {tuple(x.shape)} is needed")
    if residual.dtype != reference.exact(x.dtype):
        raise TypeError(f"{op}: residual is {residual.dtype}; {reference.exact(x.dtype)} is needed")


@overload
def rms_norm(x: Tensor, weight: Tensor, *, residual: None = None, eps: float = 1e-5) -> Tensor: ...
@overload
def rms_norm(x: Tensor, weight: Tensor, *, residual: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]: ...
@overload
def rms_norm(
    x: Tensor, weight: Tensor, *, residual: Tensor | None, eps: float = 1e-5
) -> Tensor | tuple[Tensor, Tensor]: ...
def rms_norm(
    x: Tensor, weight: Tensor, *, residual: Tensor | None = None, eps: float = 1e-5
) -> Tensor | tuple[Tensor, Tensor]:
    """Add and RMSNorm:  r = residual + x,   y = r / sqrt(mean(r^2) + eps) * weight,  the mean over the last axis.

    x         [.., d]  bf16 | fp16 | fp32 | fp64
    weight    [d]      fp32 or like x
    residual  [.., d]  fp32 (fp64 if x is): the residual stream; or None: r = x
    returns   y like x; with a residual y and r, which is fp32 (fp64 if x is)

    Statistics in fp32 (fp64 for fp64).  Differentiable once in every tensor argument.  Deterministic: the weight's
    gradient is summed in a fixed order, the same on every device.  d up to 8,192.
    Bytes in bf16, an element: 4 forward and 6 backward, with a residual 12 and 16.
    """
    _check("rms_norm", x, x.shape[-1] if x.ndim else 0, WIDEST, ("weight", weight))
    _check_residual("rms_norm", x, residual)
    if not runs_triton("rms_norm", x, weight, residual):
        y, r = reference.rms_norm(x, weight, residual, eps)
        return y if residual is None else (y, r)
    return _run(x, residual, weight.contiguous(), None, eps, False)


@overload
def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, residual: None = None, eps: float = 1e-5
) -> Tensor: ...
@overload
def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, residual: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor]: ...
@overload
def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, residual: Tensor | None, eps: float = 1e-5
) -> Tensor | tuple[Tensor, Tensor]: ...
def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, residual: Tensor | None = None, eps: float = 1e-5
) -> Tensor | tuple[Tensor, Tensor]:
    """Add and LayerNorm:  r = residual + x,   y = (r - mean(r)) / sqrt(var(r) + eps) * weight + bias.

    x             [.., d]  bf16 | fp16 | fp32 | fp64
    weight, bias  [d]      fp32 or like x; bias may be None
    residual      [.., d]  fp32 (fp64 if x is): the residual stream; or None: r = x
    returns       y like x; with a residual y and r, which is fp32 (fp64 if x is)

    var divides by d.  Otherwise as `rms_norm`.
    """
    _check("layer_norm", x, x.shape[-1] if x.ndim else 0, WIDEST, ("weight", weight), ("bias", bias))
    _check_residual("layer_norm", x, residual)
    if not runs_triton("layer_norm", x, weight, bias, residual):
        y, r = reference.layer_norm(x, weight, bias, residual, eps)
        return y if residual is None else (y, r)
    bias = None if bias is None else bias.contiguous()
    return _run(x, residual, weight.contiguous(), bias, eps, True)


def gated_rms_norm(x: Tensor, z: Tensor, weight: Tensor, *, group: int | None = None, eps: float = 1e-5) -> Tensor:
    """Gate, then RMSNorm:  v = x silu(z),   y = v / sqrt(mean(v^2) + eps) * weight,  the mean over each group.

    x, z     [.., d]  bf16 | fp16 | fp32 | fp64, of one dtype; each may be a slice of a wider projection
    weight   [d]      fp32 or like x
    group    neighbouring channels that share a mean; divides d.  None: d
    returns  y [.., d] like x

    Statistics and gate in fp32 (fp64 for fp64).  Differentiable once in x, z and weight.  Deterministic, as
    `rms_norm`.  group up to 4,096.  Bytes in bf16, an element: 6 forward, 10 backward.
    """
    width = x.shape[-1] if x.ndim else 0
    group = width if group is None else group
    _check("gated_rms_norm", x, group, WIDEST_GROUP, ("weight", weight))
    if z.shape != x.shape or z.dtype != x.dtype:
        raise ValueError(f"gated_rms_norm: z is {tuple(z.shape)} {z.dtype}; {tuple(x.shape)} {x.dtype} is needed, as x")
    if group < 1 or width % group:
        raise ValueError(f"gated_rms_norm: group {group}; a divisor of {width} is needed")
    if not runs_triton("gated_rms_norm", x, z, weight):
        return reference.gated_rms_norm(x, z, weight, group, eps)
    weight = weight.contiguous()
    if not _differentiated(x, z, weight):
        return _forward_gated(*_rows(x), *_rows(z), weight, group, eps)
    y: Tensor = _GatedNorm.apply(x, z, weight, group, eps)
    return y
