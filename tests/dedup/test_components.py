"""Connected components against networkx; which document of a cluster is kept."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.bands import ALL_PAIRS_GROUP
from dedup.components import (
    LINK,
    PENDING,
    Forest,
    Guard,
    component_slices,
    connected_components,
    decide,
    merged_forest,
    spanning_forest,
)
from dedup.keep import choose_kept

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


def test_a_forest_grows_on_the_way() -> None:
    forest = Forest()
    for i in range(5000):
        forest.add(as_edges([(i, i + 1)]))
    nodes, roots = forest.components()
    assert np.array_equal(nodes, np.arange(5001)) and not roots.any()
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


# -- which of a component are merged -----------------------------------------------------------------------

THRESHOLD = 0.8
# A document's similarity to every other one, in order of keep; a link is a pair that candidates found.
SIMILARITIES = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(
            st.tuples(
                st.integers(0, n - 1), st.integers(0, n - 1), st.sampled_from([0.1, 0.79, 0.8, 0.9]), st.booleans()
            ),
            max_size=40,
        ),
    )
)


def as_links(pairs: dict[tuple[int, int], float], band: int = 3) -> np.ndarray:
    return np.array([(a, b, s, band) for (a, b), s in pairs.items()], LINK)


def merged(
    size: int, similarity: dict[tuple[int, int], float], links: np.ndarray, guard: Guard, ask_from: int, rounds: int
) -> tuple[dict[int, tuple[int, float]], int]:
    """Kept document and similarity of every one, by `decide` as the stage calls it, and the refused."""
    nodes, roots = connected_components(np.stack([links["first"], links["second"]], 1).astype(np.uint64))
    cluster = np.arange(size)
    cluster[nodes.astype(int)] = roots
    order = np.lexsort((np.arange(size), cluster))
    found: dict[int, tuple[int, float]] = {}
    refused = 0
    answers = None
    for number in range(rounds + 1):
        place = np.full(size, -1)
        place[order] = np.arange(order.size)
        own = links[(place[links["first"]] >= 0) & (place[links["second"]] >= 0)]
        own = own[cluster[own["first"]] == cluster[own["second"]]].copy()
        for pairs in (own, answers):
            if pairs is not None:
                pairs["first"], pairs["second"] = place[pairs["first"]], place[pairs["second"]]
        decision = decide(
            cluster[order],
            own,
            answers,
            threshold=THRESHOLD,
            guard=guard,
            ask_from=ask_from if number < rounds else None,
        )
        refused += int(decision.refused.sum()) if not number or not refused else 0
        for i, kept in enumerate(decision.kept.tolist()):
            if kept != PENDING:
                found[int(order[i])] = (int(order[kept]), decision.similarity[i])
        waiting = np.flatnonzero(decision.kept == PENDING)
        asked = [(int(order[a]), int(order[b])) for a, b in decision.asked]
        answers = np.array([(a, b, similarity.get((min(a, b), max(a, b)), 0.0), 0) for a, b in asked], LINK)
        cluster = cluster.copy()
        cluster[order[waiting]] = order[decision.cluster[waiting]]
        order = order[waiting][np.lexsort((order[waiting], cluster[order[waiting]]))]
        if not order.size:
            break
    assert sorted(found) == list(range(size))
    return found, refused


def greedy(size: int, near: set[tuple[int, int]]) -> dict[int, int]:
    """The definition of stars: in order, who is free stays and takes all free ones that are near."""
    kept: dict[int, int] = {}
    for centre in range(size):
        if centre in kept:
            continue
        kept[centre] = centre
        for other in range(size):
            if other not in kept and ((min(centre, other), max(centre, other)) in near):
                kept[other] = centre
    return kept


@settings(deadline=None, max_examples=300)
@given(SIMILARITIES, st.sampled_from([0, ALL_PAIRS_GROUP]), st.integers(0, 2))
def test_nobody_is_dropped_for_who_is_not_similar(drawn, ask_from, rounds) -> None:  # type: ignore[no-untyped-def]
    size, pairs = drawn
    similarity = {(min(a, b), max(a, b)): s for a, b, s, _ in pairs if a != b}
    seen = {(min(a, b), max(a, b)) for a, b, _, linked in pairs if linked}
    links = as_links({p: s for p, s in similarity.items() if s >= THRESHOLD and p in seen})
    found, _ = merged(size, similarity, links, "refuse", ask_from, rounds)
    for document, (kept, value) in found.items():
        assert found[kept][0] == kept  # who takes others stays itself
        if kept == document:
            assert np.isnan(value)
        else:
            assert kept < document and value == similarity[kept, document] >= THRESHOLD


@settings(deadline=None, max_examples=300)
@given(SIMILARITIES)
def test_stars_are_the_greedy_definition(drawn) -> None:  # type: ignore[no-untyped-def]
    size, pairs = drawn
    similarity = {(min(a, b), max(a, b)): s for a, b, s, _ in pairs if a != b}
    near = {p: s for p, s in similarity.items() if s >= THRESHOLD}
    for ask_from, rounds in ((ALL_PAIRS_GROUP, 2), (0, 0), (0, 1), (0, 2)):
        found, _ = merged(size, similarity, as_links(near), "refuse", ask_from, rounds)
        assert {d: kept for d, (kept, _) in found.items()} == greedy(size, set(near))


@settings(deadline=None, max_examples=100)
@given(SIMILARITIES)
def test_report_merges_whole_components(drawn) -> None:  # type: ignore[no-untyped-def]
    size, pairs = drawn
    similarity = {(min(a, b), max(a, b)): s for a, b, s, _ in pairs if a != b}
    near = {p: s for p, s in similarity.items() if s >= THRESHOLD}
    graph = nx.Graph(list(near))
    graph.add_nodes_from(range(size))
    expected = {node: min(part) for part in nx.connected_components(graph) for node in part}
    found, refused = merged(size, similarity, as_links(near), "report", 0, 1)
    assert {d: kept for d, (kept, _) in found.items()} == expected and not refused
    for document, (kept, value) in found.items():
        assert kept == document or value == similarity.get((kept, document), 0.0)


def test_two_cliques_with_a_bridge_are_two_clusters_though_their_pairs_are_few() -> None:
    """As of groups beyond 64, whose members are linked with one hub and their neighbours only."""
    size = 200
    side = lambda d: d % 2  # noqa: E731
    similarity = {(a, b): 0.95 if side(a) == side(b) else 0.2 for a in range(size) for b in range(a + 1, size)}
    hubs = {(min(d, size - 1 - side(d + 1)), max(d, size - 1 - side(d + 1))): 0.95 for d in range(size - 2)}
    similarity[198, 199] = hubs[198, 199] = 0.85
    found, refused = merged(size, similarity, as_links(hubs), "refuse", ALL_PAIRS_GROUP, 2)
    assert {d: kept for d, (kept, _) in found.items()} == {d: side(d) for d in range(size)}
    assert refused == 100


def test_a_chain_is_cut_into_stars() -> None:
    """1,000 documents of which each is like the five before it: the ends have nothing in common."""
    size = 1000
    similarity = {(a, b): 1 - 0.04 * (b - a) for a in range(size) for b in range(a + 1, min(a + 6, size))}
    found, refused = merged(size, similarity, as_links(similarity), "refuse", 0, 2)
    assert {d: kept for d, (kept, _) in found.items()} == {d: d - d % 6 for d in range(size)}
    assert refused == size - 6
