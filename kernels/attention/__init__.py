"""Attention with shared key heads, a window and an additive mask, over PyTorch's fused kernels: `attention`.

* No kernel of its own: those behind `scaled_dot_product_attention` (FlashAttention, cuDNN) run at 60 % of the matrix
  product's speed at these widths, which leaves nothing to win.
* What this adds is one meaning for all of them: the queries are the *last* positions, whatever the lengths; key heads
  are shared by runs of query heads; a window is cut so that time and memory grow with length times window.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.attention.reference import visible
from kernels.dispatch import record

__all__ = ["attention"]

_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_VERIFIED = 64  # queries up to which heads that share keys are laid side by side as more queries


def _check(q: Tensor, k: Tensor, v: Tensor, window: int | None, mask: Tensor | None) -> None:
    if q.dtype not in _FLOATS:
        raise TypeError(f"attention: q is {q.dtype}; bfloat16, float16, float32 or float64 is needed")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.ndim != 4 or 0 in tensor.shape:
            raise ValueError(
                f"attention: {name} is {tuple(tensor.shape)}; [b, l, heads, p] with no empty axis is needed"
            )
        if tensor.dtype != q.dtype:
            raise TypeError(f"attention: {name} is {tensor.dtype}, q is {q.dtype}")
    b, queries, heads, p = q.shape
    if k.shape[0] != b or k.shape[3] != p or k.shape[1] < queries or heads % k.shape[2]:
        raise ValueError(
            f"attention: k is {tuple(k.shape)}; ({b}, at least {queries}, a divisor of {heads}, {p}) is needed"
        )
    if v.shape != k.shape:
        raise ValueError(f"attention: v is {tuple(v.shape)}; {tuple(k.shape)} is needed, as k")
    if window is not None and window < 1:
        raise ValueError(f"attention: window {window}; 1 or more is needed")
    if mask is not None:
        wanted = (b, heads, queries, k.shape[1])
        fits = mask.ndim <= 4 and all(m in (1, n) for m, n in zip(mask.shape[::-1], wanted[::-1], strict=False))
        if not fits:
            raise ValueError(f"attention: mask is {tuple(mask.shape)}; it must expand to {wanted}")
        if not mask.is_floating_point():
            raise TypeError(f"attention: mask is {mask.dtype}; a float is needed, which is added to the scores")


def _masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """q [b, h, i, p]; k, v [b, g, j, p]; mask expands to [b, h, i, j], bool (seen) or added."""
    b, heads, queries, p = q.shape
    groups, keys = k.shape[1:3]
    per_group = heads // groups
    if mask.dtype != torch.bool:
        mask = mask.to(q.dtype)
    if per_group == 1:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    if queries > _VERIFIED:
        k, v = k.repeat_interleave(per_group, 1), v.repeat_interleave(per_group, 1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    # The fused kernels that take a mask take no shared keys, and copying the keys would be most of the time.
    mask = mask[(None,) * (4 - mask.ndim)]
    shared = mask.shape[1] == 1
    rows = mask.expand(-1, heads if not shared else per_group, queries, keys)
    rows = rows.reshape(mask.shape[0], 1 if shared else groups, per_group * queries, keys)
    y = F.scaled_dot_product_attention(q.reshape(b, groups, per_group * queries, p), k, v, attn_mask=rows, scale=scale)
    return y.reshape(b, heads, queries, p)


@functools.cache
def _has_windows() -> bool:
    """Whether this build of PyTorch shows FlashAttention's window to its callers."""
    try:
        schema = torch.ops.aten._flash_attention_forward.default._schema
    except AttributeError:
        return False
    return any(argument.name == "window_size_left" for argument in schema.arguments)


def _windowed(q: Tensor, k: Tensor, v: Tensor, causal: bool, window: int, scale: float) -> Tensor:
    """q [b, i, h, p]; k, v [b, j, g, p].  Query by query only its window's keys are read."""
    b, queries, heads, p = q.shape
    keys = k.shape[1]
    if q.is_cuda and causal and q.dtype in (torch.bfloat16, torch.float16) and p % 8 == 0 and p <= 256:
        if queries == keys and _has_windows():
            k, v = (t.repeat_interleave(heads // t.shape[2], 2) if t.shape[2] != heads else t for t in (k, v))
            y: Tensor = torch.ops.aten._flash_attention_forward(
                q, k, v, None, None, queries, keys, 0.0, True, False,
                scale=scale, window_size_left=window - 1, window_size_right=0,
            )[0]  # fmt: skip
            return y
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    size = max(window, _VERIFIED)
    ys = []
    for start in range(0, queries, size):
        end = min(start + size, queries)
        first = max(0, keys - queries + start - window + 1)
        last = keys - queries + end if causal else keys
        seen = visible(last - (keys - queries + start), last, causal, window, q.device, first)[: end - start]
        ys.append(_masked(q[:, :, start:end], k[:, :, first:last], v[:, :, first:last], seen, scale))
    return torch.cat(ys, 2).transpose(1, 2)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention:  y_i = sum_j softmax_j(scale q_i . k_j + mask_ij) v_j  over the keys j that query i sees.

    q        [b, i, h, p]  bf16 | fp16 | fp32 | fp64
    k, v     [b, j, g, p]  like q; j >= i; heads h // g share a key head: g = h is MHA, g = 1 MQA, else GQA
    causal   the queries stand at the last positions: the last one at the last key, the one before it at the key
             before.  None sees a key after its own
    window   a query sees its own key and the window - 1 before it; None: all
    mask     expands to [b, h, i, j], float: added to the scores, -inf hides.  A tree of drafts is given with
             causal=False.  None: 0
    scale    None: 1 / sqrt(p)
    returns  y [b, i, h, p] like q

    Each query must see a key.  Differentiable in q, k and v as PyTorch's kernels are; on a GPU their backward pass is
    deterministic only under torch.use_deterministic_algorithms(True).  Scores are never held whole, except that a mask
    together with a window, or with a dtype no fused kernel takes, makes [i, j] booleans or scores.
    """
    _check(q, k, v, window, mask)
    record("attention", "torch", "scaled_dot_product_attention is the kernel")
    queries, keys = q.shape[1], k.shape[1]
    scale = 1.0 / math.sqrt(q.shape[3]) if scale is None else scale
    if window is not None and causal and window >= keys:
        window = None
    if window is not None and mask is None:
        return _windowed(q, k, v, causal, window, scale)
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    bounded = (causal and queries > 1) or window is not None
    if mask is not None:
        if bounded:
            mask = mask.masked_fill(~visible(queries, keys, causal, window, q.device), float("-inf"))
        y = _masked(q, k, v, mask, scale)
    elif causal and 1 < queries < keys:
        y = _masked(q, k, v, visible(queries, keys, True, None, q.device), scale)
    else:
        y = F.scaled_dot_product_attention(
            q, k, v, is_causal=causal and queries > 1, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
    return y.transpose(1, 2)
