"""Compiling ahead leaves nothing to compile, is shared by processes, and says what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from quality_signals import ANNOTATORS, kernel_cache, kernel_list, precompile
from quality_signals.rpv2_lists import WordTable

# How many kernels were compiled, and those that were called and do not stand in the list.
COUNT = """
import sys
from numba.core import event
from quality_signals import kernel_list
from quality_signals.kernel_compiler import Kernel
from quality_signals.precompile import compile_families
with event.install_recorder("numba:compile") as seen:
    compile_families(sys.argv[1:])
listed = {(module, name, str(arguments)) for module, name, arguments in kernel_list.entries()}
called = {(*kernel_list.name_of(k).split(":"), str([kernel_list.encoded(t) for t in sig])) for k, sig in Kernel.called}
print(len(seen.buffer), sorted(called - listed))
"""


# (Families of code need an extra.)
WEB = [name for name in precompile.FAMILIES if not name.startswith(("code", "star", "stack"))]


def run(*command: str, cache: Path | None = None) -> str:
    environment = {**os.environ, **({"NUMBA_CACHE_DIR": str(cache)} if cache else {})}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_families_are_annotators() -> None:
    assert set(precompile.FAMILIES) <= set(ANNOTATORS)


def test_all_kernels_that_families_call_are_listed() -> None:
    """Where it fails: python -m quality_signals.precompile --record"""
    assert run("-c", COUNT, *WEB).partition(" ")[2] == "[]"


@pytest.mark.slow
def test_nothing_is_left_to_compile(tmp_path: Path) -> None:
    assert "Kernels compiled in" in run("-m", "quality_signals.precompile", cache=tmp_path)
    assert run("-c", COUNT, *WEB, cache=tmp_path) == "0 []"


def test_types_are_written_as_they_are_read() -> None:
    numbers = numba.types.Array(numba.int64, 1, "C")
    matrix = numba.types.Array(numba.uint8, 2, "C", readonly=True)
    table = numba.types.BaseTuple.from_types((numbers, numbers, matrix), WordTable)
    for of in (numba.boolean, numba.float64, numbers, numba.types.Tuple((numbers, numba.uint32)), table):
        written = json.loads(json.dumps(kernel_list.encoded(of)))
        assert kernel_list.decoded(written) == of
    with pytest.raises(ValueError, match="arrays without gaps"):
        kernel_list.encoded(numba.types.Array(numba.int64, 1, "A"))


def test_kernels_that_are_gone_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [
        ("quality_signals.text_batch", "no_kernel", ["int64"]),
        ("quality_signals.text_batch", "TextBatch", ["int64"]),
        ("quality_signals.text_batch", "_decode", [["quality_signals.rpv2_lists:NoTable", "int64"]]),
        ("quality_signals.no_module", "_decode", ["uint8:1:r", "uint32:1"]),
        ("quality_signals.text_batch", "_decode", ["uint8:1:r", "uint32:1"]),
    ]
    monkeypatch.setattr(kernel_list, "entries", lambda: gone)
    modules = [module for module, _, _ in gone]
    assert [kernel_list.name_of(each.kernel) for each in kernel_list.listed(modules)] == [
        "quality_signals.text_batch:_decode"
    ]


def test_types_that_a_kernel_does_not_take_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernel_list, "entries", lambda: [("quality_signals.text_batch", "_decode", ["int64"])])
    monkeypatch.setattr(kernel_cache, "start_helpers", lambda: pytest.fail("helpers of helpers"))
    assert precompile.main(["--processes", "1"]) == 1
    assert "quality_signals.text_batch:_decode: " in capsys.readouterr().err


def test_wrong_calls_say_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        precompile.main(["--processes", "0"])
    with pytest.raises(SystemExit):
        precompile.main(["quality_signals.urls"])
    assert "no listed kernels in quality_signals.urls; there are some in" in capsys.readouterr().err


LOCKS = """
import subprocess, sys
from quality_signals.text_batch import _count_points, _decode
cache = _decode._cache
if sys.argv[1:]:
    print(cache.lock(wait=False), _count_points._cache.lock(wait=False))
else:
    assert cache.lock()
    subprocess.run([sys.executable, "-c", sys.orig_argv[2], "other"], check=True)
    cache.unlock()
    subprocess.run([sys.executable, "-c", sys.orig_argv[2], "other"], check=True)
"""


def test_one_process_compiles_a_kernel_and_the_others_wait(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    assert run("-c", LOCKS, cache=tmp_path).split() == ["False", "True", "True", "True"]


def test_helpers_are_started_once_and_where_enough_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = kernel_list.listed(["quality_signals.text_batch"])[:1]
    started: list[list[str]] = []

    class Helper:
        def __init__(self, modules: list[str], **_: object) -> None:
            started.append(modules)

        def poll(self) -> None:
            return None

    monkeypatch.setattr(kernel_cache, "helper", Helper)
    monkeypatch.setattr(kernel_cache, "_helpers", [])
    monkeypatch.setattr(kernel_cache, "processors", lambda: 3)
    monkeypatch.setattr(kernel_cache.KernelCache, "lock", lambda *_, **__: True)
    monkeypatch.setattr(kernel_cache, "missing", lambda _: listed * 7)
    kernel_cache.start_helpers()
    assert not started
    monkeypatch.setattr(kernel_cache, "missing", lambda _: listed * 8)
    kernel_cache.start_helpers()
    kernel_cache.start_helpers()
    assert started == [["quality_signals.text_batch"]] * 2
