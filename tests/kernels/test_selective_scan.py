"""The selective scan against its definition, in float64, for every argument and shape class."""

from __future__ import annotations

import pytest
import torch

from kernels import selective_scan
from kernels.selective_scan import reference as reference_module
from kernels.selective_scan import scan_sequential

F64 = torch.float64
NAMES = ("x", "dt", "A", "B", "C", "D", "state_in")
# (b, l, e, n, chunk): odd lengths, one step, a width that is no multiple of a vector, chunks that do not
# divide
SHAPES = [
    (2, 17, 3, 4, 4),
    (1, 1, 5, 2, None),
    (3, 13, 7, 1, 5),
    (2, 31, 6, 3, 31),
    (2, 24, 4, 5, 8),
    (2, 9, 5, 3, 1),
    (4, 12, 300, 4, None),
]


def inputs(
    b: int, length: int, e: int, n: int, dtype: torch.dtype = F64, seed: int = 0
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64)

    tensors = [
        normal(b, length, e),
        normal(b, length, e).abs() * 0.5,
        -normal(e, n).abs() - 0.1,
        normal(b, length, n),
        normal(b, length, n),
        normal(e),
        normal(b, e, n),
    ]
    return [t.to(dtype).requires_grad_() for t in tensors]


def run(tensors: list[torch.Tensor], chunk: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    x, dt, A, B, C, D, state_in = tensors
    return selective_scan(x, dt, A, B, C, D=D, state_in=state_in, chunk=chunk)


def define(tensors: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x, dt, A, B, C, D, state_in = tensors
    y, final = scan_sequential(x, dt, A, B, C, state_in)
    return y + D * x, final


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "recomputed"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_definition(
    shape: tuple[int, int, int, int, int | None], keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not keep:
        monkeypatch.setattr(reference_module, "_KEEP_BYTES", 0)
    *sizes, chunk = shape
    tensors = inputs(*sizes)
    y, final = run(tensors, chunk)
    wanted_y, wanted_final = define(tensors)
    torch.testing.assert_close(y, wanted_y, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(final, wanted_final, rtol=1e-11, atol=1e-11)
    dy, dfinal = torch.randn_like(y), torch.randn_like(final)
    got = torch.autograd.grad((y, final), tensors, (dy, dfinal))
    wanted = torch.autograd.grad((wanted_y, wanted_final), tensors, (dy, dfinal))
    for name, g, w in zip(NAMES, got, wanted, strict=True):
        error = ((g - w).norm() / w.norm().clamp_min(1e-30)).item()
        assert error < 1e-10, f"gradient of {name}: relative error {error:.1e}"


@pytest.mark.parametrize("chunk", [2, 5])
def test_gradcheck(chunk: int) -> None:
    tensors = inputs(1, 5, 2, 2)
    assert torch.autograd.gradcheck(lambda *t: run(list(t), chunk), tensors)


def test_state_carries_over_a_cut() -> None:
    x, dt, A, B, C, D, state_in = inputs(2, 19, 4, 3)
    y, final = selective_scan(x, dt, A, B, C, D=D, state_in=state_in)
    first, middle = selective_scan(x[:, :7], dt[:, :7], A, B[:, :7], C[:, :7], D=D, state_in=state_in)
    second, last = selective_scan(x[:, 7:], dt[:, 7:], A, B[:, 7:], C[:, 7:], D=D, state_in=middle)
    torch.testing.assert_close(torch.cat([first, second], 1), y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, final, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [4, 12])
def test_causal(chunk: int) -> None:
    tensors = inputs(1, 12, 3, 2)
    y, _ = run(tensors, chunk)
    for t in (0, 3, 4, 10):
        dx, ddt, dB = torch.autograd.grad(
            y[:, t].sum(), [tensors[0], tensors[1], tensors[3]], retain_graph=True
        )
        for gradient in (dx, ddt, dB):
            assert torch.count_nonzero(gradient[:, t + 1 :]) == 0
            assert torch.count_nonzero(gradient[:, t]) > 0


def test_two_runs_are_bit_equal() -> None:
    results = []
    for _ in range(2):
        tensors = inputs(3, 37, 64, 4, torch.float32)
        y, final = run(tensors, None)
        results.append([y, final, *torch.autograd.grad(y.square().sum() + final.sum(), tensors)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_float32_is_close_to_float64() -> None:
    tensors = inputs(2, 128, 32, 8)
    y, _ = run(tensors, None)
    y32, _ = run([t.detach().float() for t in tensors], None)
    assert ((y32 - y).norm() / y.norm()).item() < 2e-6  # a few roundings of 2**-24 per step, decaying


def test_strided_views_and_vanishing_decay() -> None:
    tensors = inputs(2, 10, 4, 3)
    wide = torch.zeros(2, 10, 8, dtype=F64)
    wide[:, :, ::2] = tensors[0].detach()
    y, _ = run([wide[:, :, ::2], *tensors[1:]], 4)
    torch.testing.assert_close(y, define(tensors)[0], rtol=1e-11, atol=1e-11)
    tensors[1] = torch.full((2, 10, 4), 1e4, dtype=F64, requires_grad=True)  # decay underflows to zero
    y, final = run(tensors, 4)
    gradients = torch.autograd.grad(y.sum() + final.sum(), tensors)
    assert all(torch.isfinite(t).all() for t in (y, final, *gradients))


def test_wrong_calls_are_refused() -> None:
    x, dt, A, B, C, D, state_in = (t.detach() for t in inputs(2, 6, 4, 3))
    with pytest.raises(ValueError, match=r"dt is \(2, 5, 4\)"):
        selective_scan(x, dt[:, :5], A, B, C)
    with pytest.raises(TypeError, match="bfloat16"):
        selective_scan(x.bfloat16(), dt, A, B, C)
    with pytest.raises(TypeError, match="A is torch.float32"):
        selective_scan(x, dt, A.float(), B, C)
    with pytest.raises(ValueError, match="state_in"):
        selective_scan(x, dt, A, B, C, state_in=state_in[:1])
    with pytest.raises(ValueError, match="chunk 0"):
        selective_scan(x, dt, A, B, C, D=D, chunk=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu() -> None:
    tensors = inputs(2, 33, 16, 4)
    on_gpu = [t.detach().cuda().requires_grad_() for t in tensors]
    y, final = run(tensors, None)
    y_gpu, final_gpu = run(on_gpu, None)
    wanted = torch.autograd.grad(y.sum() + final.sum(), tensors)
    got = torch.autograd.grad(y_gpu.sum() + final_gpu.sum(), on_gpu)
    for g, w in zip((y_gpu, final_gpu, *got), (y, final, *wanted), strict=True):
        torch.testing.assert_close(g.cpu(), w, rtol=1e-10, atol=1e-10)
