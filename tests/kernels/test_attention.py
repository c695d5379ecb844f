"""`attention` against its plain definition: shared key heads, causality, windows, masks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.attention import attention, reference

Close = Callable[..., None]
SIZES = [(9, 9, 4, 4), (9, 9, 4, 2), (1, 9, 4, 1), (5, 12, 4, 2), (150, 150, 4, 2), (150, 170, 2, 1)]


def normal(*shape: int, device: str = "cpu", dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def compare(
    sizes: tuple[int, int, int, int],
    p: int,
    causal: bool,
    window: int | None,
    mask: Tensor | None,
    dtype: torch.dtype,
    device: str,
    close: Close,
) -> None:
    queries, keys, heads, groups = sizes
    q = normal(2, queries, heads, p, device=device, dtype=dtype, seed=1).requires_grad_()
    k = normal(2, keys, groups, p, device=device, dtype=dtype, seed=2).requires_grad_()
    v = normal(2, keys, groups, p, device=device, dtype=dtype, seed=3).requires_grad_()
    dy = normal(2, queries, heads, p, device=device, dtype=dtype, seed=4)
    y = attention(q, k, v, causal=causal, window=window, mask=mask)
    got = [y, *torch.autograd.grad(y, (q, k, v), dy)]
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    want_y = reference.attention(*exact, causal, window, None if mask is None else mask.double(), p**-0.5)
    want = [want_y, *torch.autograd.grad(want_y, exact, dy.double())]
    kind = {torch.float64: "fp64", torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    for i, (g, t) in enumerate(zip(got, want, strict=True)):
        close(
            g,
            t,
            1e-11 if dtype == torch.float64 else kind if i == 0 else f"{kind}_gradient",
            ["y", "dq", "dk", "dv"][i],
        )


@pytest.mark.parametrize("heads_of_mask", [None, 1, "all"])
@pytest.mark.parametrize("window", [None, 3, 70])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_is_the_definition(
    sizes: tuple[int, int, int, int], causal: bool, window: int | None, heads_of_mask: int | str | None, close: Close
) -> None:
    mask = None
    if heads_of_mask is not None:
        mask = normal(1, sizes[2] if heads_of_mask == "all" else 1, *sizes[:2], seed=5)
    compare(sizes, 8, causal, window, mask, torch.float64, "cpu", close)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 64, 500])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "sizes", [(2048, 2048, 8, 8), (500, 500, 8, 2), (65, 65, 8, 1), (1, 300, 8, 1), (33, 700, 8, 2)]
)
def test_is_the_definition_on_a_gpu(
    sizes: tuple[int, int, int, int], dtype: torch.dtype, window: int | None, device: str, close: Close
) -> None:
    compare(sizes, 64, True, window, None, dtype, device, close)


@pytest.mark.gpu
def test_tree_mask_on_a_gpu(device: str, close: Close) -> None:
    mask = torch.zeros(33, 733, device=device)
    mask[:, 700:] = torch.where(torch.rand(33, 33, device=device) < 0.5, 0.0, float("-inf"))
    compare((33, 733, 8, 2), 64, False, None, mask, torch.bfloat16, device, close)


def test_a_tree_of_drafts_is_its_paths(close: Close) -> None:
    """Each leaf of a verified tree gets what the path to it gets alone."""
    prefix, parents = 6, [-1, 0, 0, 1, 2]
    nodes = len(parents)
    k, v = normal(1, prefix + nodes, 2, 8, seed=1), normal(1, prefix + nodes, 2, 8, seed=2)
    q = normal(1, nodes, 4, 8, seed=3)
    mask = torch.full((nodes, prefix + nodes), float("-inf"), dtype=torch.float64)
    mask[:, :prefix] = 0.0
    for node in range(nodes):
        above = node
        while above >= 0:
            mask[node, prefix + above] = 0.0
            above = parents[above]
    y = attention(q, k, v, causal=False, mask=mask)
    for node in range(nodes):
        path = (mask[node] == 0).nonzero().flatten()
        close(y[:, node : node + 1], attention(q[:, node : node + 1], k[:, path], v[:, path]), "fp64")


def test_no_query_sees_a_later_key() -> None:
    for window in (None, 4):
        k = normal(1, 12, 1, 8, seed=2).requires_grad_()
        y = attention(normal(1, 12, 2, 8, seed=1), k, normal(1, 12, 1, 8, seed=3), window=window)
        (dk,) = torch.autograd.grad(y[:, 7].sum(), k)
        seen = (dk.abs().sum((0, 2, 3)) != 0).nonzero().flatten().tolist()
        assert seen == list(range(0 if window is None else 4, 8))


def test_errors_name_the_tensor() -> None:
    q, k = normal(1, 4, 4, 8), normal(1, 6, 2, 8)
    with pytest.raises(ValueError, match="v is"):
        attention(q, k, k[:, 1:])
    with pytest.raises(ValueError, match="k is"):
        attention(q, k[:, :3], k[:, :3])
    with pytest.raises(TypeError, match="k is torch.float32"):
        attention(q, k.float(), k)
    with pytest.raises(ValueError, match="window 0"):
        attention(q, k, k, window=0)
    with pytest.raises(TypeError, match="mask is torch.bool"):
        attention(q, k, k, mask=torch.ones(4, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask is \(3, 6\)"):
        attention(q, k, k, mask=torch.zeros(3, 6))
