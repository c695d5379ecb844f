"""The bench of the kernels as far as it needs no GPU: its table, its errors, and that every group can be imported."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import gpu


def record(by: str, **more: Any) -> dict[str, Any]:
    return {"group": "norm", "op": "rms_norm", "pass": "fwd", "shape": "b16", "by": by, **more}


def test_a_row_stands_beside_the_fastest_peer() -> None:
    lines = gpu.table(
        [
            record("kernels", ms=0.05, graph_ms=0.04, gb_per_s=2000.0, tflop_per_s=1.0, error=1e-3, peak_mib=3.0),
            record("slow", ms=0.2, graph_ms=0.1),
            record("fast", ms=0.1),
            record("broken", note="RuntimeError: no"),
        ],
        copy=4000.0,
        product=800.0,
    ).splitlines()
    assert len(lines) == 2
    row = lines[1].split()
    assert row[:5] == ["rms_norm", "fwd", "b16", "0.0500", "0.0400"]
    assert row[5:10] == ["fast", "0.1000", "0.1000", "2.00", "2.50"]  # each column against the best peer in it
    assert row[10] == "62"  # 2000 GB/s at 0.05 ms are 2500 at 0.04
    assert "broken: RuntimeError: no" in lines[1]


def test_a_row_that_failed_its_check_has_no_time() -> None:
    text = gpu.table([record("kernels", failed="relative error 1e+00, at most 5e-03")], 1.0, 1.0)
    assert "FAILED: relative error 1e+00" in text


def test_errors() -> None:
    one, nan = torch.ones(2), torch.full((2,), math.nan)
    assert gpu.relative_error([one], [one]) == 0
    assert gpu.relative_error([one, nan], [one, one]) == math.inf
    assert gpu.relative_error([None], [one]) == math.inf
    assert gpu.relative_error([None], [None]) == 0


@pytest.mark.parametrize("group", gpu.modules())
def test_every_group_can_be_imported(group: str) -> None:
    assert callable(importlib.import_module(f"bench.gpu_rows_{group}").rows)
    assert all(isinstance(environment, dict) for environment in gpu.environments(group))


def test_results_of_each_group_are_written_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(gpu, "ceilings", lambda: (4000.0, 800.0))
    monkeypatch.setattr(gpu, "modules", lambda: ["good", "late", "wrong"])
    monkeypatch.setattr(gpu, "environments", lambda group: [{}])

    def run(group: str, args: Any, sink: Path, environment: dict[str, str]) -> str | None:
        found = {"good": record("kernels", ms=1.0), "late": {"absent": {"fla": "gone"}}}
        found["wrong"] = record("kernels", failed="check: ValueError: x")
        sink.write_text(json.dumps(found[group]) + "\n")
        return "group late: not done after 1 s" if group == "late" else None

    monkeypatch.setattr(gpu, "_time_group", run)
    assert gpu.main(["--jobs", "0", "--output", str(tmp_path / "results" / "gpu.jsonl")]) == 1
    lines = [json.loads(line) for line in (tmp_path / "results" / "gpu.jsonl").read_text().splitlines()]
    assert [line["device"] for line in lines] == ["a card"] * 2
    assert lines[0]["ms"] == 1.0 and "failed" in lines[1] and lines[0]["commit"]
    said = capsys.readouterr().out
    assert "group late: not done after 1 s" in said and "no peer fla: gone" in said and "check: ValueError: x" in said


def test_the_first_parts_of_a_work_are_made_once() -> None:
    rows = importlib.import_module("bench.gpu_rows_training")
    made: list[int] = []

    def build() -> Any:
        made.append(1)
        return lambda: len(made)

    work = rows.lazily(build)
    assert made == [] and work() == 1 and work() == 1
