"""What the tests of the kernels share: the interpreter, the device, poisoned allocations, tolerances."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import torch

# Without a GPU the kernels run in Triton's interpreter, which triton decides on when a kernel is defined.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
# TF32 would hide errors a thousand times as large as those of float32.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False

Kind = Literal["fp64", "fp32", "fp32_gradient", "fp16", "fp16_gradient", "bf16", "bf16_gradient"]

# Largest ||got - want|| / ||want||.  A rounding is 2**-24 = 6e-8 in float32 and 2**-9 = 2e-3 in bfloat16; sums of a
# few thousand terms add a factor of about ten in float32, and results of bfloat16 are rounded once or twice.
TOLERANCES: dict[Kind, float] = {
    "fp64": 1e-11,
    "fp32": 2e-6,
    "fp32_gradient": 5e-6,  # sums over batch and length on top
    "fp16": 1e-3,
    "fp16_gradient": 2e-3,
    "bf16": 5e-3,
    "bf16_gradient": 1e-2,
}

Close = Callable[..., None]


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """||got - want|| / ||want|| in float64; not finite where got holds a NaN.  Of a zero `want`: ||got||."""
    got64, want64 = got.detach().to("cpu", torch.float64), want.detach().to("cpu", torch.float64)
    norm = want64.norm().item()
    return (got64 - want64).norm().item() / (norm or 1.0)


@pytest.fixture(scope="session")
def device() -> str:
    """The GPU where there is one; else "cpu", whose kernels are interpreted: small shapes, fp32 or fp16."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def close() -> Close:
    """close(got, want, kind, name=""): asserts shape and relative error, by TOLERANCES[kind] or a number."""

    def check(got: torch.Tensor, want: torch.Tensor, kind: Kind | float, name: str = "") -> None:
        assert got.shape == want.shape, f"{name}: shape {tuple(got.shape)}, {tuple(want.shape)} is right"
        limit = TOLERANCES[kind] if isinstance(kind, str) else kind
        error = relative_error(got, want)
        assert error <= limit, f"{name}: relative error {error:.2e}, at most {limit:.0e}"

    return check


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that torch.empty and its kin return is full of NaN (integers: of a large number)."""

    def poison(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def allocated(*args: object, **kwargs: object) -> torch.Tensor:
            tensor = allocate(*args, **kwargs)
            with torch.no_grad():
                if tensor.dtype == torch.bool:
                    tensor.fill_(True)
                elif tensor.is_floating_point():
                    tensor.fill_(float("nan"))
                else:
                    tensor.fill_(torch.iinfo(tensor.dtype).max // 3)
            return tensor

        return allocated

    monkeypatch.setattr(torch, "empty", poison(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poison(torch.empty_like))
    monkeypatch.setattr(torch, "empty_strided", poison(torch.empty_strided))
    monkeypatch.setattr(torch.Tensor, "new_empty", poison(torch.Tensor.new_empty))
    yield
