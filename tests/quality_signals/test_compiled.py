"""Compiled kernels: kept between processes, and made anew when a kernel of another module changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from quality_signals import compiled

CALLER = """
from quality_signals.compiled import njit
from quality_signals.callee import inner

@njit()
def outer(x):
    return inner(x) + 1

print(outer(1), sum(outer.stats.cache_hits.values()))
"""
CALLEE = """
from quality_signals.compiled import njit

@njit()
def inner(x):
    return x * {factor}
"""


def run(root: Path, factor: int) -> list[str]:
    package = root / "quality_signals"
    package.mkdir(exist_ok=True)
    shutil.copy(compiled.__file__, package / "compiled.py")
    (package / "__init__.py").touch()
    (package / "callee.py").write_text(CALLEE.format(factor=factor))
    (package / "caller.py").write_text(CALLER)
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
    assert run(tmp_path, 10) == ["11", "0"]
    assert run(tmp_path, 10) == ["11", "1"]
    assert run(tmp_path, 20) == ["21", "0"]


def test_every_module_with_kernels_is_part_of_the_stamp() -> None:
    root = Path(compiled.__file__).parent.parent
    packages = {
        path.relative_to(root).parts[0]
        for package in ("quality_signals", "dedup", "pii", "licenses", "pipelines", "eval_models", "kernels")
        for path in (root / package).rglob("*.py")
        if "import njit" in path.read_text(encoding="utf-8")
    }
    assert packages <= set(compiled.PACKAGES)
