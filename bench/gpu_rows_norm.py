"""Norms beside mamba_ssm, fla, Liger and PyTorch: gated RMSNorm at 2 d, add + RMSNorm and LayerNorm at d."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.gpu import Row, forward, forward_backward, optional, relative_error
from kernels.norm import gated_rms_norm, layer_norm, reference, rms_norm

# (batch, length, width of the model)
SHAPES = [(32, 1024, 256), (16, 2048, 512), (8, 4096, 1024), (8, 16384, 512), (8, 65536, 256)]
QUICK = SHAPES[:4]
EPS = 1e-5

Fn = Callable[..., Any]


def _vector(d: int) -> Tensor:
    return (1 + 0.1 * torch.randn(d, device="cuda")).bfloat16()


def gated_inputs(n: int, d: int) -> list[Tensor]:
    return [torch.randn(n, 2 * d, device="cuda").bfloat16() for _ in range(2)] + [_vector(2 * d)]


def add_inputs(n: int, d: int) -> list[Tensor]:
    return [torch.randn(n, d, device="cuda").bfloat16(), _vector(d), torch.randn(n, d, device="cuda")]


def layer_inputs(n: int, d: int) -> list[Tensor]:
    return [torch.randn(n, d, device="cuda").bfloat16(), _vector(d), _vector(d)]


def gated_peers() -> dict[str, Fn]:
    found: dict[str, Fn] = {}
    mamba = optional("mamba_ssm.ops.triton.layernorm_gated")
    if mamba is not None:
        found["mamba_ssm"] = lambda x, z, w: mamba.rmsnorm_fn(
            x, w, None, z=z, eps=EPS, group_size=None, norm_before_gate=False
        )
    return found


def add_peers() -> dict[str, Fn]:
    found: dict[str, Fn] = {}
    mamba = optional("mamba_ssm.ops.triton.layer_norm")
    if mamba is not None:
        found["mamba_ssm"] = lambda x, w, r: mamba.rms_norm_fn(
            x, w, None, residual=r, eps=EPS, prenorm=True, residual_in_fp32=True
        )
    fla = optional("fla.modules.norm.layernorm") or optional("fla.modules.layernorm")
    if fla is not None:
        found["fla"] = lambda x, w, r: fla.rms_norm(
            x, w, None, residual=r, eps=EPS, prenorm=True, residual_in_fp32=True
        )
    return found


def layer_peers() -> dict[str, Fn]:
    found: dict[str, Fn] = {}
    liger = optional("liger_kernel.ops.layer_norm")
    if liger is not None:
        found["liger"] = lambda x, w, b: liger.LigerLayerNormFunction.apply(x, w, b, EPS)
    found["torch"] = lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, EPS)
    return found


def check(ours: Fn, plain: Fn, make: Callable[[int, int], list[Tensor]], d: int, backward: bool) -> Callable[[], float]:
    def measure() -> float:
        torch.manual_seed(0)
        tensors = make(777, d)
        leaves = [t.detach().requires_grad_(backward) for t in tensors]
        wide = [t.detach().float().requires_grad_(backward) for t in tensors]
        got, want = ours(*leaves), plain(*wide)
        got, want = (list(t) if isinstance(t, tuple) else [t] for t in (got, want))
        results, wanted = [t.detach() for t in got], [t.detach() for t in want]
        if backward:
            upstream = [torch.randn_like(t) for t in got]
            results += torch.autograd.grad(got, leaves, upstream)
            wanted += torch.autograd.grad(want, wide, [t.float() for t in upstream])
        return relative_error(results, wanted)

    return measure


def both(fn: Fn, tensors: Sequence[Tensor]) -> Callable[[], object]:
    """Forward and backward of every output, each with a gradient of its own: the stream has one in a model too."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    upstream: list[Tensor] = []

    def run() -> object:
        result = fn(*leaves)
        results = list(result) if isinstance(result, tuple) else [result]
        if not upstream:
            upstream.extend(torch.randn_like(t) for t in results)
        return torch.autograd.grad(results, leaves, upstream)

    return run


def rows(quick: bool) -> Iterator[Row]:
    # name, ours, its definition, inputs, peers, bytes an element forward and backward
    cases: list[tuple[str, Fn, Fn, Callable[[int, int], list[Tensor]], dict[str, Fn], int, int]] = [
        (
            "gated_rms_norm",
            gated_rms_norm,
            lambda x, z, w: reference.gated_rms_norm(x, z, w, x.shape[-1], EPS),
            gated_inputs,
            gated_peers(),
            6,
            10,
        ),
        (
            "rms_norm",
            lambda x, w, r: rms_norm(x, w, residual=r),
            lambda x, w, r: reference.rms_norm(x, w, r, EPS),
            add_inputs,
            add_peers(),
            12,
            16,
        ),
        (
            "layer_norm",
            layer_norm,
            lambda x, w, b: reference.layer_norm(x, w, b, None, EPS)[0],
            layer_inputs,
            layer_peers(),
            4,
            6,
        ),
    ]
    for b, length, d in QUICK if quick else SHAPES:
        for name, ours, plain, make, others, ahead, back in cases:
            if name == "layer_norm" and length > 2048:
                continue
            tensors = make(b * length, d)
            for backward in (False, True):
                work = (both if name == "rms_norm" else forward_backward) if backward else forward
                yield Row(
                    op=name,
                    shape=f"b{b} l{length} d{d}",
                    pass_="fwd+bwd" if backward else "fwd",
                    ours=work(ours, tensors),
                    peers={peer: work(fn, tensors) for peer, fn in others.items()},
                    check=check(ours, plain, make, d, backward),
                    limit=1e-2 if backward else 5e-3,
                    bytes=float((ahead + back if backward else ahead) * tensors[0].numel()),
                    flops=float((30 if backward else 10) * tensors[0].numel()),
                    graph=length < 16384,
                )
            del tensors
