"""The state-space mixing of Mamba-2 against its recurrence in float64: values, gradients, decoding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels import dispatch
from kernels.ssd import reference, ssd, ssd_replay, ssd_step

F64 = torch.float64
NAMES = ("x", "dt", "A", "B", "C", "D", "dt_bias", "state_in")
Close = Callable[..., None]
# test_ssd_gpu.py and its neighbour have the cases for a GPU, where every shape class is compiled anew.
interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="shapes for the interpreter")


@dataclasses.dataclass(frozen=True)
class Case:
    """b, l, h, p, g, n as in the docstring of ssd; chunk of the kernels."""

    b: int
    l: int  # noqa: E741 the length, as everywhere
    h: int
    p: int
    g: int
    n: int
    chunk: int | None = None
    documents: bool = False
    options: bool = True  # D, dt_bias and state_in are given

    def __str__(self) -> str:
        text = f"b{self.b} l{self.l} h{self.h} p{self.p} g{self.g} n{self.n}"
        return text + (f" q{self.chunk}" if self.chunk else "") + " documents" * self.documents


# Interpreted: a chunk and its neighbours, widths that are no tile's, one group, several, one a head, heads in parts.
SMALL = [
    Case(1, 1, 1, 16, 1, 16, 16),
    Case(1, 16, 2, 16, 1, 16, 16, options=False),
    Case(2, 37, 4, 24, 2, 20, 16),
    Case(1, 33, 2, 8, 2, 5, 16, documents=True),
    Case(1, 31, 2, 40, 1, 16, 16, documents=True),
]


def inputs(case: Case, dtype: torch.dtype, device: str, seed: int = 0) -> dict[str, Tensor]:
    """Drawn in the type of the kernels: x, B and C are views of one projection, as in the model."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float32)

    b, length, h, p, g, n = case.b, case.l, case.h, case.p, case.g, case.n
    width = h * p + 2 * g * n
    fused = normal(b, length, width)
    fused[..., h * p :] *= 0.5
    fused = fused.to(dtype).to(device)
    found = {
        "x": fused[..., : h * p].view(b, length, h, p),
        "B": fused[..., h * p : h * p + g * n].view(b, length, g, n),
        "C": fused[..., h * p + g * n :].view(b, length, g, n),
        "dt": normal(b, length, h) - 3.0 if case.options else torch.nn.functional.softplus(normal(b, length, h) - 4.0),
        "A": -torch.exp(torch.rand(h, generator=generator)),
    }
    if case.options:
        found |= {"D": normal(h), "dt_bias": normal(h), "state_in": normal(b, h, p, n)}
    return {name: tensor.to(device) for name, tensor in found.items()}


def sequence(case: Case, device: str) -> Tensor | None:
    """Documents of 13 tokens, one of 100, one of a single token."""
    if not case.documents:
        return None
    at = torch.arange(case.l, device=device)
    numbers = torch.where(at < 100, at // 13, 40 + (at > 200).int() + (at > 201).int())
    return numbers[None].expand(case.b, -1).contiguous()


def run(tensors: dict[str, Tensor], case: Case, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    named = {name: tensors.get(name) for name in ("D", "dt_bias", "state_in")}
    x, dt, A, B, C = (tensors[name] for name in ("x", "dt", "A", "B", "C"))
    return ssd(x, dt, A, B, C, **named, seq_idx=sequence(case, str(x.device)), chunk=chunk)


def define(tensors: dict[str, Tensor], case: Case) -> tuple[Tensor, Tensor]:
    numbers = sequence(case, str(tensors["x"].device))
    step = reference.positive_step(tensors["dt"], tensors.get("dt_bias"))
    x, A, B, C = (tensors[name] for name in ("x", "A", "B", "C"))
    document = None if numbers is None else reference.document_numbers(numbers)
    return reference.ssd_sequential(x, step, A, B, C, tensors.get("D"), tensors.get("state_in"), document)


def run_definition(tensors: dict[str, Tensor], case: Case) -> tuple[Tensor, Tensor]:
    with dispatch.force("reference"):
        return run(tensors, case)


def leaves(
    tensors: dict[str, Tensor], dtype: torch.dtype | None = None, device: str | None = None
) -> dict[str, Tensor]:
    return {name: t.detach().to(device or t.device, dtype or t.dtype).requires_grad_() for name, t in tensors.items()}


def gradients(y: Tensor, state: Tensor, tensors: dict[str, Tensor], seed: int = 1) -> dict[str, Tensor]:
    """Of a fixed random combination of y and the state, drawn in bfloat16 so that all types see the same."""
    generator = torch.Generator().manual_seed(seed)
    dy = torch.randn(y.shape, generator=generator).bfloat16().to(y.device, y.dtype)
    dstate = torch.randn(state.shape, generator=generator).bfloat16().to(state.device, state.dtype)
    found = torch.autograd.grad((y, state), list(tensors.values()), (dy, dstate))
    return dict(zip(tensors, found, strict=True))


def compare(case: Case, dtype: torch.dtype, device: str, close: Close, kind: str) -> None:
    tensors = inputs(case, dtype, device)
    # thousands of steps one after the other are slow; by chunks they are the same in float64, as the first test shows
    exact = leaves(tensors, F64)
    y, state = define(exact, case) if device == "cpu" else run_definition(exact, case)
    wanted = gradients(y, state, exact)
    own = leaves(tensors)
    got_y, got_state = run(own, case, chunk=case.chunk)
    assert got_y.dtype == dtype and got_state.dtype == torch.float32
    close(got_y, y, kind, "y")
    close(got_state, state, kind, "state")
    for name, gradient in gradients(got_y, got_state, own).items():
        assert gradient.dtype == own[name].dtype
        close(gradient, wanted[name], f"{kind}_gradient", f"d{name}")


@pytest.mark.parametrize("case", [*SMALL, Case(2, 150, 4, 8, 2, 6)], ids=str)
@pytest.mark.parametrize("chunk", [5, 64])
def test_the_definition_by_chunks_equals_the_recurrence(case: Case, chunk: int, close: Close) -> None:
    tensors = leaves(inputs(case, torch.float32, "cpu"), F64)
    y, state = define(tensors, case)
    got_y, got_state = run(tensors, case, chunk=chunk)
    close(got_y, y, "fp64", "y")
    close(got_state, state, "fp64", "state")
    wanted = gradients(y, state, tensors)
    for name, gradient in gradients(got_y, got_state, tensors).items():
        close(gradient, wanted[name], 1e-10, f"d{name}")


@interpreted
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_kernels_equal_the_recurrence(case: Case, device: str, close: Close, poisoned: None) -> None:
    with dispatch.force("triton"):
        compare(case, torch.float32, device, close, "fp32")


@interpreted
def test_kernels_in_half_precision(device: str, close: Close, poisoned: None) -> None:
    with dispatch.force("triton"):
        compare(Case(1, 33, 2, 16, 1, 16, 16), torch.float16, device, close, "fp16")


@pytest.mark.parametrize("count", [3])
def test_segments_give_what_one_pass_gives(count: int, device: str, close: Close, poisoned: None) -> None:
    from kernels.ssd.decay import decays
    from kernels.ssd.forward import ssd_forward
    from kernels.ssd.tiles import forward_tile

    case = Case(1, 70, 2, 40, 1, 16, 16, documents=True)
    tensors = inputs(case, torch.float32, device)
    numbers = sequence(case, device)
    assert numbers is not None
    document = reference.document_numbers(numbers)
    tile = dataclasses.replace(forward_tile(torch.float32, case.p, case.n, 16))
    found = decays(tensors["dt"], tensors["A"], tensors["dt_bias"], 16)
    x, B, C, D, state_in = (tensors[name] for name in ("x", "B", "C", "D", "state_in"))
    for entering in (state_in, None):
        whole = ssd_forward(x, B, C, D, found, entering, document, tile, save=True, count=1)
        parts = ssd_forward(x, B, C, D, found, entering, document, tile, save=True, count=count)
        for got, want in zip(parts, whole, strict=True):
            assert got is not None and want is not None
            close(got, want, "fp32")


@interpreted
def test_two_runs_are_equal_to_the_bit(device: str) -> None:
    case, dtype, runs = Case(1, 20, 2, 16, 1, 16, 16), torch.float32, []
    with dispatch.force("triton"):
        for _ in range(2):
            tensors = leaves(inputs(case, dtype, device))
            y, state = run(tensors, case, chunk=case.chunk)
            runs.append([y, state, *gradients(y, state, tensors).values()])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


@interpreted
@pytest.mark.parametrize("wanted", ["y", "state"])
def test_either_output_alone_has_gradients(wanted: str, device: str, close: Close, poisoned: None) -> None:
    case = Case(1, 20, 2, 16, 1, 16, 16)
    tensors = inputs(case, torch.float32, device)
    exact, own = leaves(tensors, F64, "cpu"), leaves(tensors)
    at = ("y", "state").index(wanted)
    with dispatch.force("triton"):
        got = torch.autograd.grad(run(own, case, chunk=16)[at].square().sum(), list(own.values()), allow_unused=True)
    want = torch.autograd.grad(define(exact, case)[at].square().sum(), list(exact.values()), allow_unused=True)
    for name, g, w in zip(own, got, want, strict=True):
        close(g, torch.zeros_like(exact[name]) if w is None else w, "fp32_gradient", f"d{name}")


@pytest.mark.parametrize("path", ["triton", "reference"])
def test_no_token_sees_the_future(path: str, device: str) -> None:
    case = Case(1, 40, 2, 16, 1, 16, 16)
    tensors = leaves(inputs(case, torch.float32, device))
    with dispatch.force(path):  # type: ignore[arg-type]
        y, _ = run(tensors, case, chunk=16)
        for at in (0, 15, 16, 30):
            found = torch.autograd.grad(
                y[:, at].square().sum(), [tensors[k] for k in ("x", "dt", "B", "C")], retain_graph=True
            )
            for gradient in found:
                assert gradient[:, at].abs().sum() > 0
                assert not gradient[:, at + 1 :].any()


@interpreted
def test_documents_do_not_mix(device: str) -> None:
    case = Case(1, 40, 2, 16, 1, 16, 16, documents=True)
    tensors = inputs(case, torch.float32, device)
    with dispatch.force("triton"):
        y, _ = run(tensors, case, chunk=16)
        alone = {k: v[:, 13:26] if k in ("x", "dt", "B", "C") else v for k, v in tensors.items() if k != "state_in"}
        expected, _ = run(alone, Case(1, 13, 2, 16, 1, 16, 16), chunk=16)
    torch.testing.assert_close(y[:, 13:26], expected, rtol=1e-5, atol=1e-5)


@interpreted
def test_one_path_or_the_other_takes_a_gate(device: str, close: Close) -> None:
    case = SMALL[2]
    tensors = inputs(case, torch.float32, device)
    z = torch.randn(tensors["x"].shape, generator=torch.Generator().manual_seed(5)).to(device)
    x, dt, A, B, C = (tensors[name] for name in ("x", "dt", "A", "B", "C"))
    plain, _ = ssd(x, dt, A, B, C, dt_bias=tensors["dt_bias"])
    gated, _ = ssd(x, dt, A, B, C, dt_bias=tensors["dt_bias"], z=z)
    close(gated, plain * torch.nn.functional.silu(z), "fp32")


def test_what_is_refused() -> None:
    tensors = inputs(SMALL[1], torch.float32, "cpu")
    x, dt, A, B, C = (tensors[name] for name in ("x", "dt", "A", "B", "C"))
    with pytest.raises(ValueError, match=r"ssd: dt is .*; \(1, 16, 2\) is needed"):
        ssd(x, dt[:, :3], A, B, C)
    with pytest.raises(TypeError, match=r"ssd: B is torch.float16; torch.float32 is needed"):
        ssd(x, dt, A, B.half(), C)
    with pytest.raises(ValueError, match="number of groups of B is 3; a divisor of 2 heads is needed"):
        ssd(x, dt, A, B.expand(-1, -1, 3, -1), C)
    with pytest.raises(ValueError, match="chunk is 17; 16 or 32 or 64 is needed"), dispatch.force("triton"):
        ssd(x, dt, A, B, C, chunk=17)
    with pytest.raises(ValueError, match="ssd_step: state is .* a contiguous"):
        ssd_step(torch.zeros(1, 2, 16, 32)[..., ::2], x[:, 0], dt[:, 0], A, B[:, 0], C[:, 0])
    with pytest.raises(ValueError, match="ssd_replay: new is 17; 0 to 16 is needed"):
        ssd_replay(torch.zeros(1, 2, 16, 16), x, dt, A, B, C, new=17)
