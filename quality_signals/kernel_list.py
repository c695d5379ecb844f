"""The kernels that the rule families call, with the types of their arguments, in the order of a run of all families.

Types are known only when a kernel is called; from the list (`kernels.json`) kernels are compiled without running
anything, by several processes at once.  A kernel that is not listed is compiled when it is called, one that does not
exist any more is passed over.

    python -m quality_signals.precompile --record      writes the list anew, after a change of kernels

A type is written as numba's name of a number, `uint8:1` for a contiguous array of one dimension, `uint8:1:r` for one
that is read only, and a list for a tuple, which begins with module:class where it has one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
from numba.core import types
from numba.core.registry import CPUDispatcher

LIST = Path(__file__).parent / "kernels.json"


@dataclasses.dataclass(frozen=True)
class Listed:
    """A kernel (`kernel_compiler.Kernel`) and the types of its arguments."""

    module: str
    kernel: Any
    types: tuple[Any, ...]

    @property
    def cache(self) -> Any:
        return self.kernel._cache


def listed(modules: Iterable[str]) -> list[Listed]:
    """The kernels of these modules."""
    found, chosen = [], set(modules)
    for module, name, arguments in entries():
        if module in chosen:
            # It may be another release's list, as long as that one is not written anew.
            with contextlib.suppress(ImportError, AttributeError, TypeError):
                kernel = getattr(importlib.import_module(module), name)
                if isinstance(kernel, CPUDispatcher):
                    found.append(Listed(module, kernel, tuple(map(decoded, arguments))))
    return found


@lru_cache(maxsize=1)
def entries() -> list[tuple[str, str, list[Any]]]:
    """Module, name and types of each listed kernel."""
    kernels = json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else []
    return [(*kernel.split(":"), arguments) for kernel, arguments in kernels]


def write(kernels: Iterable[tuple[Any, tuple[Any, ...]]]) -> None:
    """Writes the list: kernels with types."""
    lines = (json.dumps([name_of(kernel), [encoded(each) for each in sig]]) for kernel, sig in kernels)
    LIST.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def name_of(kernel: Any) -> str:
    return f"{kernel.py_func.__module__}:{kernel.py_func.__qualname__}"


def encoded(of: Any) -> Any:
    if isinstance(of, types.Array):
        if of.layout != "C" or not of.aligned:
            raise ValueError(f"kernels take arrays without gaps, not {of}")
        return f"{of.dtype}:{of.ndim}{'' if of.mutable else ':r'}"
    if isinstance(of, types.BaseTuple):
        named = getattr(of, "instance_class", None)
        return [*([f"{named.__module__}:{named.__qualname__}"] if named else [":"]), *map(encoded, cast(Any, of).types)]
    return str(of)


def decoded(written: Any) -> Any:
    """Raises TypeError or AttributeError for a number or a class that does not exist."""
    if isinstance(written, list):
        module, _, name = written[0].partition(":")
        named = getattr(importlib.import_module(module), name) if name else tuple
        return types.BaseTuple.from_types(tuple(map(decoded, written[1:])), named)
    number, *array = written.split(":")
    scalar = numba.from_dtype(np.dtype(number))
    return types.Array(scalar, int(array[0]), "C", readonly=array[1:] == ["r"]) if array else scalar
