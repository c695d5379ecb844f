"""The state-space mixing of Mamba-2 on a GPU: lengths, types, documents."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels import dispatch

# By its path: a package named tests may be installed where the kernels are tried.
_spec = importlib.util.spec_from_file_location("ssd_cases", Path(__file__).with_name("test_ssd.py"))
assert _spec and _spec.loader
_ssd: Any = importlib.util.module_from_spec(_spec)
sys.modules["ssd_cases"] = _ssd  # dataclasses look their module up
_spec.loader.exec_module(_ssd)
Case, compare = _ssd.Case, _ssd.compare

Close = Callable[..., None]
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32


def on_a_gpu(case: Any, dtype: torch.dtype, close: Close) -> None:
    compare(case, dtype, "cuda", close, {BF16: "bf16", F16: "fp16", F32: "fp32"}[dtype])
    assert dispatch.report()["ssd"].last == "triton"


@pytest.mark.gpu
@pytest.mark.parametrize("length", [1, 63, 64, 65, 500, 2048])
def test_lengths(length: int, close: Close, poisoned: None) -> None:
    on_a_gpu(Case(2, length, 4, 64, 1, 128), BF16, close)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [BF16, F16, F32], ids=str)
def test_documents(dtype: torch.dtype, close: Close, poisoned: None) -> None:
    on_a_gpu(Case(1, 500, 16, 64, 1, 64 if dtype == F32 else 128, documents=True), dtype, close)


@pytest.mark.gpu
def test_two_runs_are_equal_to_the_bit() -> None:
    gradients, inputs, leaves, run = (getattr(_ssd, name) for name in ("gradients", "inputs", "leaves", "run"))
    case, runs = Case(2, 2048, 4, 64, 1, 128), []
    for _ in range(2):
        tensors = leaves(inputs(case, BF16, "cuda"))
        y, state = run(tensors, case)
        runs.append([y, state, *gradients(y, state, tensors).values()])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
