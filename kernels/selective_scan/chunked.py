"""The selective scan for training in plain PyTorch: chunks of time side by side, with their backward pass.

The equations are those of reference.py and backward.py.  Every tensor of states is laid out [b, l, n, e]: a time
step is contiguous in (n, e), which is what the vectorised scan wants, and each (b, l) is a small [n, e] matrix, so
all sums over n or e are batched products.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_LOG2_E = math.log2(math.e)

# States and decays of a call up to this size are kept for the backward pass; larger ones are recomputed.
_KEEP_BYTES = 1 << 26


def choose_chunk(batch: int, length: int, states: int, device: torch.device) -> int:
    """Time steps per chunk.  `states` is n * e.

    One step after the other costs `length` small operations; chunks run side by side cost about
    2 * chunk + length / chunk operations and read everything twice.  On a CPU the plain order wins as soon as
    one step holds enough numbers to hide the cost of a call (measured with torch 2.13 on AVX2); a GPU is
    bound by the number of launches at every size of interest here.
    """
    if device.type == "cpu" and batch * states >= 4096:
        return length
    return max(1, min(length, round((length / 2) ** 0.5)))


def _combine(decay: Tensor, inflow: Tensor, state: Tensor, out: Tensor | None) -> Tensor:
    """The scan inside each chunk: s_t = decay_t s_{t-1} + inflow_t.  All of [b, chunks, chunk, n, e].

    Starts at `state` [b, chunks, n, e]; writes every s_t to `out` (which may be `inflow`) unless it is None.
    Returns the last state.
    """
    decays, inflows = decay.unbind(2), inflow.unbind(2)
    if out is None:
        state = state.clone()
        for a, u in zip(decays, inflows, strict=True):
            torch.addcmul(u, a, state, out=state)
        return state
    for a, u, s in zip(decays, inflows, out.unbind(2), strict=True):
        state = torch.addcmul(u, a, state, out=s)
    return state


def _combine_reverse(decay: Tensor, inflow: Tensor, carry: Tensor, store: bool) -> Tensor:
    """The reverse scan g_t = inflow_t + decay_{t+1} g_{t+1}, in place in `inflow` if `store`.

    `carry` [b, chunks, n, e] is decay * g of the step after each chunk.  Returns decay_0 g_0 of each
    chunk, the carry of the chunk before it.
    """
    decays, inflows = decay.unbind(2), inflow.unbind(2)
    last = len(decays) - 1
    if store:
        g = inflows[last].add_(carry)
        for t in range(last - 1, -1, -1):
            g = torch.addcmul(inflows[t], decays[t + 1], g, out=inflows[t])
    else:
        g = inflows[last] + carry
        for t in range(last - 1, -1, -1):
            torch.addcmul(inflows[t], decays[t + 1], g, out=g)
    return decays[0] * g


def _chain(decay: Tensor, end: Tensor, start: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """States that enter each chunk from what each adds (`end`) and its whole decay: [b, chunks, n, e]."""
    entering = torch.empty_like(end)
    order = range(end.shape[1] - 1, -1, -1) if reverse else range(end.shape[1])
    state = start
    for c in order:
        entering[:, c] = state
        state = torch.addcmul(end[:, c], decay[:, c], state)
    return entering, state


def _outer(column: Tensor, row: Tensor) -> Tensor:
    """column [b, l, n] times row [b, l, e] -> [b, l, n, e]."""
    return column[..., None] * row[:, :, None]


def _over_n(vector: Tensor, states: Tensor) -> Tensor:
    """sum_n vector [b, l, n] states [b, l, n, e] -> [b, l, e]."""
    total = vector[:, :, 0, None] * states[:, :, 0]
    for j in range(1, vector.shape[2]):
        total.addcmul_(vector[:, :, j, None], states[:, :, j])
    return total


def _over_e(states: Tensor, vector: Tensor) -> Tensor:
    """sum_e states [b, l, n, e] vector [b, l, e] -> [b, l, n]."""
    # the row form is 8 times faster on a CPU than states @ column: it is a matrix product, not b*l vector
    # products
    return torch.matmul(vector[:, :, None], states.transpose(2, 3))[:, :, 0]


def _states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, state_in: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Decays and states [b, l, n, e] and the final state [b, n, e].  A is [n, e]; chunk divides l."""
    b, length, e = x.shape
    n = A.shape[0]
    decay = torch.mul(dt[:, :, None], A * _LOG2_E).exp2_()  # twice as fast as exp on AVX2
    h = _outer(B, dt * x)
    split = (b, length // chunk, chunk, n, e)
    decays, states = decay.view(split), h.view(split)
    if split[1] == 1:
        entering = state_in[:, None]
    else:
        local = _combine(decays, states, decay.new_zeros(b, split[1], n, e), None)
        whole = torch.exp(dt.view(b, split[1], chunk, e).sum(2)[:, :, None] * A)
        entering, _ = _chain(whole, local, state_in, reverse=False)
    final = _combine(decays, states, entering, states)
    return decay, h, final[:, -1]


class ChunkedScan(torch.autograd.Function):
    """The recurrence alone: dt positive, one group, one dtype, contiguous tensors.  chunk divides l."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state_in: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor]:
        A_ne, state_ne = A.t().contiguous(), state_in.transpose(1, 2).contiguous()
        decay, h, final = _states(x, dt, A_ne, B, state_ne, chunk)
        kept = (decay, h) if decay.nbytes <= _KEEP_BYTES else ()
        ctx.save_for_backward(x, dt, A_ne, B, C, state_ne, *kept)
        ctx.chunk = chunk
        return _over_n(C, h), final.transpose(1, 2).clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, A, B, C, state_in, *kept = ctx.saved_tensors
        chunk = ctx.chunk
        decay, h = kept if kept else _states(x, dt, A, B, state_in, chunk)[:2]
        b, length, n, e = h.shape
        split = (b, length // chunk, chunk, n, e)
        dC = _over_e(h, dy)
        g = _outer(C, dy)
        decays, grads = decay.view(split), g.view(split)
        after = dfinal.transpose(1, 2)
        if split[1] == 1:
            carry = after[:, None]
        else:
            local = _combine_reverse(decays, grads, decay.new_zeros(b, split[1], n, e), store=False)
            whole = torch.exp(dt.view(b, split[1], chunk, e).sum(2)[:, :, None] * A)
            carry, _ = _chain(whole, local, after, reverse=True)
        dstate = _combine_reverse(decays, grads, carry, store=True)[:, 0]
        g_dot_B = _over_n(B, g)
        dtx = dt * x
        dB = _over_e(g, dtx)
        # through = g_t exp(dt_t A) h_{t-1}: what reaches the exponent dt_t A
        through = torch.empty_like(h)
        torch.mul(decay[:, 1:], h[:, :-1], out=through[:, 1:])
        torch.mul(decay[:, 0], state_in, out=through[:, 0])
        through.mul_(g)
        ddt = (x * g_dot_B).addcmul_(through[:, :, 0], A[0])
        for j in range(1, n):
            ddt.addcmul_(through[:, :, j], A[j])
        dA = through.mul_(dt[:, :, None]).view(b * length, n, e).sum(0).t()
        return dt * g_dot_B, ddt, dA, dB, dC, dstate.transpose(1, 2), None


def _scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, chunk: int | None
) -> tuple[Tensor, Tensor]:
    """One group: B, C [b, l, n]."""
    b, length, e = x.shape
    size = choose_chunk(b, length, e * A.shape[1], x.device) if chunk is None else min(chunk, length)
    # dt = 0 at the padded end is the identity (decay 1, inflow 0), so the final state stays right
    pad = -length % size
    padded = [F.pad(t, (0, 0, 0, pad)) if pad else t for t in (x, dt, B, C)]
    x_, dt_, B_, C_ = (t.contiguous() for t in padded)
    y, final = ChunkedScan.apply(x_, dt_, A, B_, C_, state, size)
    return (y[:, :length] if pad else y), final


def selective_scan_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, D: Tensor | None = None, z: Tensor | None = None,
    dt_bias: Tensor | None = None, dt_softplus: bool = True, state_in: Tensor | None = None, chunk: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `selective_scan_reference`; differentiable once.

    chunk  time steps done one after the other; chunks run side by side.  None: chosen by size and device
    Reads and writes about 7 tensors of b*l*n*e numbers forward and 14 backward; keeps 2 of them for the backward
    pass up to 64 MB each, and recomputes them above.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    u, step, B_, C_ = (t.to(dtype) for t in (x, dt, B, C))
    if dt_bias is not None:
        step = step + dt_bias
    if dt_softplus:
        step = F.softplus(step)
    groups = 1 if B.dim() == 3 else B.shape[2]
    state = u.new_zeros(x.shape[0], *A.shape) if state_in is None else state_in
    if groups == 1:
        y, final = _scan(u, step, A, B_.flatten(2), C_.flatten(2), state, chunk)
    else:
        done = []
        for g, (u_g, step_g, A_g, state_g) in enumerate(
            zip(u.chunk(groups, 2), step.chunk(groups, 2), A.chunk(groups), state.chunk(groups, 1), strict=True)
        ):
            done.append(_scan(u_g, step_g, A_g, B_[:, :, g], C_[:, :, g], state_g, chunk))
        y, final = torch.cat([y for y, _ in done], 2), torch.cat([last for _, last in done], 1)
    if D is not None:
        y = torch.addcmul(y, u, D)
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(x.dtype), final
