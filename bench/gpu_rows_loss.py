"""The output layer's loss beside Liger (both settings) and PyTorch's logits and cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.gpu import Row, Work, forward, forward_backward, optional, relative_error
from kernels.linear_cross_entropy import linear_cross_entropy

# (batch, length, width) and vocabulary
SHAPES = [
    (16, 2048, 512, 50304),
    (16, 2048, 512, 16384),
    (32, 1024, 256, 50304),
    (8, 4096, 1024, 50304),
    (32, 1024, 256, 16384),
    (8, 4096, 1024, 16384),
]


def inputs(tokens: int, d: int, v: int) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(tokens, d, device="cuda").bfloat16()
    weight = (torch.randn(v, d, device="cuda") * d**-0.5).bfloat16()
    return x, weight, torch.randint(0, v, (tokens,), device="cuda")


def uncaptured(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A peer that waits for the device: refused before its failure in a capture spoils all captures after it."""

    def run(*tensors: Tensor) -> Any:
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError("waits for the device")
        return fn(*tensors)

    return run


def peers() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    liger = optional("liger_kernel.ops.fused_linear_cross_entropy")
    if liger is not None:
        apply = liger.LigerFusedLinearCrossEntropyFunction.apply
        rest = (None, None, -100, 0.0, 0.0, "mean", None, False, None, False, False, False, None, None, 16)
        found["liger"] = uncaptured(lambda x, w, t: apply(x, w, t)[0])
        found["liger chunk_mem_const 16"] = uncaptured(lambda x, w, t: apply(x, w, t, *rest)[0])
    found["torch"] = lambda x, w, t: F.cross_entropy(x @ w.T, t)
    return found


def check(backward: bool) -> Callable[[], float]:
    """Loss, nats and gradients against float32 on 1,111 tokens, some of them ignored."""

    def measure() -> float:
        torch.manual_seed(0)
        x, weight, target = inputs(1111, 256, 3003)
        target[::5] = -100
        leaves = [t.detach().requires_grad_(backward) for t in (x, weight)]
        loss, nats = linear_cross_entropy(leaves[0], leaves[1], target)
        wide = [t.detach().float().requires_grad_() for t in (x, weight)]
        logits = wide[0] @ wide[1].T
        want = F.cross_entropy(logits, target)
        got_all: list[Tensor | None] = [loss.detach(), nats]
        want_all: list[Tensor | None] = [want.detach(), F.cross_entropy(logits, target, reduction="none").detach()]
        if backward:
            got_all += torch.autograd.grad(loss, leaves)
            want_all += torch.autograd.grad(want, wide)
        return relative_error(got_all, want_all)

    return measure


def rows(quick: bool) -> Iterator[Row]:
    for b, length, d, v in SHAPES[:4] if quick else SHAPES:
        t = b * length
        tensors = inputs(t, d, v)
        product = 2.0 * t * d * v
        fixed: dict[str, Any] = {"op": "linear_cross_entropy", "shape": f"b{b} l{length} d{d} v{v}"}

        def ours(x: Tensor, w: Tensor, target: Tensor) -> Tensor:
            return linear_cross_entropy(x, w, target)[0]

        def gradients(fn: Callable[..., Any], given: tuple[Tensor, ...] = tensors) -> Work:
            return forward_backward(fn, given)

        yield Row(
            **fixed,
            pass_="fwd+bwd",
            ours=gradients(ours),
            peers={name: gradients(fn) for name, fn in peers().items()},
            check=check(True),
            limit=1e-2,
            bytes=4.0 * 2 * (t * d + v * d),
            flops=3 * product,
        )
        scoring = {"torch": forward(lambda x, w, t: F.cross_entropy(x @ w.T, t, reduction="none"), tensors)}
        yield Row(
            **fixed,
            pass_="fwd",
            ours=forward(ours, tensors),
            peers=scoring,
            check=check(False),
            limit=5e-3,
            bytes=2.0 * (t * d + v * d),
            flops=product,
        )
