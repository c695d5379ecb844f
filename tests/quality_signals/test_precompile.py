"""Compiling ahead leaves nothing to compile, and says what went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quality_signals import ANNOTATORS, precompile

COUNT = """
import quality_signals
from numba.core import event
from quality_signals.precompile import compile_families
with event.install_recorder("numba:compile") as seen:
    compile_families(["mc4@1"])
print(len(seen.buffer))
"""


def test_all_families_are_annotators() -> None:
    assert set(precompile.FAMILIES) <= set(ANNOTATORS)
    precompile.compile_families(["mc4@1", "stack_v2_pr@1"])


@pytest.mark.slow
def test_nothing_is_left_to_compile(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert "2 families" in run("-m", "quality_signals.precompile", "mc4@1", "bad_words@tfds")
    assert run("-c", COUNT).strip() == "0"


def test_a_family_without_its_extra_is_left_out_and_the_extra_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object) -> None:
        raise ImportError("pip install 'gristmill[code]'")

    monkeypatch.setattr("quality_signals.starcoder2.StarCoder2.annotate", missing)
    assert precompile._compile_family("starcoder2@1") == "starcoder2@1 left out: pip install 'gristmill[code]'"


def test_a_failure_names_the_family() -> None:
    with pytest.raises(RuntimeError, match="no-such@1"):
        precompile.main(["no-such@1"])
    with pytest.raises(SystemExit):
        precompile.main(["--processes", "0"])
