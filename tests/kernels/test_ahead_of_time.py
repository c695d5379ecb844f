"""Every kernel in every chosen configuration compiles for sm_90 without spilling, with tensor cores where meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.ahead_of_time import Build, Resources, faults, operations

pytest.importorskip("triton")

ROOT = Path(__file__).resolve().parents[2]
# Interpreted functions cannot be compiled, and the tests of the kernels interpret them: so in processes of their own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {
    "PYTHONPATH": str(ROOT)
}

KERNELS = """
import sys

import triton
import triton.language as tl

from kernels.ahead_of_time import Build, compile_build, faults


@triton.jit
def multiply(a_ptr, b_ptr, c_ptr, k, scale, SIZE: tl.constexpr):
    i = tl.arange(0, SIZE)
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for j in range(0, k, SIZE):
        a = tl.load(a_ptr + i[:, None] * k + j + i[None, :])
        b = tl.load(b_ptr + (j + i[:, None]) * SIZE + i[None, :])
        total = tl.dot(a, b, total)
    if scale is not None:
        total *= scale
    tl.store(c_ptr + i[:, None] * SIZE + i[None, :], total)


def build(size, dtype, warps, cores, **more):
    signature = {"a_ptr": f"*{dtype}", "b_ptr": f"*{dtype}", "c_ptr": "*fp32", "k": "i32:16"} | more
    return Build("toy", "toy", multiply, signature, {"SIZE": size, "scale": None}, warps, 3, cores)


good = compile_build(build(64, "bf16", 4, True))
assert good.tensor_core_instructions and not faults(build(64, "bf16", 4, True), good), good
assert 16 < good.registers < 256 and good.shared_bytes >= 64 * 64 * 2 * 2, good
spilling = compile_build(build(128, "bf16", 1, True))
assert spilling.spilled_bytes and "spilled" in faults(build(128, "bf16", 1, True), spilling)[0], spilling
for wrong, said in ((build(64, "bf16", 4, True, d_ptr="*fp32"), "no argument ['d_ptr']"),):
    try:
        compile_build(wrong)
    except ValueError as error:
        assert said in str(error), error
    else:
        raise AssertionError(said)
missing = build(64, "bf16", 4, True)
del missing.signature["k"]
try:
    compile_build(missing)
except ValueError as error:
    assert "argument k is neither" in str(error), error
else:
    raise AssertionError
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )


def test_reads_registers_spills_shared_memory_and_tensor_cores(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(KERNELS)
    done = run(str(tmp_path / "toy.py"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_faults() -> None:
    plain = Build("o", "l", None, {}, {}, 4, 2, False)
    assert faults(plain, Resources(255, 0, 227 * 1024, 0)) == []
    assert faults(plain, Resources(32, 8, 228 * 1024, 0)) == ["8 bytes spilled", "shared memory above 232448"]
    product = Build("o", "l", None, {}, {}, 4, 2, True)
    assert faults(product, Resources(32, 0, 0, 0)) == ["no tensor-core instruction"]


def test_programs_per_sm() -> None:
    assert Resources(32, 0, 0, 0).programs_per_sm(4) == 16  # 64 warps
    assert Resources(32, 0, 0, 0).programs_per_sm(1) == 32  # 32 programs
    assert Resources(128, 0, 0, 0).programs_per_sm(4) == 4  # 65,536 registers
    assert Resources(33, 0, 0, 0).programs_per_sm(8) == 6  # registers come by eights
    assert Resources(32, 0, 100 * 1024, 0).programs_per_sm(4) == 2  # 228 KB, one of them the system's for each


def test_an_unknown_operation_and_the_interpreter_are_refused() -> None:
    done = run("-m", "kernels.ahead_of_time", "no_such_operation")
    assert done.returncode == 2 and "no_such_operation" in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "kernels.ahead_of_time"],
        cwd=ROOT,
        env=ENVIRONMENT | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "TRITON_INTERPRET" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("op", operations())
def test_every_configuration_of(op: str) -> None:
    done = run("-m", "kernels.ahead_of_time", op)
    assert done.returncode == 0, done.stdout + done.stderr
