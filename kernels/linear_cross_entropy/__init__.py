"""Cross-entropy of an output layer without a tensor of logits: `linear_cross_entropy`."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from kernels.dispatch import runs_triton
from kernels.linear_cross_entropy import reference

__all__ = ["linear_cross_entropy"]

Reduction = Literal["mean", "sum", "none"]

_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


class _LinearCrossEntropy(torch.autograd.Function):
    """The kernels.  For "mean" and "sum" the forward pass leaves gradients that lack one number; "none" needs the
    upstream gradient of every token first, and computes the exponentials once more in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        target: Tensor,
        ignore_index: int,
        reduction: Reduction,
        compute: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        from kernels.linear_cross_entropy import forward

        ctx.reduction, ctx.ignore_index, ctx.compute = reduction, ignore_index, compute
        ctx.dtypes, ctx.width = (x.dtype, weight.dtype), x.shape[1]
        ctx.set_materialize_grads(False)
        if reduction == "none":
            nats = forward.token_nats(x.to(compute), weight.to(compute), target, ignore_index)
            ctx.save_for_backward(x, weight, target)
            loss = nats.clone()
        else:
            need_x, need_weight = ctx.needs_input_grad[:2]
            nats, dx, coefficient, dw = forward.gradients(
                x.to(compute), weight.to(compute), target, ignore_index, None, need_x, need_weight
            )
            count = _count(target, ignore_index) if reduction == "mean" else None
            loss = nats.sum() if count is None else nats.sum() / count
            ctx.save_for_backward(dx, coefficient, dw, count)
        ctx.mark_non_differentiable(nats)
        return loss, nats

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        from kernels.linear_cross_entropy import backward, forward

        grad = upstream[0]
        if grad is None:
            return (None,) * 6
        x_dtype, weight_dtype = ctx.dtypes
        scale: Tensor | None = None
        if ctx.reduction == "none":
            x, weight, target = ctx.saved_tensors
            need_x, need_weight = ctx.needs_input_grad[:2]
            _, dx, coefficient, dw = forward.gradients(
                x.to(ctx.compute), weight.to(ctx.compute), target, ctx.ignore_index, grad.float().contiguous(),
                need_x, need_weight,
            )  # fmt: skip
        else:
            dx, coefficient, dw, count = ctx.saved_tensors
            scale = grad.float() if count is None else grad.float() / count
        if dx is not None:
            dx = backward.scaled(dx, coefficient, scale, ctx.width, x_dtype)
        if dw is not None:
            dw = backward.scaled(dw, None, scale, ctx.width, weight_dtype)
        return dx, dw, None, None, None, None


def _count(target: Tensor, ignore_index: int) -> Tensor:
    return (target != ignore_index).sum().float()


def linear_cross_entropy(
    x: Tensor, weight: Tensor, target: Tensor, *, ignore_index: int = -100, reduction: Reduction = "mean"
) -> tuple[Tensor, Tensor]:
    """Loss of an output layer:  z = x W^T,   nats_i = log sum_v exp(z_iv) - z_i,target(i),   loss = mean of nats.

    x         [.., d]  bf16 | fp16 | fp32 | fp64
    weight    [v, d]   like x, or fp32 (kept in fp32 by the caller: it is rounded to x's dtype for the products)
    target    [..]     int64, in 0 .. v-1 or ignore_index
    reduction          "mean" over the tokens that are not ignored, "sum", or "none"
    returns   loss (fp32; a scalar, or like target for "none") and the nats of each token [..] fp32, detached

    fp64 inputs give fp64.  Ignored tokens have zero nats and no gradient; a target outside the vocabulary gives NaN.
    Under autocast, x and weight are rounded to its dtype.  Differentiable once in x and weight.  Deterministic.  Waits
    for nothing on the device, so it can be captured in a CUDA graph.  On a GPU the logits never exist: products of
    chunks of tokens are kept as exponentials in bf16, at most an eighth of the bytes of fp32 logits together with the
    gradients where t >= 16 d and v >= 16 d.  The weight's gradient is summed in fp32.  "mean" and "sum" compute the
    gradients in the forward pass, 6 t v d operations in all; "none" takes 8 t v d.
    """
    if x.dtype not in _FLOATS:
        raise TypeError(f"linear_cross_entropy: x is {x.dtype}; bfloat16, float16, float32 or float64 is needed")
    if weight.dtype not in (x.dtype, torch.float32):
        raise TypeError(f"linear_cross_entropy: weight is {weight.dtype}; {x.dtype} (as x) or float32 is needed")
    if weight.dim() != 2 or x.dim() < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear_cross_entropy: x is {tuple(x.shape)}, weight {tuple(weight.shape)}; [.., d] and [v, d] are needed"
        )
    if target.shape != x.shape[:-1]:
        raise ValueError(f"linear_cross_entropy: target is {tuple(target.shape)}; {tuple(x.shape[:-1])} is needed")
    if target.dtype != torch.int64:
        raise TypeError(f"linear_cross_entropy: target is {target.dtype}; int64 is needed")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"linear_cross_entropy: reduction {reduction!r}; 'mean', 'sum' or 'none' is needed")
    rows, flat = x.reshape(-1, x.shape[-1]), target.reshape(-1)
    if runs_triton("linear_cross_entropy", x, weight, target) and flat.numel():
        compute = x.dtype
        if torch.is_autocast_enabled(x.device.type):
            compute = torch.get_autocast_dtype(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
                loss, nats = _LinearCrossEntropy.apply(rows, weight, flat, ignore_index, reduction, compute)
                return (loss.view(target.shape) if reduction == "none" else loss), nats.view(target.shape)
            from kernels.linear_cross_entropy import forward

            losses = forward.token_nats(rows.to(compute), weight.to(compute), flat, ignore_index)
    else:
        with torch.autocast(x.device.type, enabled=False):
            losses = reference.token_nats(rows, weight, flat, ignore_index)
    nats = losses.detach().view(target.shape)
    if reduction == "none":
        return losses.view(target.shape), nats
    if reduction == "sum":
        return losses.sum(), nats
    return losses.sum() / (flat != ignore_index).sum(), nats
