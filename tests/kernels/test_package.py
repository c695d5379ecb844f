"""The package as a whole: it needs neither triton nor a GPU, and documents every public function."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kernels

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = sorted(set(kernels.__all__) - {"Path", "forget", "report"})


def test_the_import_needs_no_triton() -> None:
    code = (
        "import sys\n"
        "sys.modules['triton'] = None  # an import raises\n"
        "import kernels, torch\n"
        "x = torch.ones(1, 4, 3)\n"
        "y, _ = kernels.causal_conv1d(x, torch.ones(3, 2), activation=None)\n"
        "assert y[0, 1, 0] == 2, y\n"
        "assert kernels.report()['causal_conv1d'].last == 'reference'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_say_what_they_compute(name: str) -> None:
    function = getattr(kernels, name)
    assert callable(function) and not isinstance(function, type(sys))
    first, *rest = (function.__doc__ or "").strip().splitlines()
    assert len(first) > 20, f"{name}: the first line of its docstring is the formula"
    assert any("[" in line for line in rest), f"{name}: shapes in a column"


def test_every_operation_with_kernels_can_be_compiled_without_a_gpu() -> None:
    folders = {path.parent for path in (ROOT / "kernels").glob("*/tiles.py")}
    assert folders == {path.parent for path in (ROOT / "kernels").glob("*/ahead_of_time.py")}
