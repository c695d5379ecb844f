"""Decoding with the state of Mamba-2: steps, and replays from a checkpoint, against the recurrence in float64."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels import dispatch
from kernels.ssd import ssd_replay, ssd_step

# By its path: a package named tests may be installed where the kernels are tried.
_spec = importlib.util.spec_from_file_location("ssd_cases", Path(__file__).with_name("test_ssd.py"))
assert _spec and _spec.loader
_ssd: Any = importlib.util.module_from_spec(_spec)
sys.modules["ssd_cases"] = _ssd  # dataclasses look their module up
_spec.loader.exec_module(_ssd)
Case, define, inputs = _ssd.Case, _ssd.define, _ssd.inputs

Close = Callable[..., None]


@pytest.mark.parametrize("options", [True, False])
@pytest.mark.parametrize("path", ["triton", "reference"])
def test_steps_and_replays_equal_the_whole(path: str, options: bool, device: str, close: Close, poisoned: None) -> None:
    case = Case(2, 6, 4, 24, 2, 20, options=options)
    tensors = inputs(case, torch.float32, device)
    exact = {name: t.cpu().double() for name, t in tensors.items()}
    z = torch.randn(tensors["x"].shape, generator=torch.Generator().manual_seed(5)).to(device)
    y, state = define(exact, case)
    y = y * torch.nn.functional.silu(z.cpu().double())
    x, dt, A, B, C = (tensors[name] for name in ("x", "dt", "A", "B", "C"))
    given = {name: tensors.get(name) for name in ("D", "dt_bias")}
    start = tensors.get("state_in", torch.zeros(case.b, case.h, case.p, case.n, device=device))
    with dispatch.force(path):  # type: ignore[arg-type]
        own, ys = start.clone(), []
        for t in range(case.l):
            ys.append(ssd_step(own, x[:, t], dt[:, t], A, B[:, t], C[:, t], z=z[:, t], **given))
        close(torch.stack(ys, 1), y, "fp32", "steps")
        close(own, state, "fp32", "state after the steps")
        own = start.clone()
        got = ssd_replay(own, x, dt, A, B, C, new=3, z=z[:, -3:], **given)
        close(got, y[:, -3:], "fp32", "replayed tokens")
        assert torch.equal(own, start)
        ssd_replay(own, x[:, :4], dt[:, :4], A, B[:, :4], C[:, :4], new=0, fold=True, **given)
        got = ssd_replay(own, x[:, 4:], dt[:, 4:], A, B[:, 4:], C[:, 4:], new=2, z=z[:, 4:], fold=True, **given)
        close(got, y[:, 4:], "fp32", "tokens after a fold")
        close(own, state, "fp32", "state after two folds")


def test_a_token_of_no_duration_leaves_no_trace(device: str) -> None:
    case = Case(1, 6, 2, 16, 1, 16)
    tensors = inputs(case, torch.float32, device)
    x, dt, A, B, C, state, bias = (tensors[k] for k in ("x", "dt", "A", "B", "C", "state_in", "dt_bias"))
    dt[:, 2:4] = -torch.inf
    kept = [0, 1, 4, 5]
    with dispatch.force("triton"):
        got = ssd_replay(state, x, dt, A, B, C, dt_bias=bias)
        want = ssd_replay(state, x[:, kept], dt[:, kept], A, B[:, kept], C[:, kept], dt_bias=bias)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("p,n", [(64, 128), (50, 77), (128, 16)])
def test_decoding_on_a_gpu(p: int, n: int, close: Close, poisoned: None) -> None:
    case = Case(5, 9, 8, p, 2, n)
    tensors = inputs(case, torch.bfloat16, "cuda")
    y, state = define({name: t.cpu().double() for name, t in tensors.items()}, case)
    x, dt, A, B, C, own = (tensors[name] for name in ("x", "dt", "A", "B", "C", "state_in"))
    given = {name: tensors[name] for name in ("D", "dt_bias")}
    start, ys = own.clone(), []
    for t in range(case.l):
        ys.append(ssd_step(own, x[:, t], dt[:, t], A, B[:, t], C[:, t], **given))
    close(torch.stack(ys, 1), y, "bf16")
    close(own, state, "fp32")
    close(ssd_replay(start, x, dt, A, B, C, new=4, fold=True, **given), y[:, -4:], "bf16")
    close(start, state, "fp32")
