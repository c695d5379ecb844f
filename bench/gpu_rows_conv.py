"""The short causal convolution beside causal-conv1d (CUDA), fla (Gluon) and PyTorch; width 4, bias and silu."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.gpu import Row, forward, forward_backward, optional, relative_error
from kernels.causal_conv1d import causal_conv1d, causal_conv1d_step, reference

# fla reads it when imported; its other version is slower by 1.5 to 2.6 times
ENVIRONMENTS = [{"FLA_CONV_GLUON": "1"}]
# (batch, length, width of the model): the convolution of a Mamba-2 block has 2 * width + 256 channels
SHAPES = [(32, 1024, 256), (16, 2048, 512), (8, 4096, 1024), (8, 16384, 512), (8, 65536, 256)]
DECODING = [(32, 256), (256, 1024)]  # (batch, width of the model)
TAPS = 4

Inputs = tuple[Tensor, Tensor, Tensor]


def inputs(b: int, length: int, d: int) -> Inputs:
    c = 2 * d + 256
    x = torch.randn(b, length, c, device="cuda").bfloat16()
    return x, (torch.randn(c, TAPS, device="cuda") * 0.5).bfloat16(), torch.randn(c, device="cuda").bfloat16()


def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return causal_conv1d(x, weight, bias)[0]


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padded = F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=TAPS - 1, groups=x.shape[2])
    return F.silu(padded[..., : x.shape[1]]).transpose(1, 2)


def peers() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    cuda = optional("causal_conv1d") if importlib.util.find_spec("causal_conv1d_cuda") else None
    if cuda is not None:
        found["causal_conv1d CUDA"] = lambda x, w, bias: cuda.causal_conv1d_fn(
            x.transpose(1, 2), w, bias, activation="silu"
        ).transpose(1, 2)
    fla = optional("fla.modules.causal_conv1d")
    if fla is not None:
        found["fla gluon"] = lambda x, w, bias: fla.causal_conv1d(x, w, bias, activation="silu", backend="triton")[0]
    found["torch"] = plain
    return found


def check(backward: bool, d: int) -> Callable[[], float]:
    def measure() -> float:
        torch.manual_seed(0)
        tensors = inputs(2, 333, d)
        wide = [t.float().requires_grad_(backward) for t in tensors]
        leaves = [t.requires_grad_(backward) for t in tensors]
        got, want = ours(*leaves), plain(*wide)
        results, wanted = [got.detach()], [want.detach()]
        if backward:
            dy = torch.randn_like(got)
            results += torch.autograd.grad(got, leaves, dy)
            wanted += torch.autograd.grad(want, wide, dy.float())
        return relative_error(results, wanted)

    return measure


def check_step(d: int) -> Callable[[], float]:
    def measure() -> float:
        torch.manual_seed(0)
        x, weight, bias = inputs(3, 1, d)
        state = torch.randn(3, TAPS - 1, x.shape[2], device="cuda").bfloat16()
        wide_state = state.float()
        want = reference.causal_conv1d_step(x[:, 0].float(), wide_state, weight.float(), bias.float(), "silu")
        got = causal_conv1d_step(x[:, 0], state, weight, bias)
        return relative_error([got, state], [want, wide_state])

    return measure


def rows(quick: bool) -> Iterator[Row]:
    others = peers()
    del quick  # all shapes take seconds
    for b, length, d in SHAPES:
        tensors = inputs(b, length, d)
        elements = tensors[0].numel()
        for backward in (False, True):
            work = forward_backward if backward else forward
            yield Row(
                op="causal_conv1d",
                shape=f"b{b} l{length} d{d}",
                pass_="fwd+bwd" if backward else "fwd",
                ours=work(ours, tensors),
                peers={
                    name: work(fn, tensors)
                    for name, fn in others.items()
                    if name != "torch" or d == 512 and length == 2048
                },
                check=check(backward, d),
                limit=1e-2 if backward else 5e-3,
                bytes=(10 if backward else 4) * elements,
                flops=(2 * TAPS * (4 if backward else 1)) * elements,
                graph=length < 16384,
            )
        del tensors
    cuda = optional("causal_conv1d") if importlib.util.find_spec("causal_conv1d_cuda") else None
    for b, d in DECODING:
        x, weight, bias = inputs(b, 1, d)
        x, state = x[:, 0].contiguous(), torch.zeros(b, TAPS - 1, x.shape[2], device="cuda").bfloat16()
        step_peers: dict[str, Callable[[], object]] = {}
        if cuda is not None:
            turned = torch.zeros(b, x.shape[1], TAPS, device="cuda").bfloat16()
            step_peers["causal_conv1d CUDA"] = forward(
                lambda x, s, w, bias: cuda.causal_conv1d_update(x, s, w, bias, "silu"), (x, turned, weight, bias)
            )
        yield Row(
            op="causal_conv1d_step",
            shape=f"b{b} d{d}",
            pass_="step",
            ours=forward(causal_conv1d_step, (x, state, weight, bias)),
            peers=step_peers,
            check=check_step(d),
            limit=5e-3,
            bytes=2.0 * x.numel() * (2 * TAPS),
            flops=2.0 * TAPS * x.numel(),
        )
