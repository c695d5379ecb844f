"""Connected components against networkx; which document of a cluster is kept."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.components import (
    choose_kept,
    component_slices,
    connected_components,
    merged_forest,
    spanning_forest,
)

NODES = st.one_of(st.integers(0, 12), st.integers(2**62, 2**62 + 3))
EDGES = st.lists(st.tuples(NODES, NODES), max_size=40)


def as_edges(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


def labels(edges: np.ndarray) -> dict[int, int]:
    nodes, roots = connected_components(edges)
    return dict(zip(nodes.tolist(), roots.tolist(), strict=True))


@settings(deadline=None)  # the first call may compile
@given(EDGES)
def test_roots_are_the_smallest_nodes_of_networkx_components(pairs: list[tuple[int, int]]) -> None:
    graph = nx.Graph(pairs)
    expected = {node: min(part) for part in nx.connected_components(graph) for node in part}
    assert labels(as_edges(pairs)) == expected


@settings(deadline=None)  # the first call may compile
@given(EDGES, st.randoms(), st.integers(1, 5))
def test_any_order_and_any_partition_give_the_same_forest(pairs, rng, parts) -> None:  # type: ignore[no-untyped-def]
    whole = spanning_forest(as_edges(pairs))
    shuffled = [(b, a) if rng.random() < 0.5 else (a, b) for a, b in pairs]
    rng.shuffle(shuffled)
    pieces = [spanning_forest(as_edges(shuffled[i::parts])) for i in range(parts)]
    assert np.array_equal(merged_forest(pieces), whole)
    inner = {node: root for node, root in labels(as_edges(pairs)).items() if node != root}
    assert {int(node): int(root) for root, node in whole} == inner


def test_forest_is_contracted_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedup.components._PENDING_EDGES", 3)
    chain = [as_edges([(i, i + 1)]) for i in range(100)]
    assert np.array_equal(merged_forest(chain), as_edges([(0, i) for i in range(1, 101)]))
    assert merged_forest([]).shape == (0, 2)


def test_long_chain_of_shuffled_ids() -> None:
    ids = np.random.default_rng(5).permutation(200_000).astype(np.uint64)
    nodes, roots = connected_components(np.stack([ids[:-1], ids[1:]], axis=1))
    assert nodes.size == 200_000 and not roots.any()


@pytest.mark.parametrize(
    "policy,members,kept",
    [
        ("longest", [("b", 3), ("a", 2), ("c", 3)], 0),
        ("longest", [("c", 3), ("b", 3)], 1),
        ("smallest_id", [("b", 3), ("a", 2), ("c", 9)], 1),
        ("longest", [("x", 0)], 0),
    ],
)
def test_choose_kept(policy, members, kept) -> None:  # type: ignore[no-untyped-def]
    assert choose_kept(members, policy) == kept


def test_choose_kept_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="allowed are longest, smallest_id"):
        choose_kept([("a", 1)], "newest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without members"):
        choose_kept([], "longest")


@settings(deadline=None)  # the first call may compile
@given(st.lists(st.integers(0, 5)).map(sorted))
def test_component_slices(roots: list[int]) -> None:
    slices = component_slices(np.array(roots, np.uint64))
    assert [roots[s] for s in slices] == [[r] * roots.count(r) for r in sorted(set(roots))]
