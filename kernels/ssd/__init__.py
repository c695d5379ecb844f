"""The state-space mixing of Mamba-2: `ssd`, and its decoding `ssd_step`, `ssd_replay`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import dispatch
from kernels.ssd import reference

__all__ = ["ssd", "ssd_replay", "ssd_step"]

_TYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_CHUNKS = (16, 32, 64)


def _refuse(op: str, name: str, found: object, allowed: object) -> None:
    raise ValueError(f"{op}: {name} is {found}; {allowed} is needed")


def _check(
    op: str, x: Tensor, wanted: dict[str, tuple[Tensor | None, tuple[int, ...], tuple[torch.dtype, ...]]]
) -> None:
    """Shapes, types and devices: of each tensor by name, what it must be."""
    if x.dtype not in _TYPES:
        raise TypeError(f"{op}: x is {x.dtype}; one of {', '.join(map(str, _TYPES))} is needed")
    for name, (tensor, shape, types) in wanted.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            _refuse(op, name, tuple(tensor.shape), shape)
        if tensor.dtype not in types:
            raise TypeError(f"{op}: {name} is {tensor.dtype}; {' or '.join(map(str, types))} is needed")
        if tensor.device != x.device:
            _refuse(op, name, f"on {tensor.device}", x.device)


def _check_heads(op: str, heads: int, B: Tensor) -> None:
    if B.dim() < 2 or B.shape[-2] < 1 or heads % B.shape[-2]:
        _refuse(op, "the number of groups of B", B.shape[-2] if B.dim() >= 2 else None, f"a divisor of {heads} heads")


def _wide_type(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    state_in: Tensor | None = None,
    seq_idx: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Mamba-2 state-space mixing:  h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T,   y_t = (h_t C_t + D x_t) silu(z_t).

    x, z      [b, l, h, p]  bf16 | fp16 | fp32 | fp64
    dt        [b, l, h]     floating; already positive, or with dt_bias raw: softplus(dt + dt_bias) is used then
    A         [h]           fp32, A < 0
    B, C      [b, l, g, n]  like x; heads h // g share a group
    D         [h]           fp32 or None: no direct path
    dt_bias   [h]           fp32 or None: dt is positive as it is
    state_in  [b, h, p, n]  fp32 or None: zeros
    seq_idx   [b, l]        integers or None; no state passes from a token to the next where its value changes
    chunk     tokens multiplied at once.  None: chosen; 16, 32 or 64 on the path of the kernels
    returns   y like x, and the final state [b, h, p, n] fp32

    With x in fp64 everything is fp64.  The last axis of x, B and C should be contiguous, and their other strides and
    addresses multiples of 16 bytes, as in views of a fused projection; others are copied.  Differentiable once in
    every floating argument.  Deterministic.  Any l >= 1, p and n; the kernels do 128 states at a time (in fp32, which
    they do on the ordinary units: 32).  Decays, sums and states are fp32; x, B, C and the products of C and B enter
    the tensor cores in the type of x, and so do the states between chunks.

    Moves b l (4 h p + 4 g n + 12 h) bytes forward in 16-bit types, and b l h p n / 64 numbers more when gradients are
    wanted: the states between chunks.  The formulas: Dao and Gu, arXiv:2405.21060.
    """
    if x.dim() != 4 or x.shape[1] == 0:
        _refuse("ssd", "x", tuple(x.shape), "[b, l, h, p] with l of 1 or more")
    b, length, h, p = x.shape
    _check_heads("ssd", h, B)
    g, n = B.shape[-2:]
    wide = (_wide_type(x),)
    _check(
        "ssd",
        x,
        {
            "z": (z, (b, length, h, p), (x.dtype,)),
            "dt": (dt, (b, length, h), _TYPES),
            "A": (A, (h,), wide),
            "B": (B, (b, length, g, n), (x.dtype,)),
            "C": (C, (b, length, g, n), (x.dtype,)),
            "D": (D, (h,), wide),
            "dt_bias": (dt_bias, (h,), wide),
            "state_in": (state_in, (b, h, p, n), wide),
            "seq_idx": (seq_idx, (b, length), (torch.int32, torch.int64)),
        },
    )
    if chunk is not None and chunk < 1:
        _refuse("ssd", "chunk", chunk, "1 or more")
    document = None if seq_idx is None else reference.document_numbers(seq_idx)
    if dispatch.runs_triton("ssd", x, dt, A, B, C, D, dt_bias, state_in):
        if chunk is not None and chunk not in _CHUNKS:
            _refuse("ssd", "chunk", chunk, " or ".join(map(str, _CHUNKS)))
        y, state = _by_kernels(x, dt, A, B, C, D, dt_bias, state_in, document, chunk)
    else:
        step = reference.positive_step(dt, dt_bias)
        y, state = reference.ssd_chunked(x, step, A, B, C, D, state_in, document, 64 if chunk is None else chunk)
    return (y if z is None else y * torch.nn.functional.silu(z)), state


def _rows(tensor: Tensor) -> Tensor:
    """The tensor, copied if its last axis is not contiguous."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _by_kernels(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, dt_bias: Tensor | None, state_in: Tensor | None, document: Tensor | None, chunk: int | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Odd widths are padded to 16 bytes.  y is a sum over the states, of which the kernels are given as many at a time
    as fit the registers."""
    from kernels.ssd.describe import padded

    p, n = x.shape[-1], B.shape[-1]
    x, B, C = padded(x), padded(B), padded(C)
    if state_in is not None and (x.shape[-1] != p or B.shape[-1] != n):
        state_in = torch.nn.functional.pad(state_in, (0, B.shape[-1] - n, 0, x.shape[-1] - p))
    given = (x, dt, A, B, C, D, dt_bias, state_in)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)
    width = 32 if x.dtype == torch.float32 else 128
    ys, states = [], []
    for first in range(0, B.shape[-1], width):
        part = slice(first, first + width)
        entering = None if state_in is None else state_in[..., part]
        direct = D if first == 0 else None
        y, state = _Ssd.apply(x, dt, A, B[..., part], C[..., part], direct, dt_bias, entering, document, chunk, save)
        ys.append(y)
        states.append(state)
    y, state = (ys[0], states[0]) if len(ys) == 1 else (torch.stack(ys).sum(0), torch.cat(states, -1))
    return y[..., :p], state[..., :p, :n]


class _Ssd(torch.autograd.Function):
    """`ssd` without gate, by the kernels."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        dt_bias: Tensor | None,
        state_in: Tensor | None,
        document: Tensor | None,
        chunk: int | None,
        save: bool,
    ) -> tuple[Tensor, Tensor]:
        from kernels.ssd.decay import decays
        from kernels.ssd.describe import described
        from kernels.ssd.forward import ssd_forward
        from kernels.ssd.tiles import forward_tile

        x, B, C = described(x), described(B), described(C)
        state_in = None if state_in is None else state_in.contiguous()
        tile = forward_tile(x.dtype, x.shape[3], B.shape[3], chunk)
        found = decays(dt, A, dt_bias, tile.block_l)
        y, state, states = ssd_forward(x, B, C, D, found, state_in, document, tile, save=save)
        if save:
            ctx.save_for_backward(x, A, B, C, D, document, states, found.step, found.s, found.t)
            ctx.chunk, ctx.dt_dtype, ctx.softplus = chunk, dt.dtype, dt_bias is not None
            ctx.set_materialize_grads(False)
        return y, state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dstate: Tensor | None) -> tuple[Tensor | None, ...]:
        from kernels.ssd.backward import ssd_backward
        from kernels.ssd.decay import Decays
        from kernels.ssd.describe import described
        from kernels.ssd.tiles import backward_tile

        x, A, B, C, D, document, states, step, s, t = ctx.saved_tensors
        dy = torch.zeros_like(x, memory_format=torch.contiguous_format) if dy is None else described(dy.contiguous())
        dstate = None if dstate is None else dstate.contiguous()
        tile = backward_tile(x.dtype, x.shape[3], B.shape[3], ctx.chunk)
        found = ssd_backward(
            dy, dstate, x, A, B, C, D, Decays(step, s, t), states, document, tile,
            dt_dtype=ctx.dt_dtype, softplus=ctx.softplus,
        )  # fmt: skip
        wanted = ctx.needs_input_grad
        return (
            found.x,
            found.dt,
            found.A,
            found.B,
            found.C,
            found.D if wanted[5] else None,
            found.dt_bias if wanted[6] else None,
            found.state_in if wanted[7] else None,
            None,
            None,
            None,
        )


def _check_decode(
    op: str, state: Tensor, x: Tensor, tokens: tuple[int, ...], dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    rest: dict[str, Tensor | None], gates: tuple[int, ...],
) -> None:  # fmt: skip
    """tokens: the axes of x before heads, [b] or [b, l]; gates: those of z."""
    if state.dim() != 4 or not state.is_contiguous():
        _refuse(op, "state", f"{tuple(state.shape)} with strides {state.stride()}", "a contiguous [b, h, p, n]")
    b, h, p, n = state.shape
    _check_heads(op, h, B)
    g = B.shape[-2]
    wide = (_wide_type(x),)
    _check(
        op,
        x,
        {
            "x": (x, (*tokens, h, p), (x.dtype,)),
            "state": (state, (b, h, p, n), wide),
            "dt": (dt, (*tokens, h), _TYPES),
            "A": (A, (h,), wide),
            "B": (B, (*tokens, g, n), (x.dtype,)),
            "C": (C, (*tokens, g, n), (x.dtype,)),
            "D": (rest["D"], (h,), wide),
            "dt_bias": (rest["dt_bias"], (h,), wide),
            "z": (rest["z"], (*gates, h, p), (x.dtype,)),
        },
    )
    if torch.is_grad_enabled() and any(t.requires_grad for t in (state, x, dt, B, C)):
        raise RuntimeError(f"{op}: it changes the state in place and has no gradient; call it under torch.no_grad()")


@torch.no_grad()
def _gate(y: Tensor, z: Tensor | None) -> Tensor:
    return y if z is None else y * torch.nn.functional.silu(z)


def ssd_step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
) -> Tensor:
    """One token, in place on the state:  h <- exp(dt A) h + dt x B^T,   y = (h C + D x) silu(z).

    state     [b, h, p, n]  fp32, contiguous; changed
    x, z      [b, h, p]     bf16 | fp16 | fp32 | fp64
    dt        [b, h]        floating; positive, or with dt_bias raw: softplus(dt + dt_bias) is used then
    A, D      [h]           fp32; dt_bias the same
    B, C      [b, g, n]     like x
    returns   y like x

    No gradient.  All arithmetic in fp32.  Moves 8 b h p n bytes: the state, read and written.
    """
    _check_decode("ssd_step", state, x, x.shape[:1], dt, A, B, C, {"D": D, "z": z, "dt_bias": dt_bias}, x.shape[:1])
    if dispatch.runs_triton("ssd_step", state, x, dt, A, B, C, D, z, dt_bias):
        from kernels.ssd import step, tiles

        x, B, C, z = _rows(x), _rows(B), _rows(C), None if z is None else _rows(z)
        return step.ssd_step(state, x, dt, A, B, C, D, z, dt_bias, tiles.step_tile(*state.shape[2:]))
    with torch.no_grad():
        y, new = reference.ssd_step(state, x, reference.positive_step(dt, dt_bias), A, B, C, D)
        state.copy_(new)
        return _gate(y, z)


def ssd_replay(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    new: int = 1,
    fold: bool = False,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
) -> Tensor:
    """The last `new` tokens since a checkpoint:  y_t = exp(s_t) h C_t + sum_{j<=t} exp(s_t - s_j) dt_j (C_t.B_j) x_j.

    state     [b, h, p, n]    fp32, contiguous: the checkpoint; with `fold` it becomes the state after all tokens
    x         [b, l, h, p]    bf16 | fp16 | fp32 | fp64: all tokens since the checkpoint, the new ones last
    dt        [b, l, h]       floating; positive, or with dt_bias raw: softplus(dt + dt_bias) is used then
    A, D      [h]             fp32; dt_bias the same
    B, C      [b, l, g, n]    like x
    z         [b, new, h, p]  like x, or None
    returns   y [b, new, h, p] like x, with D x_t added and silu(z) multiplied where given

    s is the running sum of dt A since the checkpoint.  The state is read and not written, half the bytes of a step;
    tokens are taken back by leaving them out, and one whose dt is 0 (raw: -inf) leaves no trace, so rows of a batch
    may keep different numbers of them.  Folding every l tokens writes the state once.  l up to 64.  No gradient; fp32
    arithmetic.  The idea: replay decoding, 2026, as described by its authors.
    """
    if x.dim() != 4 or not 1 <= x.shape[1] <= 64:
        _refuse("ssd_replay", "x", tuple(x.shape), "[b, l, h, p] with l from 1 to 64")
    if not 0 <= new <= x.shape[1]:
        _refuse("ssd_replay", "new", new, f"0 to {x.shape[1]}")
    rest, gates = {"D": D, "z": z, "dt_bias": dt_bias}, (x.shape[0], new)
    _check_decode("ssd_replay", state, x, x.shape[:2], dt, A, B, C, rest, gates)
    if dispatch.runs_triton("ssd_replay", state, x, dt, A, B, C, D, z, dt_bias):
        from kernels.ssd import replay, tiles

        x, B, C, z = _rows(x), _rows(B), _rows(C), None if z is None else _rows(z)
        tile = tiles.replay_tile(*state.shape[2:])
        return replay.ssd_replay(state, x, dt, A, B, C, D, z, dt_bias, new, fold, tile)
    with torch.no_grad():
        y, folded = reference.ssd_replay(state, x, reference.positive_step(dt, dt_bias), A, B, C, D)
        if fold:
            state.copy_(folded)
        return _gate(y[:, x.shape[1] - new :], z)
