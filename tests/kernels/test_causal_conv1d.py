"""`causal_conv1d` and its step: kernels against the definition in float64, and the definition against torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernels import dispatch
from kernels.causal_conv1d import causal_conv1d, causal_conv1d_step, reference, shifted, tiles

pytest.importorskip("triton")

Close = Callable[..., None]
GPU = torch.cuda.is_available()
DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}

# b, l, c, w, state, sequences, activation
SMALL = [
    (1, 1, 5, 4, True, False, "silu"),
    (2, 2, 20, 4, True, True, "silu"),
    (2, 65, 20, 4, False, False, "silu"),
    (2, 70, 20, 3, True, True, "silu"),
    (1, 64, 33, 2, True, False, None),
]
# On a GPU: each dtype and kind of sequence is compiled once, and then runs at every length.
KINDS = [
    (torch.bfloat16, 1280, 4, False, False, "silu"),
    (torch.bfloat16, 77, 4, True, True, "silu"),
    (torch.float32, 257, 3, True, False, "silu"),
    (torch.float16, 640, 2, False, True, None),
]
LENGTHS = [1, 2, 63, 64, 65, 500, 2048]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the interpreter an operation costs the same on any tile: several runs and blocks of few steps."""
    if not GPU:
        tile = tiles.Tile(steps=2, blocks=3, runs=4, channels=16, num_warps=4)
        ahead = dataclasses.replace(tile, ahead=True)
        monkeypatch.setattr(tiles, "forward_tile", lambda *_: tile)
        monkeypatch.setattr(tiles, "backward_tile", lambda item_bytes, _: ahead if item_bytes == 2 else tile)


def inputs(
    b: int, length: int, c: int, w: int, state: bool, sequences: bool, device: str, dtype: torch.dtype, seed: int = 0
) -> list[Tensor | None]:
    """x, weight, bias, state_in, seq_idx."""
    draw = torch.Generator().manual_seed(seed + 1000 * length + c)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw).to(device, dtype)

    ids = torch.randint(0, 5, (b, length), generator=draw, dtype=torch.int32).sort(1).values.to(device)
    return [
        normal(b, length, c),
        normal(c, w),
        normal(c),
        normal(b, w - 1, c) if state else None,
        ids if sequences else None,
    ]


def run(
    path: str, tensors: list[Tensor | None], activation: str | None, upstream: tuple[Tensor, Tensor] | None
) -> list[Tensor]:
    """y, state and, with upstream gradients, those of x, weight, bias and state_in."""
    exact = path == "reference"
    leaves = [t.double() if exact and t is not None else t for t in tensors[:4]]
    leaves = [None if t is None else t.detach().requires_grad_(upstream is not None) for t in leaves]
    x, weight, bias, state_in = leaves
    with dispatch.force(path):  # type: ignore[arg-type]
        y, state = causal_conv1d(x, weight, bias, activation=activation, state_in=state_in, seq_idx=tensors[4])  # type: ignore[arg-type]
        found = [y.detach(), state.detach()]
        if upstream is not None:
            gradients = [u.to(y.dtype) for u in upstream]
            found += torch.autograd.grad((y, state), [t for t in leaves if t is not None], gradients)
    return found


def upstream_of(tensors: list[Tensor | None], seed: int = 7) -> tuple[Tensor, Tensor]:
    x, weight = tensors[0], tensors[1]
    assert x is not None and weight is not None
    draw = torch.Generator().manual_seed(seed)
    state = (x.shape[0], weight.shape[1] - 1, x.shape[2])
    return tuple(torch.randn(*shape, generator=draw).to(x.device, x.dtype) for shape in (x.shape, state))  # type: ignore[return-value]


@pytest.mark.parametrize("w", [2, 3, 4])
def test_definition_is_torch_conv1d(w: int, close: Close) -> None:
    x, weight, bias, _, _ = inputs(2, 9, 6, w, False, False, "cpu", torch.float64)
    assert x is not None and weight is not None and bias is not None
    wanted = F.silu(F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=w - 1, groups=6)[..., :9])
    close(causal_conv1d(x, weight, bias)[0], wanted.transpose(1, 2), "fp64")


@pytest.mark.parametrize("length", [1, 2, 3, 20])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("w", [2, 3, 4])
def test_shifted_sums_are_the_definition(w: int, state: bool, length: int, close: Close) -> None:
    tensors = inputs(2, length, 6, w, state, False, "cpu", torch.float64)
    leaves = [t.requires_grad_() for t in tensors[:4] if t is not None]
    state_in = leaves[3] if state else None
    found = []
    for fn, *more in ((shifted.causal_conv1d,), (reference.causal_conv1d, None)):
        outputs = fn(leaves[0], leaves[1], leaves[2], "silu", state_in, *more)
        found.append([*outputs, *torch.autograd.grad(outputs, leaves, upstream_of(tensors))])
    for got, want in zip(*found, strict=True):
        close(got, want, "fp64")


@pytest.mark.skipif(GPU, reason="the cases of all sizes hold these")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_kernels_are_the_definition(
    case: tuple[int, int, int, int, bool, bool, str], dtype: torch.dtype, device: str, close: Close, poisoned: None
) -> None:
    _compare(case, dtype, device, close)


@pytest.mark.gpu
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kernels_are_the_definition_at_all_sizes(
    kind: tuple[torch.dtype, int, int, bool, bool, str], length: int, device: str, close: Close, poisoned: None
) -> None:
    dtype, *rest = kind
    _compare((3, length, *rest), dtype, device, close)  # type: ignore[arg-type]


def _compare(case: tuple[int, int, int, int, bool, bool, str], dtype: torch.dtype, device: str, close: Close) -> None:
    *sizes, activation = case
    tensors = inputs(*sizes, device, dtype)  # type: ignore[arg-type]
    upstream = upstream_of(tensors)
    got, want = run("triton", tensors, activation, upstream), run("reference", tensors, activation, upstream)
    kind = DTYPES[dtype]
    names = ["y", "state", "dx", "dweight", "dbias", "dstate_in"]
    for i, (g, t) in enumerate(zip(got, want, strict=True)):
        close(g, t, kind if i < 2 else f"{kind}_gradient", names[i])
    if GPU:
        again = run("triton", tensors, activation, upstream)
        assert all(torch.equal(a, g) for a, g in zip(again, got, strict=True)), "two runs differ"


def test_reads_a_slice_of_a_projection(device: str, close: Close) -> None:
    x, weight, bias, _, _ = inputs(2, 70, 16, 4, False, False, device, torch.float32)
    wide = torch.randn(2, 70, 61, device=device)
    wide[..., 5:21] = x
    upstream = upstream_of([x, weight])
    got = run("triton", [wide[..., 5:21], weight, bias, None, None], "silu", upstream)
    for g, t in zip(got, run("triton", [x, weight, bias, None, None], "silu", upstream), strict=True):
        assert torch.equal(g, t)


def test_without_bias_and_with_weights_of_another_dtype(device: str, close: Close) -> None:
    x, weight, _, _, _ = inputs(2, 40, 24, 4, False, False, device, torch.float16)
    assert x is not None and weight is not None
    with dispatch.force("triton"):
        got = causal_conv1d(x, weight.float())[0]
    close(got, causal_conv1d(x.double(), weight.double())[0], "fp16")


@pytest.mark.parametrize("path", ["triton", "reference"])
def test_no_output_sees_a_later_input(path: str, device: str) -> None:
    length, at = 40, 17
    tensors = inputs(1, length, 16, 4, False, False, device, torch.float32)
    dy = torch.zeros(1, length, 16, device=device)
    dy[:, at] = 1.0
    dx = run(path, tensors, "silu", (dy, torch.zeros(1, 3, 16, device=device)))[2]
    touched = dx.abs().sum((0, 2)) != 0
    assert touched.nonzero().flatten().tolist() == [at - 3, at - 2, at - 1, at]


@pytest.mark.parametrize("path", ["triton", "reference"])
def test_state_continues_a_sequence(path: str, device: str, close: Close) -> None:
    x, weight, bias, state, _ = inputs(2, 50, 16, 4, True, False, device, torch.float32)
    assert x is not None and weight is not None and state is not None
    with dispatch.force(path):  # type: ignore[arg-type]
        whole, last = causal_conv1d(x, weight, bias, state_in=state)
        parts, current = [], state
        for start, end in ((0, 1), (1, 3), (3, 40)):
            y, current = causal_conv1d(x[:, start:end], weight, bias, state_in=current)
            parts.append(y)
        for t in range(40, 50):
            parts.append(causal_conv1d_step(x[:, t], current, weight, bias)[:, None])
    close(torch.cat(parts, 1), whole, "fp32")
    assert torch.equal(current, last)


@pytest.mark.parametrize("path", ["triton", "reference"])
def test_packed_sequences_are_separate_ones(path: str, device: str, close: Close) -> None:
    x, weight, bias, state, _ = inputs(1, 45, 16, 4, True, False, device, torch.float32)
    assert x is not None and weight is not None
    lengths = [1, 2, 30, 12]
    ids = torch.repeat_interleave(torch.arange(4, device=device), torch.tensor(lengths, device=device))[None]
    with dispatch.force(path):  # type: ignore[arg-type]
        packed, last = causal_conv1d(x, weight, bias, state_in=state, seq_idx=ids)
        parts, start = [], 0
        for i, length in enumerate(lengths):
            y, final = causal_conv1d(x[:, start : start + length], weight, bias, state_in=state if i == 0 else None)
            parts.append(y)
            start += length
    close(packed, torch.cat(parts, 1), "fp32")
    assert torch.equal(last, final)


@pytest.mark.parametrize("dtype", [torch.bfloat16] if GPU else [torch.float32, torch.float16])
@pytest.mark.parametrize("w", [2, 3, 4])
def test_step_is_the_definition(w: int, dtype: torch.dtype, device: str, close: Close, poisoned: None) -> None:
    x, weight, bias, state, _ = inputs(3, 1, 300, w, True, False, device, dtype)
    assert x is not None and weight is not None and bias is not None and state is not None
    exact_state, kernel_state = state.double(), state.clone()
    want = causal_conv1d_step(x[:, 0].double(), exact_state, weight.double(), bias.double())
    with dispatch.force("triton"):
        got = causal_conv1d_step(x[:, 0], kernel_state, weight, bias)
    close(got, want, DTYPES[dtype])
    assert torch.equal(kernel_state, exact_state.to(dtype))


def test_says_which_path_ran(device: str) -> None:
    x, weight, bias, _, _ = inputs(1, 4, 8, 4, False, False, device, torch.float32)
    assert x is not None and weight is not None
    dispatch.forget()
    causal_conv1d(x, weight, bias)
    assert dispatch.report()["causal_conv1d"].last == ("triton" if GPU else "reference")


def test_errors_name_the_tensor() -> None:
    x, weight, bias, state, _ = inputs(2, 8, 6, 4, True, False, "cpu", torch.float32)
    assert x is not None and weight is not None and bias is not None and state is not None
    with pytest.raises(ValueError, match=r"weight is \(6, 5\)"):
        causal_conv1d(x, torch.randn(6, 5))
    with pytest.raises(ValueError, match=r"bias is \(5,\)"):
        causal_conv1d(x, weight, bias[:5])
    with pytest.raises(ValueError, match="state_in is"):
        causal_conv1d(x, weight, bias, state_in=state[:, 1:])
    with pytest.raises(TypeError, match="state_in is torch.float64"):
        causal_conv1d(x, weight, bias, state_in=state.double())
    with pytest.raises(ValueError, match="activation 'relu'"):
        causal_conv1d(x, weight, activation="relu")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x is torch.int64"):
        causal_conv1d(x.long(), weight)
    with pytest.raises(TypeError, match="seq_idx is torch.float32"):
        causal_conv1d(x, weight, seq_idx=x[..., 0])
    with pytest.raises(ValueError, match="no empty axis"):
        causal_conv1d(x[:, :0], weight)
    with pytest.raises(ValueError, match="strides"):
        causal_conv1d_step(x[:, 0], state.transpose(1, 2).contiguous().transpose(1, 2), weight)
