"""The selective scan against its definition: the chunked path of CPUs, the kernels, the decoding step."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels import dispatch
from kernels.selective_scan import (
    chunked,
    selective_scan,
    selective_scan_reference,
    selective_scan_step,
    selective_scan_step_reference,
)
from kernels.selective_scan.tiles import Tile, chosen, padded

module = importlib.import_module("kernels.selective_scan")  # the name in `kernels` is the function
GPU = torch.cuda.is_available()
# one warp, so that a few channels fill a tile in the interpreter
SMALL = Tile(steps=2, channels=8, lanes=4, states=2, warps=1, pair=1)


@dataclasses.dataclass(frozen=True)
class Case:
    """Sizes and which optional arguments a call has."""

    b: int
    length: int
    e: int
    n: int
    groups: int | None = None  # None: B and C without that axis
    D: bool = True
    z: bool = True
    dt_bias: bool = True
    state_in: bool = True
    softplus: bool = True

    def tensors(self, dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> dict[str, Tensor]:
        """x, dt, z, B, C of `dtype`, the rest fp32 (fp64 if `dtype` is)."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        row = (self.b, self.length, self.e)
        states = (self.b, self.length, *(() if self.groups is None else (self.groups,)), self.n)
        dt = normal(*row) * 0.5
        made = {"x": normal(*row), "dt": dt if self.softplus else dt.abs()}
        made |= {"A": -normal(self.e, self.n).abs() * 2 - 0.05, "B": normal(*states), "C": normal(*states)}
        made |= {"D": normal(self.e)} if self.D else {}
        made |= {"z": normal(*row)} if self.z else {}
        made |= {"dt_bias": normal(self.e) - (2 if self.softplus else -3)} if self.dt_bias else {}
        made |= {"state_in": normal(self.b, self.e, self.n)} if self.state_in else {}
        kept = torch.float64 if dtype == torch.float64 else torch.float32
        narrow = {"x", "dt", "z", "B", "C"}
        return {k: v.to(device, dtype if k in narrow else kept).requires_grad_() for k, v in made.items()}

    def call(self, scan: Callable[..., tuple[Tensor, Tensor]], tensors: dict[str, Tensor], **more: Any) -> Any:
        rest = {k: v for k, v in tensors.items() if k not in ("x", "dt", "A", "B", "C")}
        return scan(*(tensors[k] for k in ("x", "dt", "A", "B", "C")), dt_softplus=self.softplus, **rest, **more)


def exact(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values in fp64 on the CPU."""
    return {k: v.detach().cpu().double().requires_grad_() for k, v in tensors.items()}


def compare(
    case: Case, tensors: dict[str, Tensor], got: tuple[Tensor, Tensor], close: Callable[..., None], kind: str
) -> None:
    """y, state and every gradient against the definition in fp64."""
    y, state = got
    wanted_tensors = exact(tensors)
    wanted_y, wanted_state = case.call(selective_scan_reference, wanted_tensors)
    close(y, wanted_y, kind, "y")
    close(state, wanted_state, "fp64" if kind == "fp64" else "fp32", "state")
    generator = torch.Generator().manual_seed(1)
    dy = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)
    dstate = torch.randn(state.shape, generator=generator, dtype=torch.float64).to(state.dtype)
    gradients = torch.autograd.grad((y, state), list(tensors.values()), (dy.to(y.device), dstate.to(y.device)))
    wanted = torch.autograd.grad(
        (wanted_y, wanted_state), list(wanted_tensors.values()), (dy.double(), dstate.double())
    )
    limit = 1e-10 if kind == "fp64" else f"{kind}_gradient"
    for name, g, w in zip(tensors, gradients, wanted, strict=True):
        close(g, w, limit, f"gradient of {name}")


@pytest.fixture
def triton_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernels: compiled on a GPU, else interpreted with a small tile."""
    if not GPU:
        monkeypatch.setattr(module, "chosen", lambda *_: (SMALL, SMALL))
    with dispatch.force("triton"):
        yield


# ------------------------------------------------------------------------------------------------ chunks, on a CPU

CHUNKED = [
    (Case(2, 17, 3, 4), 4),
    (Case(1, 1, 5, 2, z=False), None),
    (Case(3, 13, 7, 1, D=False), 5),
    (Case(2, 31, 6, 3, groups=1, softplus=False), 31),
    (Case(2, 24, 4, 5, groups=2, dt_bias=False), 8),
    (Case(2, 9, 6, 3, groups=6, state_in=False), 1),
    (Case(4, 12, 300, 4, z=False, softplus=False), None),
]


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "recomputed"])
@pytest.mark.parametrize(("case", "chunk"), CHUNKED, ids=str)
def test_chunks_equal_the_definition(
    case: Case, chunk: int | None, keep: bool, monkeypatch: pytest.MonkeyPatch, close: Callable[..., None]
) -> None:
    if not keep:
        monkeypatch.setattr(chunked, "_KEEP_BYTES", 0)
    tensors = case.tensors(torch.float64)
    compare(case, tensors, case.call(chunked.selective_scan_chunked, tensors, chunk=chunk), close, "fp64")


@pytest.mark.parametrize("chunk", [2, 5])
def test_gradcheck(chunk: int) -> None:
    case = Case(1, 5, 2, 2)
    tensors = case.tensors(torch.float64)
    assert torch.autograd.gradcheck(
        lambda *t: case.call(chunked.selective_scan_chunked, dict(zip(tensors, t, strict=True)), chunk=chunk),
        tuple(tensors.values()),
    )


def test_float32_chunks_are_close_to_float64(close: Callable[..., None]) -> None:
    case = Case(2, 128, 32, 8)
    tensors = case.tensors(torch.float32)
    compare(case, tensors, case.call(selective_scan, tensors), close, "fp32")


def test_bfloat16_on_a_cpu_keeps_states_in_float32(close: Callable[..., None]) -> None:
    case = Case(2, 40, 8, 4)
    tensors = case.tensors(torch.bfloat16)
    y, state = case.call(selective_scan, tensors)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    compare(case, tensors, (y, state), close, "bf16")


def test_vanishing_decay_on_a_cpu() -> None:
    tensors = Case(2, 10, 4, 3).tensors(torch.float64)
    tensors["dt"] = torch.full((2, 10, 4), 1e4, dtype=torch.float64, requires_grad=True)
    y, state = Case(2, 10, 4, 3).call(chunked.selective_scan_chunked, tensors, chunk=4)
    gradients = torch.autograd.grad(y.sum() + state.sum(), list(tensors.values()))
    assert all(torch.isfinite(t).all() for t in (y, state, *gradients))


# ------------------------------------------------------------------------------------------------ the kernels

# odd lengths and widths, several tiles, groups, each optional argument missing once, padded states
SMALL_CASES = [
    Case(1, 3, 10, 8),
    Case(2, 1, 3, 8, groups=1, z=False),
    Case(1, 4, 8, 8, groups=2, D=False, state_in=False),
    Case(1, 3, 6, 5, groups=2, dt_bias=False, softplus=False),
]
# the lengths share two compilations: whole tiles and ragged ends
E = (
    100 if GPU else 8
)  # channels of most cases: the lengths share one compilation, of ragged tiles, and whole ones another
LENGTHS = [Case(2, length, 100, 16) for length in (1, 63, 64, 65, 500, 2048)]
WHOLE = Case(32, 32, 512, 16, state_in=False)
LARGE_CASES = {
    "fp32": [*LENGTHS, Case(1, 40, 30, 100, groups=2, dt_bias=False, softplus=False)],
    "bf16": [*LENGTHS, WHOLE],
}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
N = 16 if GPU else 8  # states of the cases below


@pytest.mark.usefixtures("triton_path", "poisoned")
@pytest.mark.parametrize(
    ("dtype", "case"),
    [(dtype, case) for dtype, cases in LARGE_CASES.items() for case in cases]
    if GPU
    else [*(("fp32", case) for case in SMALL_CASES), ("fp16", Case(1, 3, 5, 8)), ("bf16", Case(1, 3, 5, 8))],
    ids=str,
)
def test_kernels_equal_the_definition(dtype: str, case: Case, device: str, close: Callable[..., None]) -> None:
    tensors = case.tensors(DTYPES[dtype], device)
    compare(case, tensors, case.call(selective_scan, tensors), close, dtype)


@pytest.mark.skipif(GPU, reason="the tiles that run are those chosen")
@pytest.mark.parametrize(
    "tile",
    [Tile(4, 16, 4, 2, 1, pair=2), Tile(2, 32, 1, 8, 1, packed=True)],
    ids=str,
)
def test_every_tile_gives_the_same(
    tile: Tile, device: str, close: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "chosen", lambda *_: (tile, tile))
    case = Case(1, 5, 12, 8)
    tensors = case.tensors(torch.float32, device)
    with dispatch.force("triton"):
        compare(case, tensors, case.call(selective_scan, tensors), close, "fp32")


@pytest.mark.usefixtures("triton_path")
def test_views_of_a_fused_projection(device: str, close: Callable[..., None]) -> None:
    b, length, e, n = (2, 300, E, N) if GPU else (1, 3, 4, N)
    case = Case(b, length, e, n)
    tensors = case.tensors(torch.float32, device)
    both = torch.cat([tensors["x"], tensors["z"]], 2).detach().requires_grad_()
    fused = torch.cat([tensors["dt"][:, :, :4], tensors["B"], tensors["C"]], 2).detach().requires_grad_()
    views = dict(tensors)
    views["x"], views["z"] = both.chunk(2, -1)
    _, views["B"], views["C"] = fused.split([4, n, n], -1)
    y, state = case.call(selective_scan, views)
    wanted, wanted_state = case.call(selective_scan, tensors)
    assert torch.equal(y, wanted)
    assert torch.equal(state, wanted_state)
    got = torch.autograd.grad(y.sum(), [both, fused])
    dx, dz, dB, dC = torch.autograd.grad(wanted.sum(), [tensors[k] for k in "xzBC"])
    close(got[0], torch.cat([dx, dz], 2), 0.0)
    close(got[1][:, :, 4:], torch.cat([dB, dC], 2), 0.0)


@pytest.mark.usefixtures("triton_path")
def test_state_carries_over_a_cut(device: str, close: Callable[..., None]) -> None:
    length, cut = (300, 77) if GPU else (4, 1)
    case = Case(1, length, E, N)
    tensors = {k: v.detach() for k, v in case.tensors(torch.float32, device).items()}
    y, state = case.call(selective_scan, tensors)
    timed = ("x", "dt", "B", "C", "z")
    first, middle = case.call(selective_scan, tensors | {k: tensors[k][:, :cut] for k in timed})
    second, last = case.call(selective_scan, tensors | {k: tensors[k][:, cut:] for k in timed} | {"state_in": middle})
    close(torch.cat([first, second], 1), y, 1e-6)
    close(last, state, 1e-6)


@pytest.mark.usefixtures("triton_path")
def test_two_runs_are_bit_equal(device: str) -> None:
    case = Case(2, 300 if GPU else 3, E, N)
    results = []
    for _ in range(2):
        tensors = case.tensors(torch.bfloat16 if GPU else torch.float32, device)
        y, state = case.call(selective_scan, tensors)
        results.append([y, state, *torch.autograd.grad(y.square().sum() + state.sum(), list(tensors.values()))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.usefixtures("triton_path")
def test_causal(device: str) -> None:
    length = 70 if GPU else 5
    tensors = Case(1, length, E, N).tensors(torch.float32, device)
    y, _ = Case(1, length, E, N).call(selective_scan, tensors)
    for t in (0, 3):
        for gradient in torch.autograd.grad(y[:, t].sum(), [tensors[k] for k in ("x", "dt", "B")], retain_graph=True):
            assert torch.count_nonzero(gradient[:, t + 1 :]) == 0
            assert torch.count_nonzero(gradient[:, t]) > 0


@pytest.mark.usefixtures("triton_path")
def test_strong_and_vanishing_decay(device: str) -> None:
    case = Case(1, 32 if GPU else 2, E, N)
    for value in (1e4, -1e4):  # softplus at both ends: decay 0, and decay 1 without inflow
        tensors = case.tensors(torch.float32, device)
        tensors["dt"] = torch.full_like(tensors["dt"], value).requires_grad_()
        y, state = case.call(selective_scan, tensors)
        gradients = torch.autograd.grad(y.sum() + state.sum(), list(tensors.values()))
        assert all(torch.isfinite(t).all() for t in (y, state, *gradients))


@pytest.mark.usefixtures("triton_path")
def test_only_the_state_is_used(device: str, close: Callable[..., None]) -> None:
    case = Case(1, 3, E, N)
    tensors = case.tensors(torch.float32, device)
    wanted_tensors = exact(tensors)
    names = [k for k in tensors if k not in ("C", "D", "z")]
    got = torch.autograd.grad(case.call(selective_scan, tensors)[1].sum(), [tensors[k] for k in names])
    wanted = torch.autograd.grad(
        case.call(selective_scan_reference, wanted_tensors)[1].sum(), [wanted_tensors[k] for k in names]
    )
    for name, g, w in zip(names, got, wanted, strict=True):
        close(g, w, "fp32_gradient", name)


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="no CUDA device")
def test_addresses_beyond_32_bits() -> None:
    b, length, e, n = 1, 2**17, 2**15 + 64, 1
    x = torch.zeros(b, length, e, dtype=torch.bfloat16, device="cuda")
    x[:, -1] = 1
    ones = torch.ones(b, length, n, dtype=torch.bfloat16, device="cuda")
    y, state = selective_scan(x, x, -torch.ones(e, n, device="cuda"), ones, ones, dt_softplus=False)
    assert torch.equal(y[:, -1], torch.ones_like(y[:, -1]))
    # piece by piece: the count of all at once would take another 32 GB
    assert not any(piece.any() for piece in y[:, :-1].split(1 << 13, dim=1))
    assert torch.equal(state, torch.ones_like(state))


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="no CUDA device")
def test_captured_in_a_graph() -> None:
    case = WHOLE
    tensors = case.tensors(torch.bfloat16, "cuda")

    def work() -> list[Tensor]:
        y, state = case.call(selective_scan, tensors)
        return [y, state, *torch.autograd.grad(y.float().sum(), list(tensors.values()))]

    # detached: a graph of gradients kept alive ties the leaves to this stream, which a capture must not wait for
    wanted = [t.detach() for t in work()]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = work()
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, wanted, strict=True))


# ------------------------------------------------------------------------------------------------ decoding

STEPS = [Case(2, 1, 20, 16), Case(1, 1, 6, 5, groups=2, z=False), Case(2, 1, 4, 4, D=False, dt_bias=False)]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("path", ["triton", "reference"])
@pytest.mark.parametrize("case", STEPS, ids=str)
def test_step(case: Case, path: Any, device: str, close: Callable[..., None]) -> None:
    tensors = {k: v.detach() for k, v in case.tensors(torch.float32, device).items()}
    state = tensors.pop("state_in")
    rows = {k: v[:, 0] if k in ("x", "dt", "z", "B", "C") else v for k, v in tensors.items()}
    rest = {k: rows[k] for k in ("D", "z", "dt_bias") if k in rows}
    wanted_state = state.cpu().double()
    wanted = selective_scan_step_reference(
        *(rows[k].cpu().double() for k in ("x", "dt", "A", "B", "C")),
        wanted_state,
        **{k: v.cpu().double() for k, v in rest.items()},
    )
    with dispatch.force(path):
        y = selective_scan_step(*(rows[k] for k in ("x", "dt", "A", "B", "C")), state, **rest)
    close(y, wanted, "fp32", "y")
    close(state, wanted_state, "fp32", "state")


def test_steps_equal_the_scan(device: str, close: Callable[..., None]) -> None:
    case = Case(2, 6, 8, 4)
    tensors = {k: v.detach() for k, v in case.tensors(torch.float32, device).items()}
    y, last = case.call(selective_scan, tensors)
    state = tensors["state_in"].clone()
    for t in range(6):
        x, dt, B, C, z = (tensors[k][:, t] for k in ("x", "dt", "B", "C", "z"))
        row = selective_scan_step(x, dt, tensors["A"], B, C, state, D=tensors["D"], z=z, dt_bias=tensors["dt_bias"])
        close(row, y[:, t], 1e-6)
    close(state, last, 1e-6)


# ------------------------------------------------------------------------------------------------ the call


def test_path_is_reported() -> None:
    case = Case(1, 3, 4, 2)
    dispatch.forget()
    case.call(selective_scan, case.tensors(torch.float64))
    assert dispatch.report()["selective_scan"].last == "reference"


def test_wrong_calls_are_refused() -> None:
    x, dt, A, B, C, D, z, _, state = (t.detach() for t in Case(2, 6, 4, 3).tensors(torch.float32).values())
    with pytest.raises(ValueError, match=r"dt is \(2, 5, 4\)"):
        selective_scan(x, dt[:, :5], A, B, C)
    with pytest.raises(TypeError, match="dt is torch.bfloat16; torch.float32"):
        selective_scan(x, dt.bfloat16(), A, B, C)
    with pytest.raises(TypeError, match="x is torch.int64"):
        selective_scan(x.long(), dt, A, B, C)
    with pytest.raises(TypeError, match="A is torch.float64"):
        selective_scan(x, dt, A.double(), B, C)
    with pytest.raises(TypeError, match="C is torch.float32, B is torch.bfloat16"):
        selective_scan(x.bfloat16(), dt, A, B.bfloat16(), C)
    with pytest.raises(ValueError, match="state_in"):
        selective_scan(x, dt, A, B, C, state_in=state[:1])
    with pytest.raises(ValueError, match="3 groups"):
        selective_scan(x, dt, A, *(t[:, :, None].expand(-1, -1, 3, -1) for t in (B, C)))
    with pytest.raises(ValueError, match=r"B is \(2, 6, 2\)"):
        selective_scan(x, dt, A, B[..., :2], C)
    with pytest.raises(ValueError, match="length 0"):
        selective_scan(x[:, :0], dt[:, :0], A, B[:, :0], C[:, :0])
    with pytest.raises(ValueError, match="n <= 256"):
        selective_scan(x, dt, A.repeat(1, 100), B, C)
    with pytest.raises(ValueError, match=r"z is \(2, 6, 3\)"):
        selective_scan(x, dt, A, B, C, z=z[..., :3])
    with pytest.raises(ValueError, match="contiguous"):
        selective_scan_step(x[:, 0], dt[:, 0], A, B[:, 0], C[:, 0], state.mT.contiguous().mT, D=D)


def test_chosen_tiles_hold_every_state() -> None:
    for n, narrow, channels in itertools.product(range(1, 257), (True, False), (1, 8192, 2**20)):
        forward, backward = chosen(padded(n), narrow, channels)
        assert forward.steps % backward.steps == 0
        for tile in (forward, backward):
            assert tile.lanes * tile.states == padded(n) >= n
            assert tile.channels * tile.lanes % (32 * tile.warps) == 0
    with pytest.raises(ValueError, match="spread over threads"):
        Tile(steps=8, channels=8, lanes=2, states=8, warps=1, pair=1)
