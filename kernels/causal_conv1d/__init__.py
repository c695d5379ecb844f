"""The short causal convolution in front of a state space: `causal_conv1d`, `causal_conv1d_step`."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.causal_conv1d import reference, shifted
from kernels.dispatch import runs_triton

__all__ = ["causal_conv1d", "causal_conv1d_step"]

_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_WIDTHS = (2, 3, 4)
_LONGEST = 1 << 20  # of the kernels: a grid has at most 65,535 tiles along time


def _check(
    op: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    state: tuple[str, Tensor, tuple[int, ...]] | None,
) -> None:
    channels = x.shape[-1]
    if x.dtype not in _FLOATS:
        raise TypeError(f"{op}: x is {x.dtype}; bfloat16, float16, float32 or float64 is needed")
    if weight.ndim != 2 or weight.shape[0] != channels or weight.shape[1] not in _WIDTHS:
        raise ValueError(f"{op}: weight is {tuple(weight.shape)}; ({channels}, w) with w in {_WIDTHS} is needed")
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"{op}: bias is {tuple(bias.shape)}; ({channels},) is needed")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype not in (x.dtype, torch.float32):
            raise TypeError(f"{op}: {name} is {tensor.dtype}; {x.dtype} or float32 is needed")
    if activation not in ("silu", None):
        raise ValueError(f"{op}: activation {activation!r}; 'silu' or None is needed")
    if state is not None:
        name, tensor, shape = state
        if tensor.shape != shape:
            raise ValueError(f"{op}: {name} is {tuple(tensor.shape)}; {shape} is needed")
        if tensor.dtype != x.dtype:
            raise TypeError(f"{op}: {name} is {tensor.dtype}, x is {x.dtype}")


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, state_in: Tensor | None, ids: Tensor | None
) -> tuple[Tensor, Tensor]:
    from kernels.causal_conv1d.forward import forward
    from kernels.causal_conv1d.tiles import forward_tile

    return forward(x, weight, bias, silu, state_in, ids, forward_tile(x.element_size(), x.shape[1]))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        silu: bool,
        state_in: Tensor | None,
        ids: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, state_in, ids)
        ctx.silu = silu
        return _forward(x, weight, bias, silu, state_in, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        from kernels.causal_conv1d.backward import backward
        from kernels.causal_conv1d.tiles import backward_tile

        dy, dstate = gradients
        x, weight, bias, state_in, ids = ctx.saved_tensors
        if dy is None:
            dy = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
        elif dy.stride(2) != 1:
            dy = dy.contiguous()
        wanted = ctx.needs_input_grad[4]
        tile = backward_tile(x.element_size(), x.shape[1])
        dx, dweight, dbias, dstate_in = backward(x, weight, bias, ctx.silu, state_in, ids, dy, wanted, tile)
        if dstate is not None:
            _add_state_gradient(dx, dstate_in, dstate, ids)
        return dx, dweight, dbias, None, dstate_in, None


def _add_state_gradient(dx: Tensor, dstate_in: Tensor | None, dstate: Tensor, ids: Tensor | None) -> None:
    """The state is the last w - 1 rows of [state_in, x], or zeros where these are of another sequence."""
    length, kept = dx.shape[1], dstate.shape[1]
    if ids is not None:
        rows = torch.arange(length - kept, length, device=ids.device).clamp_min(0)
        dstate = dstate * (ids[:, rows] == ids[:, -1:])[..., None]
    from_x = min(length, kept)
    dx[:, length - from_x :] += dstate[:, kept - from_x :]
    if dstate_in is not None and from_x < kept:
        dstate_in[:, length:] += dstate[:, : kept - from_x]


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = "silu",
    state_in: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Causal convolution of each channel with its own taps:  y_t = act(bias + sum_j weight_j x_{t-w+1+j}).

    x         [b, l, c]      bf16 | fp16 | fp32 | fp64; may be a slice of a wider projection
    weight    [c, w]         fp32 or like x, w is 2, 3 or 4; weight[:, w-1] multiplies the current step
    bias      [c]            fp32 or like x, or None
    state_in  [b, w-1, c]    like x: the inputs before the first step, oldest first; None: zeros
    seq_idx   [b, l]         int32 | int64 or None: a tap reaches no token of another number.  What stands before
                             the first token belongs to its sequence
    returns   y [b, l, c] like x, and the state [b, w-1, c]: the last w-1 inputs, zeros where they are of another
              sequence than the last token

    Sums and the activation in fp32 (fp64 for fp64).  Differentiable once in x, weight, bias and state_in.
    Deterministic: sums over time and batch in a fixed order.  Any c >= 1; on a GPU l up to 2**20 and b up to
    65,535.  Forward moves 2 tensors of b l c numbers, backward 3.
    """
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"causal_conv1d: x is {tuple(x.shape)}; [b, l, c] with no empty axis is needed")
    b, length, channels = x.shape
    kept = weight.shape[-1] - 1
    state = None if state_in is None else ("state_in", state_in, (b, kept, channels))
    _check("causal_conv1d", x, weight, bias, activation, state)
    if seq_idx is not None:
        if seq_idx.shape != (b, length):
            raise ValueError(f"causal_conv1d: seq_idx is {tuple(seq_idx.shape)}; {(b, length)} is needed")
        if seq_idx.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"causal_conv1d: seq_idx is {seq_idx.dtype}; int32 or int64 is needed")
    if not runs_triton("causal_conv1d", x, weight, bias, state_in, seq_idx):
        if seq_idx is None:
            return shifted.causal_conv1d(x, weight, bias, activation, state_in)
        return reference.causal_conv1d(x, weight, bias, activation, state_in, seq_idx)
    if b > 65_535 or length > _LONGEST:
        raise ValueError(f"causal_conv1d: x is {tuple(x.shape)}; at most 65535 sequences of {_LONGEST} are possible")
    if x.stride(2) != 1:
        x = x.contiguous()
    weight = weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    state_in = None if state_in is None else state_in.contiguous()
    seq_idx = None if seq_idx is None else seq_idx.contiguous()
    # A Function costs ten microseconds of Python even where nothing is to be differentiated.
    differentiated = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias, state_in)
    )
    run = _Convolution.apply if differentiated else _forward
    y, last = run(x, weight, bias, activation == "silu", state_in, seq_idx)
    return y, last


def causal_conv1d_step(
    x: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = "silu",
) -> Tensor:
    """One step of `causal_conv1d`:  y = act(bias + sum_j weight_j window_j),  window = state and then x.

    x       [b, c]       bf16 | fp16 | fp32 | fp64
    state   [b, w-1, c]  like x, contiguous; overwritten by window[1:]
    weight  [c, w]       fp32 or like x, w is 2, 3 or 4
    bias    [c]          fp32 or like x, or None
    returns y [b, c] like x

    Not differentiable.  Deterministic.  b up to 65,535.
    """
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"causal_conv1d_step: x is {tuple(x.shape)}; [b, c] with no empty axis is needed")
    b, channels = x.shape
    shape = (b, weight.shape[-1] - 1, channels)
    _check("causal_conv1d_step", x, weight, bias, activation, ("state", state, shape))
    if not state.is_contiguous():
        raise ValueError(f"causal_conv1d_step: state has strides {state.stride()}; contiguous is needed")
    with torch.no_grad():
        if not runs_triton("causal_conv1d_step", x, state, weight, bias):
            return reference.causal_conv1d_step(x, state, weight, bias, activation)
        from kernels.causal_conv1d.forward import step

        if b > 65_535:
            raise ValueError(f"causal_conv1d_step: batch {b}; at most 65535 is possible")
        if x.stride(1) != 1:
            x = x.contiguous()
        return step(x, state, weight.contiguous(), None if bias is None else bias.contiguous(), activation == "silu")
