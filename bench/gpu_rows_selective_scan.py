"""Rows of bench/gpu.py: the selective scan and its decoding step, beside mamba_ssm's CUDA and Triton kernels.

Shapes are batch, length and model width d: 2 d channels, 16 states, the gate z, D, and softplus inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bench.gpu import Row, Work, forward, forward_backward, optional, relative_error
from kernels.selective_scan import (
    selective_scan,
    selective_scan_reference,
    selective_scan_step,
    selective_scan_step_reference,
)

SHAPES = ((32, 1024, 256), (16, 2048, 512), (8, 4096, 1024), (8, 16384, 512), (8, 65536, 256))
QUICK = SHAPES[:2]
STEPS = ((32, 256), (256, 256), (32, 1024), (256, 1024))  # batch, d
STATES = 16
BF16_FORWARD, BF16_GRADIENT = 5e-3, 1e-2  # one rounding of the result is 2e-3; sums of a few such


def inputs(b: int, length: int, d: int) -> tuple[Tensor, ...]:
    """x, dt, A, B, C, D, z."""
    e = 2 * d

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape, device="cuda") * scale).bfloat16()

    A = -torch.arange(1, STATES + 1, device="cuda", dtype=torch.float32).repeat(e, 1)
    return (
        normal(b, length, e), normal(b, length, e, scale=0.5), A, normal(b, length, STATES),
        normal(b, length, STATES), torch.ones(e, device="cuda"), normal(b, length, e),
    )  # fmt: skip


def ours(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    return selective_scan(x, dt, A, B, C, D=D, z=z)[0]


def defined(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    return selective_scan_reference(x.float(), dt.float(), A, B.float(), C.float(), D=D, z=z.float())[0]


@functools.cache
def check(backward: bool) -> float:
    """Worst relative error of y, or of y and the gradients, on a small shape."""
    torch.manual_seed(0)
    leaves = [t.requires_grad_() for t in inputs(2, 250, 64)]
    y, wanted = ours(*leaves), defined(*leaves)
    if not backward:
        return relative_error([y], [wanted])
    dy = torch.randn_like(y)
    gradients = torch.autograd.grad(y, leaves, dy)
    return relative_error([y, *gradients], [wanted, *torch.autograd.grad(wanted, leaves, dy.float())])


def peers(arguments: tuple[Tensor, ...], backward: bool) -> dict[str, Work]:
    interface = optional("mamba_ssm.ops.selective_scan_interface")
    if interface is None or optional("selective_scan_cuda") is None:
        return {}
    x, dt, A, B, C, D, z = arguments

    def turned(tensor: Tensor) -> Tensor:  # its layout has the length last: given, not timed
        return tensor.transpose(1, 2).contiguous()

    def call(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Any:
        return interface.selective_scan_fn(x, dt, A, B, C, D, z=z, delta_softplus=True)

    theirs = (turned(x), turned(dt), A, turned(B), turned(C), D, turned(z))
    return {"mamba_ssm CUDA": forward_backward(call, theirs) if backward else forward(call, theirs)}


def rows(quick: bool) -> Iterator[Row]:
    for b, length, d in QUICK if quick else SHAPES:
        tokens, e = b * length, 2 * d
        arguments = inputs(b, length, d)
        for backward in (False, True):
            times = 3 if backward else 1
            yield Row(
                op="selective_scan",
                shape=f"b{b} l{length} d{d} n{STATES}",
                pass_="fwd+bwd" if backward else "fwd",
                ours=forward_backward(ours, arguments) if backward else forward(ours, arguments),
                peers=peers(arguments, backward),
                check=functools.partial(check, backward),
                limit=BF16_GRADIENT if backward else BF16_FORWARD,
                bytes=times * tokens * (8.0 * e + 4.0 * STATES),
                flops=times * 8.0 * tokens * e * STATES,
            )
    yield from step_rows(quick)


def check_step() -> float:
    torch.manual_seed(0)
    x, dt, B, C, z = (t[0] for t in (inputs(1, 5, 40)[i] for i in (0, 1, 3, 4, 6)))
    _, _, A, _, _, D, _ = inputs(1, 5, 40)
    state = torch.randn(5, 80, STATES, device="cuda")
    wanted_state = state.clone()
    wanted = selective_scan_step_reference(
        x.float(), dt.float(), A, B.float(), C.float(), wanted_state, D=D, z=z.float()
    )
    y = selective_scan_step(x, dt, A, B, C, state, D=D, z=z)
    return relative_error([y, state], [wanted, wanted_state])


def step_rows(quick: bool) -> Iterator[Row]:
    update = optional("mamba_ssm.ops.triton.selective_state_update")
    for b, d in STEPS[:2] if quick else STEPS:
        e = 2 * d
        x, dt, A, B, C, D, z = inputs(1, b, d)
        x, dt, B, C, z = (t[0] for t in (x, dt, B, C, z))
        state = torch.zeros(b, e, STATES, device="cuda")
        bias = torch.zeros(e, device="cuda")
        theirs: dict[str, Callable[[], object]] = {}
        if update is not None:
            theirs["mamba_ssm update"] = functools.partial(
                update.selective_state_update, state.clone(), x, dt, A, B, C, D, z=z, dt_bias=bias, dt_softplus=True
            )
        yield Row(
            op="selective_scan_step",
            shape=f"b{b} d{d} n{STATES}",
            pass_="step",
            ours=functools.partial(selective_scan_step, x, dt, A, B, C, state, D=D, z=z, dt_bias=bias),
            peers=theirs,
            check=check_step,
            limit=BF16_FORWARD,
            bytes=b * e * (8.0 * STATES + 8),
            flops=6.0 * b * e * STATES,
        )
