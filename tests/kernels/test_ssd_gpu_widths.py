"""The state-space mixing of Mamba-2 on a GPU: widths, groups."""

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
@pytest.mark.parametrize(
    "case",
    [
        Case(2, 500, 4, 64, 2, 16),
        Case(2, 500, 4, 32, 1, 128),
        Case(2, 500, 4, 128, 4, 64),
        Case(2, 500, 3, 50, 1, 77),
    ],
    ids=str,
)
def test_widths(case: Any, close: Close, poisoned: None) -> None:
    on_a_gpu(case, BF16, close)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "case,dtype",
    [
        (Case(2, 500, 4, 64, 1, 128, options=False), BF16),
        (Case(3, 130, 8, 64, 1, 128, 16), BF16),
        (Case(2, 500, 4, 64, 4, 64), BF16),
        (Case(2, 130, 2, 64, 1, 160), BF16),
        (Case(2, 500, 4, 128, 1, 128, documents=True), F16),
        (Case(2, 500, 4, 32, 2, 16), F16),
        (Case(2, 2048, 4, 64, 2, 128, documents=True), F32),
        (Case(2, 65, 3, 50, 1, 77), F32),
    ],
    ids=str,
)
def test_more_widths(case: Any, dtype: torch.dtype, close: Close, poisoned: None) -> None:
    on_a_gpu(case, dtype, close)
