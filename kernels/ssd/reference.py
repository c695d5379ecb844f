"""The state-space mixing of Mamba-2 in plain PyTorch: one step after the other, and by chunks.

Dao and Gu, "Transformers are SSMs", arXiv:2405.21060.  With s the running sum of dt A inside a chunk:

    y_i = sum_{j<=i} exp(s_i - s_j) dt_j (C_i . B_j) x_j  +  exp(s_i) H C_i  +  D x_i
    H  <- exp(s_q) H + sum_j exp(s_q - s_j) dt_j x_j B_j^T

Everything is differentiated by autograd, runs in float64 as given and in float32 for narrower types, and works on any
device.  Shapes as in `kernels.ssd`; dt is positive here; `document` [b, l] numbers the documents of a sequence, and
no state passes from one to the next.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def _wide(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors]


def positive_step(dt: Tensor, dt_bias: Tensor | None) -> Tensor:
    """dt, or softplus(dt + dt_bias) where there is a bias; linear above 20, as softplus of torch."""
    wide = dt.to(torch.promote_types(dt.dtype, torch.float32))
    return wide if dt_bias is None else F.softplus(wide + dt_bias)


def document_numbers(seq_idx: Tensor) -> Tensor:
    """0, 0, ..., 1, 1, ...: grows by one wherever seq_idx [b, l] changes.  int32."""
    changes = torch.zeros_like(seq_idx, dtype=torch.int32)
    changes[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    return changes.cumsum(1, dtype=torch.int32)


def ssd_sequential(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    state_in: Tensor | None = None,
    document: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition: h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T,   y_t = h_t C_t + D x_t."""
    b, length, h, p = x.shape
    B, C = (t.repeat_interleave(h // t.shape[2], 2) for t in (B, C))
    state = x.new_zeros(b, h, p, B.shape[-1]) if state_in is None else state_in
    ys = []
    for t in range(length):
        decay = torch.exp(dt[:, t] * A)
        if document is not None and t:
            decay = decay * (document[:, t] == document[:, t - 1])[:, None]
        inflow = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        state = decay[..., None, None] * state + inflow
        ys.append((state * C[:, t, :, None]).sum(-1))
    y = torch.stack(ys, 1)
    return y if D is None else y + D[:, None] * x, state


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    state_in: Tensor | None = None,
    document: Tensor | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """The same by chunks, whose work is matrix products.  y has the type of x; the state at least float32."""
    kind, (b, length, h, p), (g, n) = x.dtype, x.shape, B.shape[2:]
    x, dt, A, B, C, D, state_in = _wide(x, dt, A, B, C, D, state_in)  # type: ignore[assignment]
    q = min(chunk, length)
    pad = -length % q
    xs, dts, Bs, Cs = (F.pad(t, (0, 0) * (t.dim() - 2) + (0, pad)) for t in (x, dt, B, C))
    xs, dts = xs.reshape(b, -1, q, g, h // g, p), dts.reshape(b, -1, q, g, h // g)
    Bs, Cs = (t.reshape(b, -1, q, g, n) for t in (Bs, Cs))
    s = (dts * A.view(g, h // g)).cumsum(2)
    rows = s.permute(0, 1, 3, 4, 2)  # [b, c, g, r, q]
    causal = torch.ones(q, q, dtype=torch.bool, device=x.device).tril()
    entering, leaving, passing = torch.exp(s), torch.exp(s[:, :, -1:] - s) * dts, torch.exp(s[:, :, -1])
    if document is not None:
        numbers = torch.cat([document, document[:, -1:].expand(-1, pad)], 1).reshape(b, -1, q)
        before = torch.cat([numbers[:, :1, 0], numbers[:, :-1, -1]], 1)  # of the token before each chunk
        same = numbers[..., :, None] == numbers[..., None, :]
        causal = (causal & same)[:, :, None, None]
        entering = entering * (numbers == before[..., None])[..., None, None]
        leaving = leaving * (numbers == numbers[..., -1:])[..., None, None]
        passing = passing * (before == numbers[..., -1])[..., None, None]
    decay = torch.exp((rows[..., :, None] - rows[..., None, :]).masked_fill(~causal, -torch.inf))
    products = torch.einsum("bcign,bcjgn->bcgij", Cs, Bs)
    y = torch.einsum("bcgrij,bcjgrp->bcigrp", products[:, :, :, None] * decay, dts[..., None] * xs)
    local = torch.einsum("bcjgrp,bcjgn->bcgrpn", leaving[..., None] * xs, Bs)
    state = x.new_zeros(b, g, h // g, p, n) if state_in is None else state_in.view(b, g, h // g, p, n)
    before_chunk = []
    for c in range(local.shape[1]):
        before_chunk.append(state)
        state = passing[:, c, ..., None, None] * state + local[:, c]
    y = y + entering[..., None] * torch.einsum("bcign,bcgrpn->bcigrp", Cs, torch.stack(before_chunk, 1))
    y = y.reshape(b, -1, h, p)[:, :length]
    if D is not None:
        y = y + D[:, None] * x
    return y.to(kind), state.reshape(b, h, p, n)


def ssd_step(
    state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One token: x [b, h, p], dt [b, h], B, C [b, g, n].  Returns y like x and the new state."""
    wide, step, B, C = _wide(x[:, None], dt[:, None], B[:, None], C[:, None])  # type: ignore[assignment]
    y, new = ssd_sequential(wide, step, A, B, C, D, state)  # type: ignore[arg-type]
    return y[:, 0].to(x.dtype), new


def ssd_replay(
    state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """All tokens since the checkpoint `state`, which stays: y_t = exp(s_t) H C_t + sum_j ..., as one chunk."""
    return ssd_chunked(x, dt, A, B, C, D, state, chunk=x.shape[1])
