"""The selective scan of Mamba: `selective_scan`, and one step of decoding: `selective_scan_step`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import dispatch
from kernels.selective_scan.chunked import selective_scan_chunked
from kernels.selective_scan.reference import selective_scan_reference, selective_scan_step_reference
from kernels.selective_scan.tiles import chosen, padded

__all__ = ["selective_scan", "selective_scan_reference", "selective_scan_step", "selective_scan_step_reference"]

_MOST_STATES = 256


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = True,
    state_in: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mamba's state space:  h_t = exp(s_t A) h_{t-1} + s_t x_t B_t,   y_t = (sum_n C_t h_t + D x_t) silu(z_t),
    with s_t = softplus(dt_t + dt_bias), or dt_t + dt_bias without `dt_softplus`.

    x          [b, l, e]                bf16 | fp16 | fp32 | fp64
    dt         [b, l, e]                like x, or fp32
    A          [e, n]                   fp32, A < 0, n <= 256
    B, C       [b, l, n] or [b, l, g, n] like x, or fp32; e // g channels in a row share a group
    D, dt_bias [e]                      fp32, or None: 0
    z          [b, l, e]                like x, or None: no gate
    state_in   [b, e, n]                fp32, or None: zeros
    returns    y like x, and the final state [b, e, n] fp32

    With x in fp64 every tensor is fp64.  TypeError or ValueError names a tensor that does not fit.  Differentiable
    once in every tensor argument.  Any l >= 1; strided views of a fused projection are read where they lie.
    Deterministic: no atomics, fixed order of sums.  States, decays and sums are fp32 whatever x is.
    On a GPU the states in front of every 16th to 4th step are kept for the backward pass in fp32, n / 4 to n bytes
    a token and channel, and y before the gate; elsewhere `selective_scan_chunked` runs, whose memory its docstring
    states.
    """
    b, length, e = _shape("selective_scan", "x", x, 3)
    if length == 0:
        raise ValueError("selective_scan: x has length 0; 1 or more is needed")
    wanted: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "dt": (dt, (b, length, e)),
        "B": (B, (b, length)),
        "C": (C, tuple(B.shape)),
        "z": (z, (b, length, e)),
        "state_in": (state_in, (b, e, A.shape[-1])),
    }
    _check("selective_scan", x, A, wanted, D, dt_bias, B)
    if dispatch.runs_triton("selective_scan", x, dt, A, B, C, D, z, dt_bias, state_in):
        if B.dim() == 3:
            B, C = B[:, :, None], C[:, :, None]
        tensors = (x, dt, A, B, C, D, z, dt_bias, state_in)
        keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
        result: tuple[Tensor, Tensor] = _TritonScan.apply(*tensors, dt_softplus, keep)
        return result
    return selective_scan_chunked(x, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus, state_in=state_in)


def selective_scan_step(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    state: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = True,
) -> Tensor:
    """One step of `selective_scan`:  state = exp(s A) state + s x B in place,   y = (sum_n C state + D x) silu(z).

    x, dt, z   [b, e]                as in `selective_scan`
    A          [e, n]                fp32
    B, C       [b, n] or [b, g, n]   like x, or fp32
    D, dt_bias [e]                   fp32, or None: 0
    state      [b, e, n]             fp32, contiguous; changed in place
    returns    y [b, e] like x

    Not differentiable.  Reads and writes the state once; no allocation but y, no host sync: it may be captured.
    """
    b, e = _shape("selective_scan_step", "x", x, 2)
    wanted: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "dt": (dt, (b, e)),
        "B": (B, (b,)),
        "C": (C, tuple(B.shape)),
        "z": (z, (b, e)),
        "state": (state, (b, e, A.shape[-1])),
    }
    _check("selective_scan_step", x, A, wanted, D, dt_bias, B)
    if not state.is_contiguous():
        raise ValueError(f"selective_scan_step: state has strides {state.stride()}; a contiguous one is needed")
    with torch.no_grad():
        if dispatch.runs_triton("selective_scan_step", x, dt, A, B, C, D, z, dt_bias, state):
            from kernels.selective_scan.step import step

            if B.dim() == 2:
                B, C = B[:, None], C[:, None]
            x, dt, B, C = (t if t.stride(-1) == 1 else t.contiguous() for t in (x, dt, B, C))
            z = z if z is None or z.stride(-1) == 1 else z.contiguous()
            A = A.contiguous()
            D, dt_bias = (t if t is None else t.contiguous() for t in (D, dt_bias))
            return step(x, dt, A, B, C, state, D, z, dt_bias, dt_softplus)
        return selective_scan_step_reference(x, dt, A, B, C, state, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus)


class _TritonScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
        dt_bias: Tensor | None, state_in: Tensor | None, softplus: bool, keep: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        from kernels.selective_scan.forward import forward
        from kernels.selective_scan.tile import rows

        tile, backward_tile = chosen(padded(A.shape[1]), x.itemsize == 2, x.shape[0] * x.shape[2])
        x, dt, B, C = rows(x), rows(dt), rows(B), rows(C)
        z = z if z is None else rows(z)
        A = A.contiguous()
        D, dt_bias, state_in = (t if t is None else t.contiguous() for t in (D, dt_bias, state_in))
        kept = backward_tile.steps if keep else None
        y, state, ungated, entering = forward(x, dt, A, B, C, D, z, dt_bias, state_in, softplus, kept, tile)
        if keep:
            ctx.save_for_backward(x, dt, A, B, C, D, z, dt_bias, ungated, entering)
            ctx.softplus, ctx.tile = softplus, backward_tile
            ctx.needs_state = state_in is not None and ctx.needs_input_grad[8]
        ctx.set_materialize_grads(False)
        return y, state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: Tensor | None, dstate: Tensor | None) -> tuple[Tensor | None, ...]:
        from kernels.selective_scan.backward import backward
        from kernels.selective_scan.tile import rows

        x, dt, A, B, C, D, z, dt_bias, ungated, entering = ctx.saved_tensors
        dout = torch.zeros_like(x) if dout is None else rows(dout)
        dstate = dstate if dstate is None else dstate.contiguous()
        gradients = backward(
            x, dt, A, B, C, D, z, dt_bias, ungated, entering, dout, dstate, ctx.needs_state, ctx.softplus, ctx.tile
        )
        dx, ddt, dA, dB, dC, dD, dz, ddt_bias, dstate_in = gradients
        return dx, ddt, dA, dB, dC, dD, dz, ddt_bias, dstate_in, None, None


def _shape(op: str, name: str, tensor: Tensor, dims: int) -> tuple[int, ...]:
    if tensor.dim() != dims:
        raise ValueError(f"{op}: {name} is {tuple(tensor.shape)}; {dims} axes are needed")
    return tuple(tensor.shape)


def _check(
    op: str, x: Tensor, A: Tensor, wanted: dict[str, tuple[Tensor | None, tuple[int, ...]]], D: Tensor | None,
    dt_bias: Tensor | None, B: Tensor,
) -> None:  # fmt: skip
    """Shapes and dtypes.  The first of x's axes are those of B; a wanted shape that is shorter speaks of those."""
    e = x.shape[-1]
    if x.dtype not in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        raise TypeError(f"{op}: x is {x.dtype}; bfloat16, float16, float32 or float64 is needed")
    if A.dim() != 2 or A.shape[0] != e or not 1 <= A.shape[1] <= _MOST_STATES:
        raise ValueError(f"{op}: A is {tuple(A.shape)}; ({e}, n) with 1 <= n <= {_MOST_STATES} is needed")
    n = A.shape[1]
    lead = tuple(x.shape[:-1])
    if B.dim() not in (len(lead) + 1, len(lead) + 2) or tuple(B.shape[: len(lead)]) != lead or B.shape[-1] != n:
        raise ValueError(f"{op}: B is {tuple(B.shape)}; {(*lead, n)} or {(*lead, 'g', n)} is needed")
    if B.dim() == len(lead) + 2 and (B.shape[-2] == 0 or e % B.shape[-2]):
        raise ValueError(f"{op}: B has {B.shape[-2]} groups; a divisor of the {e} channels is needed")
    state_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    loose = (x.dtype, state_dtype)
    tensors = {**wanted, "A": (A, (e, n)), "D": (D, (e,)), "dt_bias": (dt_bias, (e,))}
    for name, (tensor, shape) in tensors.items():
        if tensor is None:
            continue
        if name != "B" and tuple(tensor.shape) != shape:
            raise ValueError(f"{op}: {name} is {tuple(tensor.shape)}; {shape} is needed")
        allowed = loose if name in ("dt", "B", "C") else (x.dtype,) if name == "z" else (state_dtype,)
        if tensor.dtype not in allowed:
            raise TypeError(
                f"{op}: {name} is {tensor.dtype}; {' or '.join(map(str, dict.fromkeys(allowed)))} is needed"
            )
        if name == "C" and tensor.dtype != B.dtype:
            raise TypeError(f"{op}: C is {tensor.dtype}, B is {B.dtype}; one dtype is needed")
