"""Which path a call takes, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from kernels import attention, dispatch
from kernels.dispatch import force, forget, report, runs_triton


@pytest.fixture(autouse=True)
def empty_report() -> Iterator[None]:
    forget()
    yield
    forget()


def test_tensors_of_the_cpu_take_the_definition() -> None:
    assert not runs_triton("scan", torch.zeros(2), None)
    path = report()["scan"]
    assert (path.last, path.triton, path.reference) == ("reference", 0, 1)
    assert path.why == "a tensor is on cpu"


def test_force_nests_and_ends_with_its_block() -> None:
    x = torch.zeros(2)
    with force("triton"):
        assert runs_triton("scan", x)
        with force("reference"):
            assert not runs_triton("scan", x)
        assert runs_triton("scan", x)
    with pytest.raises(RuntimeError, match="inside"), force("triton"):
        raise RuntimeError("inside")
    assert not runs_triton("scan", x)
    path = report()["scan"]
    assert (path.last, path.triton, path.reference) == ("reference", 2, 2)


def test_a_wrong_path_is_refused() -> None:
    with pytest.raises(ValueError, match="path 'cuda'"), force("cuda"):  # type: ignore[arg-type]
        pass


def test_the_report_is_a_copy_in_order_of_name() -> None:
    for op in ("ssd", "attention"):
        runs_triton(op, torch.zeros(1))
    found = report()
    assert list(found) == ["attention", "ssd"]
    found["ssd"].reference = 7
    assert report()["ssd"].reference == 1
    assert report()["ssd"].last == "reference"


def test_attention_says_that_it_is_pytorchs() -> None:
    x = torch.zeros(1, 3, 2, 4)
    attention(x, x, x)
    path = report()["attention"]
    assert (path.last, path.torch, path.triton, path.reference) == ("torch", 1, 0, 0)


def test_no_tensor_takes_the_definition() -> None:
    assert not runs_triton("scan")
    assert report()["scan"].why == "no tensor was given"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_of_a_gpu_take_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(2, device="cuda")
    assert runs_triton("scan", x, None)
    assert not runs_triton("scan", x, torch.zeros(2))
    assert not runs_triton("scan", x.double())
    assert report()["scan"].why == "a tensor is float64"
    monkeypatch.setattr(dispatch, "triton_missing", lambda: "triton cannot be imported: gone")
    assert not runs_triton("scan", x)
    assert report()["scan"].why == "triton cannot be imported: gone"
