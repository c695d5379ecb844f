"""Mamba-2's state-space mixing beside mamba_ssm and fla: whole sequences, one decoding step, replay of eight tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.gpu import Row, forward, forward_backward, optional, relative_error
from kernels.ssd import reference, ssd, ssd_replay, ssd_step

# (batch, length, width of the model, width of the state); heads of 64 columns, twice as many columns as the model
SHAPES = [
    (16, 2048, 512, 128),
    (32, 1024, 256, 128),
    (8, 4096, 1024, 128),
    (8, 16384, 512, 128),
    (8, 65536, 256, 128),
    (16, 2048, 512, 64),
    (16, 2048, 512, 16),
]
QUICK = SHAPES[:2]
DECODE = [(256, 1024), (32, 512)]  # batch, width of the model
REPLAYED = 8  # tokens since the checkpoint
P = 64

Fn = Callable[..., Any]


def inputs(b: int, length: int, d: int, n: int) -> list[Tensor]:
    """x, dt, A, B, C, D."""
    h = 2 * d // P
    return [
        torch.randn(b, length, h, P, device="cuda").bfloat16(),
        F.softplus(torch.randn(b, length, h, device="cuda") - 4),
        -torch.exp(torch.rand(h, device="cuda")),
        *((0.5 * torch.randn(b, length, 1, n, device="cuda")).bfloat16() for _ in range(2)),
        torch.ones(h, device="cuda"),
    ]


def ours(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return ssd(x, dt, A, B, C, D=D)[0]


def defined(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return reference.ssd_chunked(x, dt, A, B, C, D)[0]


def peers() -> tuple[dict[str, Fn], dict[str, Fn]]:
    """For the forward pass, and for both: fla refuses its backward pass on Hopper with triton 3.4 to 3.7."""
    found: dict[str, Fn] = {}
    combined = optional("mamba_ssm.ops.triton.ssd_combined")
    if combined is not None:
        found["mamba_ssm"] = lambda x, dt, A, B, C, D: combined.mamba_chunk_scan_combined(x, dt, A, B, C, 256, D=D)
    both = dict(found)
    simple = optional("fla.ops.simple_gla")
    if simple is not None:

        def fla(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
            q, k = (t.expand(-1, -1, x.shape[2], -1).contiguous() for t in (C, B))  # it has no shared groups
            o, _ = simple.chunk_simple_gla(q, k, (x * dt[..., None]).to(x.dtype), dt * A, scale=1.0)
            return o + D.to(x.dtype)[:, None] * x

        found["fla"] = fla
    return found, both


def check(n: int) -> Callable[[], float]:
    def run() -> float:
        torch.manual_seed(0)
        given = inputs(2, 512, 128, n)
        results = []
        for fn, dtype in ((ours, None), (defined, torch.float32)):
            leaves = [t.detach().to(dtype or t.dtype).requires_grad_() for t in given]
            y = fn(*leaves)
            torch.manual_seed(1)
            dy = torch.randn(y.shape, device="cuda").bfloat16().to(y.dtype)
            results.append([y, *torch.autograd.grad(y, leaves, dy)])
        return relative_error(*results)

    return run


def moved(b: int, length: int, d: int, n: int) -> float:
    h = 2 * d // P
    return float(b * length * (2 * 2 * h * P + 2 * 2 * n + 4 * h))


def done(b: int, length: int, d: int, n: int) -> float:
    """With chunks of 64: C B^T of a group, then of each head half of the masked product and two with the state."""
    h = 2 * d // P
    return float(b * length * (64 * n + h * (64 * P + 4 * P * n)))


def decoding(b: int, d: int, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The state, and the tensors of one step by name."""
    h = 2 * d // P
    return torch.randn(b, h, P, n, device="cuda"), {
        "x": torch.randn(b, h, P, device="cuda").bfloat16(),
        "dt": F.softplus(torch.randn(b, h, device="cuda") - 4).bfloat16(),
        "A": -torch.exp(torch.rand(h, device="cuda")),
        "B": torch.randn(b, 1, n, device="cuda").bfloat16(),
        "C": torch.randn(b, 1, n, device="cuda").bfloat16(),
        "D": torch.ones(h, device="cuda"),
        "z": torch.randn(b, h, P, device="cuda").bfloat16(),
    }


def mamba_step(state: Tensor, t: dict[str, Tensor]) -> dict[str, Callable[[], object]]:
    update = optional("mamba_ssm.ops.triton.selective_state_update")
    if update is None:
        return {}
    p, n = state.shape[2:]
    dt, A, D = t["dt"][..., None].expand(-1, -1, p), t["A"][:, None, None].expand(-1, p, n), t["D"][:, None]
    bias = torch.zeros_like(t["A"])[:, None].expand(-1, p)  # this version insists on one
    return {
        "mamba_ssm": lambda: update.selective_state_update(
            state, t["x"], dt, A, t["B"], t["C"], D.expand(-1, p), z=t["z"], dt_bias=bias
        )
    }


def check_step() -> float:
    torch.manual_seed(0)
    state, tensors = decoding(2, 128, 128)
    want_y, want = reference.ssd_step(state, *(tensors[k].float() for k in ("x", "dt", "A", "B", "C", "D")))
    y = ssd_step(state, **tensors)
    return relative_error([y, state], [want_y * F.silu(tensors["z"].float()), want])


def replayed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, of REPLAYED tokens; the gate is the last token's."""
    found = dict(tensors, z=tensors["z"][:, None])
    for name in ("x", "dt", "B", "C"):
        found[name] = torch.stack([tensors[name].roll(i, 0) for i in range(REPLAYED)], 1)
    return found


def check_replay() -> float:
    torch.manual_seed(0)
    state, tensors = decoding(2, 128, 128)
    tensors = replayed(tensors)
    wide = [tensors[k].float() for k in ("x", "dt", "A", "B", "C", "D")]
    want_y, want = reference.ssd_replay(state, *wide)
    y = ssd_replay(state, **tensors, fold=True)
    return relative_error([y, state], [want_y[:, -1:] * F.silu(tensors["z"].float()), want])


def rows(quick: bool) -> Iterator[Row]:
    ahead, both = peers()
    for b, length, d, n in QUICK if quick else SHAPES:
        given = inputs(b, length, d, n)
        shape, size, work = f"b{b} l{length} d{d} n{n}", moved(b, length, d, n), done(b, length, d, n)
        named: dict[str, Callable[[], object]] = {name: forward(fn, given) for name, fn in ahead.items()}
        yield Row("ssd", shape, "fwd", forward(ours, given), named, check(n), 5e-3, size, work)
        named = {name: forward_backward(fn, given) for name, fn in both.items()}
        yield Row("ssd", shape, "fwd+bwd", forward_backward(ours, given), named, check(n), 1e-2, 3 * size, 3 * work)
    for b, d in DECODE[:1] if quick else DECODE:
        state, tensors = decoding(b, d, 128)
        yield from _decode_rows(state, tensors, f"b{b} d{d} n128")


def _decode_rows(state: Tensor, tensors: dict[str, Tensor], shape: str) -> Sequence[Row]:
    size, buffer = state.numel() * 4.0, replayed(tensors)

    def plain() -> object:
        return ssd_step(state, **tensors)

    def replay() -> object:
        return ssd_replay(state, **buffer)

    def verify() -> object:
        return ssd_replay(state, **dict(buffer, z=buffer["z"].expand(-1, 4, -1, -1)), new=4)

    peer = mamba_step(state, tensors)
    flops = 5.0 * state.numel()
    return [
        Row("ssd_step", shape, "step", plain, peer, check_step, 5e-3, 2 * size, flops),
        Row(
            "ssd_replay",
            f"{shape} token {REPLAYED}",
            "step",
            replay,
            {"ssd_step": plain},
            check_replay,
            5e-3,
            size,
            flops,
        ),
        Row(
            "ssd_replay",
            f"{shape} 4 of {REPLAYED}",
            "step",
            verify,
            {"ssd_step": plain},
            check_replay,
            5e-3,
            size,
            flops,
        ),
    ]
