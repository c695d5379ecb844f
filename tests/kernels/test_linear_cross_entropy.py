"""The loss of an output layer: kernels and definition against float64, gradients included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from kernels import dispatch
from kernels.linear_cross_entropy import linear_cross_entropy

Close = Callable[..., None]

IGNORED = -100


def make(
    device: str, dtype: torch.dtype, t: int, d: int, v: int, *, scale: float = 1.0, ignored: bool = True, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(t, d, generator=generator).to(device, dtype)
    weight = (torch.randn(v, d, generator=generator) * scale * d**-0.5).to(device, dtype)
    target = torch.randint(0, v, (t,), generator=generator)
    if ignored and t > 2:
        target[::3] = IGNORED
    return x, weight, target.to(device)


def run(
    path: Any, x: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, reduction: str, upstream: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    with dispatch.force(path):
        loss, nats = linear_cross_entropy(x, weight, target, reduction=reduction)  # type: ignore[arg-type]
    dx, dw = torch.autograd.grad(loss, (x, weight), upstream.to(loss.dtype))
    return loss.detach(), nats, dx, dw


def oracle(
    x: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, reduction: str, upstream: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    x, weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    logits = x @ weight.T
    loss = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction=reduction)
    nats = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none").detach()
    dx, dw = torch.autograd.grad(loss, (x, weight), upstream.double())
    return loss.detach(), nats, dx, dw


def upstream_of(reduction: str, target: torch.Tensor) -> torch.Tensor:
    if reduction != "none":
        return torch.tensor(0.7, device=target.device)
    return torch.linspace(-1.0, 2.0, len(target), device=target.device)


def kinds(dtype: torch.dtype) -> tuple[str | float, str | float]:
    if dtype == torch.float32:
        return "fp32", "fp32_gradient"
    if dtype == torch.float16:
        # logits and losses of fp16 products are fp32; the gradients' factors are bf16
        return 5e-6, "bf16_gradient"
    return 1e-5, "bf16_gradient"


def compare(close: Close, dtype: torch.dtype, got: tuple[torch.Tensor, ...], want: tuple[torch.Tensor, ...]) -> None:
    value, gradient = kinds(dtype)
    close(got[0], want[0], value, "loss")
    close(got[1], want[1], value, "nats")
    close(got[2], want[2], gradient, "dx")
    close(got[3], want[3], gradient, "dW")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.usefixtures("poisoned")
def test_kernels_agree_with_float64(device: str, close: Close, dtype: torch.dtype, reduction: str) -> None:
    x, weight, target = make(device, dtype, 70, 32, 150)
    upstream = upstream_of(reduction, target)
    got = run("triton", x, weight, target, reduction, upstream)
    compare(close, dtype, got, oracle(x, weight, target, reduction, upstream))


@pytest.mark.parametrize(("t", "d", "v"), [(1, 8, 3), (65, 19, 67), (3, 33, 200)])
@pytest.mark.usefixtures("poisoned")
def test_odd_sizes(device: str, close: Close, t: int, d: int, v: int) -> None:
    x, weight, target = make(device, torch.float32, t, d, v)
    upstream = upstream_of("mean", target)
    got = run("triton", x, weight, target, "mean", upstream)
    compare(close, torch.float32, got, oracle(x, weight, target, "mean", upstream))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=["fp32", "fp64", "bf16"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_definition_agrees_with_float64(device: str, close: Close, dtype: torch.dtype, reduction: str) -> None:
    x, weight, target = make(device, dtype, 29, 16, 40)
    upstream = upstream_of(reduction, target)
    got = run("reference", x, weight, target, reduction, upstream)
    compare(close, dtype, got, oracle(x, weight, target, reduction, upstream))


@pytest.mark.parametrize("scale", [60.0, 2000.0])
@pytest.mark.usefixtures("poisoned")
def test_logits_far_above_the_target(device: str, close: Close, scale: float) -> None:
    """Tiles that exceed the target by more than exponentials can hold are brought to one scale."""
    x, weight, target = make(device, torch.float32, 40, 16, 200, scale=scale)
    upstream = upstream_of("mean", target)
    want = oracle(x, weight, target, "mean", upstream)
    assert want[1].max() > 64
    got = run("triton", x, weight, target, "mean", upstream)
    # a product of fp32 carries an error in proportion to the logits, and its exponential the same as a factor
    for g, w, name in zip(got, want, ("loss", "nats", "dx", "dW"), strict=True):
        close(g, w, 3e-7 * scale, name)


@pytest.mark.usefixtures("poisoned")
def test_certain_predictions_keep_their_digits(device: str, close: Close) -> None:
    """A loss of 1e-9 nats is not rounded to zero, and neither is its gradient."""
    x, weight, _ = make(device, torch.float32, 16, 16, 16, ignored=False)
    target = torch.arange(16, device=device)
    weight = weight * 0.01
    x = torch.zeros_like(x)
    weight[:, :] = torch.eye(16, device=device)
    x[:, :] = 24.0 * torch.eye(16, device=device)
    upstream = upstream_of("mean", target)
    want = oracle(x, weight, target, "mean", upstream)
    assert 0 < want[0] < 1e-9
    for g, w, name in zip(run("triton", x, weight, target, "mean", upstream), want, "lnxw", strict=True):
        close(g, w, 1e-5, name)


@pytest.mark.usefixtures("poisoned")
def test_scoring_equals_training(device: str) -> None:
    x, weight, target = make(device, torch.float32, 66, 24, 130)
    upstream = upstream_of("mean", target)
    trained = run("triton", x, weight, target, "mean", upstream)
    with dispatch.force("triton"), torch.no_grad():
        loss, nats = linear_cross_entropy(x, weight, target)
    assert torch.equal(nats, trained[1]) and torch.equal(loss, trained[0])
    assert not nats.requires_grad
    again = run("triton", x, weight, target, "mean", upstream)
    assert all(torch.equal(a, b) for a, b in zip(trained, again, strict=True))


@pytest.mark.usefixtures("poisoned")
def test_chunks_agree_with_one(device: str, close: Close, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.linear_cross_entropy import forward

    x, weight, target = make(device, torch.float32, 150, 16, 70)
    upstream = upstream_of("none", target)
    want = run("triton", x, weight, target, "none", upstream)
    monkeypatch.setattr(forward, "chunk_rows", lambda *sizes: 64)
    got = run("triton", x, weight, target, "none", upstream)
    compare(close, torch.float32, got, want)
    monkeypatch.setattr(forward, "scoring_rows", lambda *sizes: 128)
    with dispatch.force("triton"), torch.no_grad():
        assert torch.equal(linear_cross_entropy(x, weight, target)[1], got[1])


def test_strided_views_and_leading_axes(device: str, close: Close) -> None:
    x, weight, _ = make(device, torch.float32, 24, 20, 50)
    wide = torch.randn(2, 14, 20, device=device)
    view, target = wide[:, 1:13], torch.randint(0, 50, (2, 12), device=device)
    with dispatch.force("triton"):
        loss, nats = linear_cross_entropy(view, weight, target)
    with dispatch.force("reference"):
        want, want_nats = linear_cross_entropy(view, weight, target)
    assert nats.shape == target.shape
    close(loss, want, "fp32")
    close(nats, want_nats, "fp32")
    del x


def test_float32_weight_of_half_activations(device: str, close: Close) -> None:
    """A weight that the caller keeps in fp32 is rounded for the products; its gradient is not rounded."""
    x, weight, target = make(device, torch.float16, 66, 32, 70)
    upstream = upstream_of("mean", target)
    master = weight.float()
    got = run("triton", x, master, target, "mean", upstream)
    assert got[2].dtype == torch.float16 and got[3].dtype == torch.float32
    compare(close, torch.float16, got, oracle(x, weight, target, "mean", upstream))


def test_only_the_gradients_that_are_wanted(device: str, close: Close) -> None:
    x, weight, target = make(device, torch.float32, 20, 16, 30)
    want = run("triton", x, weight, target, "mean", torch.tensor(1.0, device=device))
    with dispatch.force("triton"):
        leaf = x.detach().requires_grad_()
        loss, _ = linear_cross_entropy(leaf, weight, target)
        close(torch.autograd.grad(loss, leaf)[0], want[2], 0.0)
        leaf = weight.detach().requires_grad_()
        loss, _ = linear_cross_entropy(x, leaf, target)
        close(torch.autograd.grad(loss, leaf, retain_graph=True)[0], want[3], 0.0)
        close(torch.autograd.grad(loss, leaf)[0], want[3], 0.0)


@pytest.mark.parametrize("path", ["triton", "reference"])
def test_ignored_rows_have_no_gradient(device: str, path: str) -> None:
    x, weight, target = make(device, torch.float32, 12, 16, 30)
    _, nats, dx, _ = run(path, x, weight, target, "sum", torch.tensor(1.0, device=device))
    assert (nats[::3] == 0).all() and (dx[::3] == 0).all()
    assert (nats[1::3] > 0).all() and (dx[1::3] != 0).any(1).all()


def test_a_target_outside_the_vocabulary_gives_nan(device: str) -> None:
    x, weight, target = make(device, torch.float32, 12, 16, 30, ignored=False)
    target[5] = 30
    with dispatch.force("triton"), torch.no_grad():
        _, nats = linear_cross_entropy(x, weight, target)
    assert nats[5].isnan() and nats[:5].isfinite().all() and nats[6:].isfinite().all()


def test_errors_name_the_tensor() -> None:
    x, weight, target = make("cpu", torch.float32, 4, 8, 10)
    with pytest.raises(TypeError, match="x is torch.int32"):
        linear_cross_entropy(x.int(), weight, target)
    with pytest.raises(TypeError, match="weight is torch.float16"):
        linear_cross_entropy(x, weight.half(), target)
    with pytest.raises(ValueError, match=r"weight \(10, 7\)"):
        linear_cross_entropy(x, weight[:, :7], target)
    with pytest.raises(ValueError, match=r"target is \(3,\)"):
        linear_cross_entropy(x, weight, target[:3])
    with pytest.raises(TypeError, match="target is torch.int32"):
        linear_cross_entropy(x, weight, target.int())
    with pytest.raises(ValueError, match="reduction 'max'"):
        linear_cross_entropy(x, weight, target, reduction="max")  # type: ignore[arg-type]


# Every width, dtype and reduction is a set of compilations, so not all are combined.
GPU_CASES = [
    (torch.bfloat16, "mean", shape)
    for shape in ((1, 256, 1000), (64, 125, 1000), (500, 125, 5003), (2048, 512, 50304), (5000, 256, 3001))
]
GPU_CASES += [
    (dtype, reduction, shape)
    for dtype, reductions in (
        (torch.bfloat16, ("none", "sum")),
        (torch.float16, ("mean",)),
        (torch.float32, ("mean", "none")),
    )
    for reduction in reductions
    for shape in ((63, 256, 999), (65, 256, 16384), (2048, 256, 5003))
]


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "reduction", "shape"), GPU_CASES, ids=str)
@pytest.mark.usefixtures("poisoned")
def test_on_the_gpu(close: Close, dtype: torch.dtype, reduction: str, shape: tuple[int, int, int]) -> None:
    t, d, v = shape
    x, weight, target = make("cuda", dtype, t, d, v)
    if t == 1:
        target.clamp_min_(0)
    upstream = upstream_of(reduction, target)
    got = run("triton", x, weight, target, reduction, upstream)
    compare(close, dtype, got, oracle(x, weight, target, reduction, upstream))
    again = run("triton", x, weight, target, reduction, upstream)
    assert all(torch.equal(a, b) for a, b in zip(got, again, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [30.0, 300.0])
def test_far_logits_on_the_gpu(close: Close, scale: float) -> None:
    x, weight, target = make("cuda", torch.bfloat16, 700, 256, 3000, scale=scale)
    upstream = upstream_of("mean", target)
    want = oracle(x, weight, target, "mean", upstream)
    for g, w, name in zip(run("triton", x, weight, target, "mean", upstream), want, "lnxw", strict=True):
        close(g, w, "bf16_gradient", name)


@pytest.mark.gpu
def test_captured_in_a_graph_and_within_an_eighth(close: Close) -> None:
    t, d, v = 32768, 512, 50304
    x, weight, target = make("cuda", torch.bfloat16, t, d, v)
    x.requires_grad_()
    weight.requires_grad_()

    def step() -> tuple[torch.Tensor, ...]:
        loss, nats = linear_cross_entropy(x, weight, target)
        return loss.detach(), nats, *torch.autograd.grad(loss, (x, weight))

    want = step()  # compiles, and allocates what cuBLAS keeps for itself
    del want
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    want = step()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    assert peak <= 4 * t * v / 8, f"{peak / 2**20:.0f} MiB"
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = step()
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.gpu
def test_autocast_takes_its_dtype(close: Close) -> None:
    x, weight, target = make("cuda", torch.float32, 300, 256, 1000)
    x.requires_grad_()
    weight.requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        loss, _ = linear_cross_entropy(x, weight, target)
    dx, dw = torch.autograd.grad(loss, (x, weight))
    assert dx.dtype == dw.dtype == torch.float32
    upstream = torch.tensor(1.0, device="cuda")
    want = oracle(x.detach().bfloat16(), weight.detach().bfloat16(), target, "mean", upstream)
    close(loss, want[0], 1e-5)
    close(dx, want[2], "bf16_gradient")
    close(dw, want[3], "bf16_gradient")


def needs_hopper() -> None:
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")


@pytest.mark.gpu
@pytest.mark.parametrize(("t", "d", "v"), [(300, 256, 2100), (1000, 125, 5003), (2048, 512, 50304), (3000, 256, 16384)])
@pytest.mark.usefixtures("poisoned")
def test_rows_in_shared_memory_give_the_same_bits(monkeypatch: pytest.MonkeyPatch, t: int, d: int, v: int) -> None:
    """The kernel for Hopper against the general one, which multiplies in the same order."""
    from kernels.linear_cross_entropy import tiles

    needs_hopper()
    x, weight, target = make("cuda", torch.bfloat16, t, d, v)
    upstream = upstream_of("mean", target)
    found = []
    for width in (0, 512):
        monkeypatch.setattr(tiles, "STREAMING_WIDTH", width)
        assert (tiles.slots_for(x, v // 128, True) > 0) == (width > 0)
        found.append(run("triton", x, weight, target, "mean", upstream))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
