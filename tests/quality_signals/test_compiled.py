"""Compiled kernels: kept between processes, and made anew when a kernel of another module changes."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.caching import NullCache
from numba.core.registry import CPUDispatcher

from quality_signals import compiled

CALLER = """
from quality_signals.compiled import njit
from quality_signals.callee import inner

@njit()
def outer(x):
    return inner(x) + 1

print(outer(1), sum(outer.stats.cache_hits.values()), type(outer).__name__)
"""
# The version of numba before it; the number is not what decides where numba's inside is as it was.
OTHER_NUMBA = "import numba\nnumba.__version__ = '{}'\n"
CALLEE = """
from quality_signals.compiled import njit

@njit()
def inner(x):
    return x * {factor}
"""


def run(root: Path, factor: int, version: str | None = None) -> list[str]:
    package = root / "quality_signals"
    package.mkdir(exist_ok=True)
    for name in ("compiled.py", "kernel_compiler.py", "kernel_cache.py", "kernel_list.py"):
        shutil.copy(Path(compiled.__file__).parent / name, package / name)
    (package / "__init__.py").touch()
    (package / "callee.py").write_text(CALLEE.format(factor=factor))
    (package / "caller.py").write_text((OTHER_NUMBA.format(version) if version else "") + CALLER)
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "quality_signals.caller"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_changed_callee_in_another_module_is_compiled_anew_and_nothing_else(tmp_path: Path) -> None:
    assert run(tmp_path, 10) == ["11", "0", "Kernel"]
    assert run(tmp_path, 10) == ["11", "1", "Kernel"]
    assert run(tmp_path, 20) == ["21", "0", "Kernel"]


def test_another_version_of_numba_compiles_by_itself_and_keeps_the_same_stamp(tmp_path: Path) -> None:
    assert run(tmp_path, 10, "0.70.0") == ["11", "0", "CPUDispatcher"]
    assert run(tmp_path, 10, "0.70.0") == ["11", "1", "CPUDispatcher"]
    assert run(tmp_path, 20, "0.70.0") == ["21", "0", "CPUDispatcher"]


def test_every_module_with_kernels_is_part_of_the_stamp() -> None:
    root = Path(compiled.__file__).parent.parent
    packages = {
        path.relative_to(root).parts[0]
        for package in ("quality_signals", "dedup", "pii", "licenses", "pipelines", "eval_models", "kernels")
        for path in (root / package).rglob("*.py")
        if "import njit" in path.read_text(encoding="utf-8")
    }
    assert packages <= set(compiled.PACKAGES)


@compiled.njit(error_model="numpy")
def _sum_from(numbers, start):  # type: ignore[no-untyped-def]
    total = 0
    for i in range(start, len(numbers)):
        total += numbers[i]
    return total


@compiled.njit(error_model="numpy")
def _sums(numbers, start):  # type: ignore[no-untyped-def]
    return _sum_from(numbers, 0) + _sum_from(numbers, start) + _sum_from(numbers, 1)


def test_a_kernel_is_compiled_once_for_others_whatever_constants_they_give_and_once_for_python() -> None:
    numbers = np.arange(5)
    kernel: Any = _sum_from
    kernel._cache = _sums._cache = NullCache()  # type: ignore[attr-defined]
    assert _sums(numbers, 2) == 10 + 9 + 10
    assert len(kernel._part.overloads) == 1
    assert not kernel.overloads  # nothing for Python before Python asks
    assert kernel(numbers, 3) == 7
    assert len(kernel.overloads) == 1


def test_looking_for_garbage_goes_on_after_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    collecting: list[bool] = []
    kernel: Any = _sums
    monkeypatch.setattr(CPUDispatcher, "compile", lambda *_: collecting.append(gc.isenabled()))
    kernel.compile("")
    assert collecting == [False] and gc.isenabled() and gc.get_freeze_count() == 0
    gc.disable()
    try:
        kernel.compile("")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_kernels_are_pickled() -> None:
    assert pickle.loads(pickle.dumps(_sums)) is _sums
