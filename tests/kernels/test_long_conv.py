"""The gated causal long convolution: kernels and definition against float64 sums over taps, gradients included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kernels import dispatch
from kernels.long_conv import long_conv, tiles

Close = Callable[..., None]
Tensors = dict[str, torch.Tensor | None]

NAMES = ("u", "k", "D", "gate_in", "gate_out")


def make(
    device: str, dtype: torch.dtype, b: int, length: int, d: int, *, gates: bool = True, direct: bool = True
) -> Tensors:
    """Gates and u are views of one fused projection, and the taps decay as a filter's do."""
    generator = torch.Generator().manual_seed(length * 7 + d)
    fused = torch.randn(b, length, 3 * d, generator=generator).to(device, dtype)
    decay = torch.exp(-4 * torch.linspace(0, 1, length))
    k = (torch.randn(d, length, generator=generator) * length**-0.5 * decay).to(device)
    skip = torch.randn(d, generator=generator).to(device)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return {
        "u": fused[..., :d],
        "k": k.to(wide),
        "D": skip.to(wide) if direct else None,
        "gate_in": fused[..., d : 2 * d] if gates else None,
        "gate_out": fused[..., 2 * d :] if gates else None,
    }


def leaves_of(inputs: Tensors, dtype: torch.dtype | None = None) -> Tensors:
    return {name: None if t is None else t.detach().to(dtype or t.dtype).requires_grad_() for name, t in inputs.items()}


def sums_over_taps(u: Any, k: Any, D: Any, gate_in: Any, gate_out: Any) -> torch.Tensor:
    """The formula read literally: a Toeplitz matrix for each channel."""
    length = u.shape[1]
    v = u if gate_in is None else u * gate_in
    lag = torch.arange(length, device=u.device)[:, None] - torch.arange(length, device=u.device)
    matrix = torch.where(lag >= 0, k[:, lag.clamp_min(0)], torch.zeros((), dtype=k.dtype, device=k.device))
    y = torch.einsum("dts,bsd->btd", matrix, v)
    if D is not None:
        y = y + D * v
    return y if gate_out is None else y * gate_out


def upstream_for(y: torch.Tensor) -> torch.Tensor:
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.device, y.dtype)


def run(
    path: Any, inputs: Tensors, function: Callable[..., torch.Tensor] = long_conv
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    leaves = leaves_of(inputs)
    with dispatch.force(path):
        u, k = leaves.pop("u"), leaves.pop("k")
        y = function(u, k, **leaves)
    present = {"u": u, "k": k} | {name: t for name, t in leaves.items() if t is not None}
    found = torch.autograd.grad(y, list(present.values()), upstream_for(y))  # type: ignore[arg-type]
    return y.detach(), dict(zip(present, found, strict=True))


def oracle(inputs: Tensors, y_dtype: torch.dtype) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    leaves = leaves_of(inputs, torch.float64)
    y = sums_over_taps(**leaves)
    present = {name: t for name, t in leaves.items() if t is not None}
    upstream = upstream_for(y.to(y_dtype)).double()
    found = torch.autograd.grad(y, list(present.values()), upstream)
    return y.detach(), dict(zip(present, found, strict=True))


def compare(close: Close, got: Any, want: Any, value: Any, gradient: Any) -> None:
    close(got[0], want[0], value, "y")
    assert got[1].keys() == want[1].keys()
    for name, tensor in got[1].items():
        close(tensor, want[1][name], gradient, f"d{name}")


@pytest.mark.parametrize("way", ["products", "transforms", "definition"])
@pytest.mark.parametrize(("b", "length", "d"), [(1, 1, 3), (2, 63, 5), (3, 64, 2), (2, 65, 17), (5, 100, 4)])
@pytest.mark.usefixtures("poisoned")
def test_agrees_with_float64(
    device: str, close: Close, monkeypatch: pytest.MonkeyPatch, way: str, b: int, length: int, d: int
) -> None:
    # on a GPU, fp32 has transforms alone
    monkeypatch.setattr(tiles, "LONGEST", 8192 if way == "products" else 0)
    inputs = make(device, torch.float32, b, length, d)
    got = run("reference" if way == "definition" else "triton", inputs)
    compare(close, got, oracle(inputs, torch.float32), "fp32", "fp32_gradient")


@pytest.mark.parametrize("longest", [0, 8192], ids=["transforms", "products"])
@pytest.mark.parametrize(("gates", "direct"), [(False, False), (False, True), (True, False)])
def test_optional_tensors(
    device: str, close: Close, monkeypatch: pytest.MonkeyPatch, gates: bool, direct: bool, longest: int
) -> None:
    monkeypatch.setattr(tiles, "LONGEST", longest)
    inputs = make(device, torch.float32, 2, 70, 6, gates=gates, direct=direct)
    compare(close, run("triton", inputs), oracle(inputs, torch.float32), "fp32", "fp32_gradient")


@pytest.mark.parametrize(("length", "value"), [(40, 1e-3), (130, 1e-3)])
@pytest.mark.usefixtures("poisoned")
def test_half_precision(device: str, close: Close, length: int, value: float) -> None:
    inputs = make(device, torch.float16, 2, length, 3)
    got, want = run("triton", inputs), oracle(inputs, torch.float16)
    assert got[0].dtype == torch.float16 and got[1]["k"].dtype == torch.float32
    compare(close, got, want, value, "fp16_gradient")


def test_definition_in_float64(close: Close) -> None:
    inputs = make("cpu", torch.float64, 2, 37, 3)
    compare(close, run("reference", inputs), oracle(inputs, torch.float64), "fp64", "fp64")


def test_two_runs_give_the_same_bits(device: str) -> None:
    inputs = make(device, torch.float16, 3, 70, 4)
    first, second = run("triton", inputs), run("triton", inputs)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


def test_causal_by_gradients(device: str) -> None:
    inputs = make(device, torch.float32, 1, 70, 2)
    leaves = leaves_of(inputs)
    with dispatch.force("triton"):
        u, k = leaves.pop("u"), leaves.pop("k")
        y = long_conv(u, k, **leaves)  # type: ignore[arg-type]
    du, dk = torch.autograd.grad(y[0, 40].sum(), (u, k))  # type: ignore[arg-type]
    # fp32 may run as Fourier transforms, which leave rounding errors instead of zeros
    assert du[0, 41:].abs().max() < 1e-5 and (du[0, :41] != 0).all()
    assert dk[:, 41:].abs().max() < 1e-5 and (dk[:, :41] != 0).all()


def test_frozen_taps_and_frozen_input(device: str, close: Close) -> None:
    inputs = make(device, torch.float16, 2, 40, 3)
    _, want = run("triton", inputs)
    for wanted in ("k", "u"):
        leaves = {name: t.detach() if t is not None else None for name, t in inputs.items()}
        leaf = leaves[wanted].requires_grad_()  # type: ignore[union-attr]
        with dispatch.force("triton"):
            y = long_conv(**leaves)  # type: ignore[arg-type]
        close(torch.autograd.grad(y, leaf, upstream_for(y))[0], want[wanted], 0.0, wanted)


def test_transform_lengths_hold_the_convolution() -> None:
    from kernels.long_conv.reference import transform_length

    for length in range(1, 300):
        n = transform_length(length)
        assert 2 * length - 1 <= n <= 4 * length


def test_errors_name_the_tensor() -> None:
    inputs = make("cpu", torch.float32, 2, 8, 3)
    u, k = inputs["u"], inputs["k"]
    assert u is not None and k is not None
    with pytest.raises(TypeError, match="u is torch.int64"):
        long_conv(u.long(), k)
    with pytest.raises(ValueError, match=r"k is \(3, 7\)"):
        long_conv(u, k[:, :7])
    with pytest.raises(TypeError, match="k is torch.float64"):
        long_conv(u, k.double())
    with pytest.raises(ValueError, match=r"D is \(2,\)"):
        long_conv(u, k, D=torch.ones(2))
    with pytest.raises(TypeError, match="gate_in is torch.float16"):
        long_conv(u, k, gate_in=u.half())
    with pytest.raises(ValueError, match=r"u is \(2, 8\)"):
        long_conv(u[..., 0], k)


# Gates, dtypes and odd widths are compilations of their own, so not all are combined.
GPU_CASES = [
    (torch.bfloat16, True, shape)
    for shape in (
        (4, 1, 256), (3, 63, 48), (2, 64, 64), (2, 500, 96), (16, 2048, 32), (4, 4100, 16), (40, 300, 16),
        (8, 4400, 16), (5, 65, 33),
    )
]  # fmt: skip
GPU_CASES += [(torch.bfloat16, False, shape) for shape in ((3, 63, 48), (16, 2048, 32))]
GPU_CASES += [(torch.float16, True, shape) for shape in ((2, 500, 96), (16, 2048, 32))]


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "gates", "shape"), GPU_CASES, ids=str)
@pytest.mark.usefixtures("poisoned")
def test_on_the_gpu(close: Close, dtype: torch.dtype, gates: bool, shape: tuple[int, int, int]) -> None:
    inputs = make("cuda", dtype, *shape, gates=gates, direct=gates)
    got, want = run("triton", inputs), oracle(inputs, dtype)
    kind = "bf16" if dtype == torch.bfloat16 else "fp16"
    compare(close, got, want, kind, f"{kind}_gradient")
    again = run("triton", inputs)
    assert torch.equal(got[0], again[0])
    assert all(torch.equal(got[1][name], again[1][name]) for name in got[1])


@pytest.mark.gpu
@pytest.mark.parametrize("length", [500, 6000])
def test_transforms_on_the_gpu(close: Close, length: int) -> None:
    inputs = make("cuda", torch.float32, 2, length, 4)
    compare(close, run("triton", inputs), oracle(inputs, torch.float32), "fp32", "fp32_gradient")


@pytest.mark.gpu
def test_captured_in_a_graph() -> None:
    inputs = make("cuda", torch.bfloat16, 4, 500, 32)
    leaves = leaves_of(inputs)
    upstream = upstream_for(torch.empty(4, 500, 32, device="cuda", dtype=torch.bfloat16))

    def step() -> tuple[torch.Tensor, ...]:
        y = long_conv(**leaves)  # type: ignore[arg-type]
        return y.detach(), *torch.autograd.grad(y, list(leaves.values()), upstream)  # type: ignore[arg-type]

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        want = step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = step()
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize(("b", "length", "d"), [(16, 2048, 32), (32, 1000, 16), (8, 4400, 16), (64, 500, 16)])
@pytest.mark.usefixtures("poisoned")
def test_rows_in_shared_memory_give_the_same(
    monkeypatch: pytest.MonkeyPatch, close: Close, b: int, length: int, d: int
) -> None:
    """The kernel for Hopper against the general one, which multiplies in the same order."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")
    inputs = make("cuda", torch.bfloat16, b, length, d)
    found = []
    for resident in (False, True):
        monkeypatch.setattr(tiles, "RESIDENT", resident)
        found.append(run("triton", inputs))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1]["u"], found[1][1]["u"])
    # groups of sequences are added in another order
    close(found[1][1]["k"], found[0][1]["k"], 2e-6)
