"""`rms_norm`, `layer_norm` and `gated_rms_norm`: kernels against the definitions, and the definitions against torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernels import dispatch
from kernels.norm import gated_rms_norm, layer_norm, rms_norm, tiles

pytest.importorskip("triton")

Close = Callable[..., None]
GPU = torch.cuda.is_available()
DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
SMALL = [(3, 5, 40), (1, 260), (19, 8)]
# On a GPU every width and dtype is compiled anew: all functions once, and those of the models at more widths.
LARGE = [
    ((3, 65, 256), torch.float32, True),
    ((2, 500, 512), torch.bfloat16, False),
    ((63, 77), torch.bfloat16, False),
    ((5, 3000), torch.bfloat16, False),
    ((3, 8192), torch.bfloat16, False),
]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the interpreter an operation costs the same on any tile: few programs, of several rows."""
    if not GPU:
        monkeypatch.setattr("kernels.norm.forward_tile", lambda *_: tiles.Tile(4, 4))
        monkeypatch.setattr("kernels.norm.backward_tile", lambda *_: tiles.Tile(2, 4, programs=3))


def normal(shape: Sequence[int], device: str, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def run(path: str, fn: Callable[..., Tensor | tuple[Tensor, ...]], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, then the gradients of all tensors."""
    leaves = [(t.double() if path == "reference" else t).detach().requires_grad_() for t in tensors]
    with dispatch.force(path):  # type: ignore[arg-type]
        result = fn(*leaves)
        outputs = result if isinstance(result, tuple) else (result,)
        # drawn in the dtype of x, so that both paths see the same numbers
        upstream = [normal(y.shape, y.device.type, tensors[0].dtype, 90 + i).to(y.dtype) for i, y in enumerate(outputs)]
        return [y.detach() for y in outputs] + list(torch.autograd.grad(outputs, leaves, upstream))


def compare(
    fn: Callable[..., Tensor | tuple[Tensor, ...]], tensors: Sequence[Tensor], outputs: int, close: Close
) -> None:
    got, want = run("triton", fn, tensors), run("reference", fn, tensors)
    kind = DTYPES[tensors[0].dtype]
    for i, (g, t) in enumerate(zip(got, want, strict=True)):
        close(g, t, kind if i < outputs else f"{kind}_gradient", f"tensor {i}")
    if GPU:
        again = run("triton", fn, tensors)
        assert all(torch.equal(a, g) for a, g in zip(again, got, strict=True)), "two runs differ"


def check_all(shape: tuple[int, ...], dtype: torch.dtype, device: str, close: Close, every: bool = True) -> None:
    d = shape[-1]
    x, z = normal(shape, device, dtype, 1), normal(shape, device, dtype, 2)
    residual = normal(shape, device, torch.float32, 3)
    weight, bias = normal((d,), device, torch.float32, 4), normal((d,), device, torch.float32, 5)
    compare(lambda x, w, r: rms_norm(x, w, residual=r), [x, weight, residual], 2, close)
    compare(lambda x, w, b: layer_norm(x, w, b), [x, weight, bias], 1, close)
    if d <= tiles.WIDEST_GROUP:
        compare(lambda x, z, w: gated_rms_norm(x, z, w), [x, z, weight], 1, close)
    if every:
        compare(lambda x, w: rms_norm(x, w), [x, weight], 1, close)
        compare(lambda x, w, b, r: layer_norm(x, w, b, residual=r), [x, weight, bias, residual], 2, close)
        compare(lambda x, w: layer_norm(x, w), [x, weight], 1, close)
        compare(lambda x, z, w: gated_rms_norm(x, z, w, group=d // 4), [x, z, weight], 1, close)


def test_definitions_are_those_of_torch(close: Close) -> None:
    x, z, r = (normal((3, 5, 24), "cpu", torch.float64, i) for i in range(3))
    weight, bias = normal((24,), "cpu", torch.float64, 3), normal((24,), "cpu", torch.float64, 4)
    close(rms_norm(x, weight), F.rms_norm(x, (24,), weight, 1e-5), "fp64")
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    close(layer_norm(x, weight, bias), centred * scale * weight + bias, "fp64")
    close(layer_norm(x, weight, residual=r)[0], F.layer_norm(x + r, (24,), weight), "fp64")
    y, stream = rms_norm(x, weight, residual=r)
    close(y, F.rms_norm(x + r, (24,), weight, 1e-5), "fp64")
    assert torch.equal(stream, x + r)
    close(gated_rms_norm(x, z, weight), F.rms_norm(x * F.silu(z), (24,), weight, 1e-5), "fp64")
    parts = [F.rms_norm(v, (8,), w, 1e-5) for v, w in zip((x * F.silu(z)).split(8, -1), weight.split(8), strict=True)]
    close(gated_rms_norm(x, z, weight, group=8), torch.cat(parts, -1), "fp64")


@pytest.mark.skipif(GPU, reason="the cases of all sizes hold these")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_kernels_are_the_definitions(
    shape: tuple[int, ...], dtype: torch.dtype, device: str, close: Close, poisoned: None
) -> None:
    check_all(shape, dtype, device, close)


@pytest.mark.gpu
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_kernels_are_the_definitions_at_all_sizes(
    case: tuple[tuple[int, ...], torch.dtype, bool], device: str, close: Close, poisoned: None
) -> None:
    shape, dtype, every = case
    check_all(shape, dtype, device, close, every)


def test_reads_slices_of_a_projection(device: str) -> None:
    x, z = normal((2, 9, 40), device, torch.float32, 1), normal((2, 9, 40), device, torch.float32, 2)
    weight = normal((40,), device, torch.float32, 3)
    wide = torch.randn(2, 9, 90, device=device)
    wide[..., 3:43], wide[..., 50:] = x, z
    odd = torch.randn(9, 2, 40, device=device).transpose(0, 1)  # rows at unequal distances
    odd.copy_(x)
    for fn, plain, sliced in (
        (gated_rms_norm, (x, z, weight), (wide[..., 3:43], wide[..., 50:], weight)),
        (rms_norm, (x, weight), (odd, weight)),
    ):
        for got, want in zip(run("triton", fn, sliced), run("triton", fn, plain), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("path", ["triton", "reference"])
def test_a_stream_alone_passes_its_gradient_on(path: str, device: str) -> None:
    x = normal((4, 32), device, torch.float16, 1).requires_grad_()
    residual = normal((4, 32), device, torch.float32, 2).requires_grad_()
    weight = torch.ones(32, device=device)
    with dispatch.force(path):  # type: ignore[arg-type]
        _, stream = rms_norm(x, weight, residual=residual)
        dx, dresidual = torch.autograd.grad(stream.sum(), (x, residual))
    assert stream.dtype == torch.float32
    assert torch.equal(dx, torch.ones_like(x)) and torch.equal(dresidual, torch.ones_like(residual))


@pytest.mark.skipif(GPU, reason="three more kernels to compile")
def test_large_and_small_rows_stay_finite(device: str) -> None:
    x = torch.stack([torch.full((64,), 6e4), torch.full((64,), 1e-7), torch.zeros(64)]).to(device, torch.float16)
    weight = torch.ones(64, device=device)
    with dispatch.force("triton"):
        for y in (rms_norm(x, weight), layer_norm(x, weight), gated_rms_norm(x, x, weight)):
            assert torch.isfinite(y).all()


def test_says_which_path_ran(device: str) -> None:
    x, weight = torch.randn(2, 8, device=device), torch.ones(8, device=device)
    dispatch.forget()
    rms_norm(x, weight)
    gated_rms_norm(x, x, weight)
    layer_norm(x, weight)
    wanted = "triton" if GPU else "reference"
    assert {name: path.last for name, path in dispatch.report().items()} == dict.fromkeys(
        ("gated_rms_norm", "layer_norm", "rms_norm"), wanted
    )


def test_errors_name_the_tensor() -> None:
    x, weight = torch.randn(3, 8), torch.ones(8)
    with pytest.raises(ValueError, match=r"rms_norm: weight is \(7,\)"):
        rms_norm(x, weight[:7])
    with pytest.raises(TypeError, match="rms_norm: residual is torch.bfloat16"):
        rms_norm(x, weight, residual=x.bfloat16())
    with pytest.raises(ValueError, match=r"layer_norm: residual is \(2, 8\)"):
        layer_norm(x, weight, residual=x[:2])
    with pytest.raises(ValueError, match="gated_rms_norm: group 3"):
        gated_rms_norm(x, x, weight, group=3)
    with pytest.raises(ValueError, match="gated_rms_norm: z is"):
        gated_rms_norm(x, x.double(), weight)
    with pytest.raises(TypeError, match="x is torch.int64"):
        rms_norm(x.long(), weight)
    with pytest.raises(ValueError, match="at most 4096"):
        gated_rms_norm(torch.randn(1, 4097), torch.randn(1, 4097), torch.ones(4097))
    with pytest.raises(ValueError, match="at most 8192"):
        rms_norm(torch.randn(1, 8193), torch.ones(8193))
