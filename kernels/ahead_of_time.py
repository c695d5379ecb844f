"""Compiles every kernel in every chosen configuration for sm_90, without a GPU, and reads what came out.

    python -m kernels.ahead_of_time              every operation
    python -m kernels.ahead_of_time ssd norms    some of them

Each operation's folder has a module `ahead_of_time` with `builds() -> list[Build]`.  One table is printed; the exit
code is 1 if a kernel spills registers, needs more shared memory than there is, or has no tensor-core instruction
where its Build says that it multiplies matrices.

Sources: an H100 SM has 65,536 registers, 64 warps, 32 programs and 228 KB of shared memory, of which one program
has at most 227 KB, and 1 KB a program is the system's (CUDA C++ Programming Guide, compute capability 9.0).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_CAPABILITY = 90
_SHARED_LIMIT = 227 * 1024
_SM_SHARED = 228 * 1024
_SM_REGISTERS = 65_536
_SM_WARPS = 64
_SM_PROGRAMS = 32


@dataclasses.dataclass(frozen=True)
class Build:
    """One kernel in one configuration."""

    op: str  # folder of the operation
    label: str  # what is built, short: "forward bf16 n128"
    kernel: Any  # the @triton.jit or @gluon.jit function
    # Every argument that is no constexpr: "*bf16", "*fp32", "i32", "fp32".  Pointers count as aligned to 16 bytes, as
    # torch allocates them, and integers as any: "*bf16:1" and "i32:16" say otherwise, as a call would.
    signature: Mapping[str, str]
    constants: Mapping[str, object]  # constexprs, and arguments that a call specialises: None, the integer 1
    num_warps: int
    num_stages: int
    tensor_cores: bool  # it multiplies matrices of 16-bit numbers


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one program of a compiled kernel takes."""

    registers: int  # a thread
    spilled_bytes: int  # a thread; its stack frame
    shared_bytes: int
    tensor_core_instructions: int  # HGMMA (four warps at once) and HMMA, in the machine code

    def programs_per_sm(self, num_warps: int) -> int:
        """How many programs one SM of an H100 holds at once."""
        registers = -(-self.registers // 8) * 8 * 32 * num_warps
        shared = self.shared_bytes + 1024
        return min(_SM_PROGRAMS, _SM_WARPS // num_warps, _SM_REGISTERS // registers, _SM_SHARED // shared)


def _tool(name: str) -> str:
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def compile_to_asm(build: Build) -> Any:
    """triton's CompiledKernel for sm_90: `.asm["ptx"]`, `.asm["cubin"]`, `.metadata`.  RuntimeError if interpreted."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    kernel = build.kernel
    if not isinstance(kernel, JITFunction):
        raise RuntimeError(f"{build.op}: {build.label}: not a compiled function; run without TRITON_INTERPRET")
    source = ASTSource
    if getattr(kernel, "is_gluon", lambda: False)():
        from triton.experimental.gluon._runtime import GluonASTSource

        source = GluonASTSource
    signature, attributes = {}, {}
    for i, name in enumerate(kernel.arg_names):
        if name in build.constants:
            signature[name] = "constexpr"
            continue
        if name not in build.signature:
            raise ValueError(f"{build.op}: {build.label}: argument {name} is neither in signature nor in constants")
        kind, _, divisor = build.signature[name].partition(":")
        signature[name] = kind
        if divisor == "16" or (not divisor and kind.startswith("*")):
            attributes[(i,)] = [["tt.divisibility", 16]]
    unknown = (set(build.signature) | set(build.constants)) - set(kernel.arg_names)
    if unknown:
        raise ValueError(f"{build.op}: {build.label}: {kernel.__name__} has no argument {sorted(unknown)}")
    options = {"num_warps": build.num_warps, "num_stages": build.num_stages}
    target = GPUTarget("cuda", _CAPABILITY, 32)
    return triton.compile(source(kernel, signature, dict(build.constants), attributes), target=target, options=options)


def compile_build(build: Build) -> Resources:
    """Compiles for sm_90 (about a second; triton's disk cache is used) and reads resources and machine code."""
    compiled = compile_to_asm(build)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        usage = _run(_tool("cuobjdump"), "--dump-resource-usage", str(cubin))
        code = _run(_tool("nvdisasm"), "-c", str(cubin))
    found = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    return Resources(
        registers=found["REG"],
        spilled_bytes=found["STACK"] + found["LOCAL"],
        shared_bytes=int(compiled.metadata.shared),
        tensor_core_instructions=len(re.findall(r"\b(?:HGMMA|HMMA)\.", code)),
    )


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def faults(build: Build, found: Resources) -> list[str]:
    """What forbids this configuration; empty if nothing does."""
    wrong = []
    if found.spilled_bytes:
        wrong.append(f"{found.spilled_bytes} bytes spilled")
    if found.shared_bytes > _SHARED_LIMIT:
        wrong.append(f"shared memory above {_SHARED_LIMIT}")
    if build.tensor_cores and not found.tensor_core_instructions:
        wrong.append("no tensor-core instruction")
    return wrong


def operations() -> list[str]:
    """The folders of this package that say what they build."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/ahead_of_time.py"))


def builds(op: str) -> list[Build]:
    found: list[Build] = importlib.import_module(f"kernels.{op}.ahead_of_time").builds()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kernels.ahead_of_time", description=__doc__.partition("\n")[0])
    parser.add_argument("ops", nargs="*", metavar="op", help=f"of {', '.join(operations())}; all if none is given")
    wanted = parser.parse_args(arguments).ops or operations()
    unknown = sorted(set(wanted) - set(operations()))
    if unknown:
        parser.error(f"no such operation: {', '.join(unknown)}; there are {', '.join(operations())}")
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        parser.error("TRITON_INTERPRET is set: nothing would be compiled")
    failed = 0
    print(f"{'op':<16s} {'build':<44s} {'kernel':<32s} warps stages regs spilled shared per-SM tensor-cores")
    for op in wanted:
        for build in builds(op):
            try:
                found = compile_build(build)
            except Exception as error:  # every build is to be reported, not the first that fails
                failed += 1
                last = str(error).strip().splitlines() or [""]
                print(f"{op:<16s} {build.label:<44s} FAILED {type(error).__name__}: {last[-1][:200]}")
                continue
            wrong = faults(build, found)
            failed += bool(wrong)
            print(
                f"{op:<16s} {build.label:<44s} {build.kernel.__name__:<32s} {build.num_warps:5d} {build.num_stages:6d} "
                f"{found.registers:4d} {found.spilled_bytes:7d} {found.shared_bytes:6d} "
                f"{found.programs_per_sm(build.num_warps):6d} {found.tensor_core_instructions:12d}"
                + (f"  FAILED {', '.join(wrong)}" if wrong else ""),
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
