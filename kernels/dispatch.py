"""Which path an operation takes: its Triton kernels, or the plain PyTorch definition; attention takes PyTorch's own.

* The decision falls in one place and is recorded: `report()` says what ran, how often and why.
* Kernels run where every tensor lies on one CUDA device of compute capability 8.0 or newer, none is float64, and
  triton can be imported.  Everything else runs the definition.
* `force` overrides the decision for tests: Triton's interpreter runs kernels on tensors of the CPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

PathName = Literal["triton", "reference", "torch"]

_OLDEST_CAPABILITY = (8, 0)  # bf16 products on tensor cores, asynchronous copies


@dataclasses.dataclass(slots=True)
class Path:
    """What an operation ran since the last `forget`."""

    last: PathName  # of the latest call
    why: str  # of the latest call
    triton: int = 0  # calls that ran the kernels
    reference: int = 0  # calls that ran the definition
    torch: int = 0  # calls that ran fused kernels of PyTorch


_paths: dict[str, Path] = {}
_forced: list[PathName] = []


@functools.cache
def triton_missing() -> str | None:
    """Why triton cannot be imported; None if it can."""
    try:
        importlib.import_module("triton")
    except Exception as error:  # a broken driver raises errors of its own
        return f"triton cannot be imported: {type(error).__name__}: {error}"
    return None


@functools.cache
def _capability(index: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


def _decide(tensors: tuple[Tensor | None, ...]) -> tuple[PathName, str]:
    if _forced:
        return _forced[-1], "forced"
    device = None
    for tensor in tensors:
        if tensor is None:
            continue
        if not tensor.is_cuda:
            return "reference", f"a tensor is on {tensor.device}"
        if tensor.dtype == torch.float64:
            return "reference", "a tensor is float64"
        if device is None:
            device = tensor.device
        elif tensor.device != device:
            return "reference", f"tensors are on {device} and {tensor.device}"
    if device is None:
        return "reference", "no tensor was given"
    missing = triton_missing()
    if missing is not None:
        return "reference", missing
    index = device.index if device.index is not None else torch.cuda.current_device()
    found = _capability(index)
    if found < _OLDEST_CAPABILITY:
        return "reference", f"compute capability {found[0]}.{found[1]}; 8.0 is needed"
    return "triton", "all tensors are on a CUDA device"


def runs_triton(op: str, *tensors: Tensor | None) -> bool:
    """True if this call of `op` runs its Triton kernels.  Records the decision.  None among the tensors is skipped."""
    name, why = _decide(tensors)
    record(op, name, why)
    return name == "triton"


def record(op: str, name: PathName, why: str) -> None:
    """Counts a call of `op` that takes this path."""
    path = _paths.get(op)
    if path is None:
        path = _paths[op] = Path(name, why)
    path.last, path.why = name, why
    setattr(path, name, getattr(path, name) + 1)


@contextlib.contextmanager
def force(path: PathName) -> Iterator[None]:
    """Every call inside takes `path`, whatever its tensors.  Backward passes follow their forward pass."""
    if path not in ("triton", "reference"):
        raise ValueError(f"force: path {path!r}; 'triton' or 'reference' is needed")
    _forced.append(path)
    try:
        yield
    finally:
        _forced.pop()


def report() -> dict[str, Path]:
    """The path of every operation that was called, by name: a copy."""
    return {op: dataclasses.replace(path) for op, path in sorted(_paths.items())}


def forget() -> None:
    """Empties the report."""
    _paths.clear()
