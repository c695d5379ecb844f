"""Connected components of the graph of duplicates, and which documents of a component may be merged.

Edges are an array [edges, 2] of uint64.  The root of a component is its smallest node, so the result is a
function of the set of edges: their order, their repetition and how they were split up do not matter.

A component only says that there is a way from each of its documents to each other one.  A chain of small edits
connects texts that have nothing in common, and whole sources have been lost to that.  `decide` therefore looks at
each document's similarity to the one that is kept:

    components   the first document in order of keep is the centre of the component; all are compared with it
        refuse   who is not similar to the centre is not merged; the rest goes on: what is still connected forms
                 components of its own, and those that cannot be compared any more become stars
        report, allow   merged all the same
    star         in order of keep: who is not taken yet stays, and takes those that it has a verified pair with
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from dedup.hashing import Hashes, mix64
from dedup.keep import KEEP_POLICIES, Keep, choose_kept
from quality_signals.compiled import njit

__all__ = [
    "CLUSTERS",
    "GUARDS",
    "KEEP_POLICIES",
    "Clusters",
    "Decision",
    "Forest",
    "Guard",
    "Keep",
    "choose_kept",
    "component_slices",
    "connected_components",
    "decide",
    "merged_forest",
    "spanning_forest",
]

Clusters = Literal["components", "star"]
CLUSTERS: tuple[Clusters, ...] = ("components", "star")
Guard = Literal["refuse", "report", "allow"]
GUARDS: tuple[Guard, ...] = ("refuse", "report", "allow")

# Slots of an empty table; it doubles before it is fuller than 7 in 10.
_SLOTS = 1 << 10
_FULL = 0.7
_EMPTY = np.int32(-1)
_ONE = np.int64(1)

Ints = npt.NDArray[np.int64]


@njit()
def _slot_of(key, keys, parents, mask):  # type: ignore[no-untyped-def]
    slot = np.int64(mix64(key) & np.uint64(mask))
    while parents[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + _ONE) & mask
    return slot


@njit()
def _root_of(slot, parents):  # type: ignore[no-untyped-def]
    while parents[slot] != slot:
        parents[slot] = parents[parents[slot]]
        slot = np.int64(parents[slot])
    return slot


@njit()
def _unite(edges, start, keys, parents, nodes, limit):  # type: ignore[no-untyped-def]
    """Adds edges[start:] until the table holds more than `limit` nodes: (edges done, nodes)."""
    mask = np.int64(keys.size - 1)
    for i in range(start, edges.shape[0]):
        if nodes > limit:
            return i, nodes
        a = _slot_of(edges[i, 0], keys, parents, mask)
        if parents[a] == _EMPTY:
            keys[a], parents[a] = edges[i, 0], a
            nodes += 1
        b = _slot_of(edges[i, 1], keys, parents, mask)
        if parents[b] == _EMPTY:
            keys[b], parents[b] = edges[i, 1], b
            nodes += 1
        a, b = _root_of(a, parents), _root_of(b, parents)
        if keys[a] < keys[b]:
            parents[b] = a
        elif keys[b] < keys[a]:
            parents[a] = b
    return edges.shape[0], nodes


@njit()
def _grown(keys, parents, new_keys, new_parents):  # type: ignore[no-untyped-def]
    """Each node in the new table; a node's parent there is its root here."""
    mask = np.int64(new_keys.size - 1)
    for slot in range(keys.size):
        if parents[slot] == _EMPTY:
            continue
        root = _root_of(slot, parents)
        at = _slot_of(keys[root], new_keys, new_parents, mask)
        new_keys[at], new_parents[at] = keys[root], at
        if root != slot:
            own = _slot_of(keys[slot], new_keys, new_parents, mask)
            new_keys[own], new_parents[own] = keys[slot], at


@njit()
def _labels(keys, parents, nodes, found):  # type: ignore[no-untyped-def]
    """Compacts the keys to the front of `nodes`; afterwards `found` has the root of every one of them."""
    out = 0
    for slot in range(keys.size):
        if parents[slot] != _EMPTY:
            nodes[out] = keys[slot]
            out += 1
    nodes.sort()
    mask = np.int64(keys.size - 1)
    for i in range(nodes.size):
        found[i] = keys[_root_of(_slot_of(nodes[i], keys, parents, mask), parents)]


class Forest:
    """Union by minimum over edges that come in parts; nothing of an edge is kept but the two ends' component.

    Memory: a table of 12 bytes a slot, 17 to 34 bytes a node and, while it doubles, half as much again; up to
    2^30 nodes.  `components` adds 16 bytes a node.
    """

    def __init__(self) -> None:
        self._keys = np.zeros(_SLOTS, np.uint64)
        self._parents = np.full(_SLOTS, _EMPTY, np.int32)
        self.nodes = 0

    def add(self, edges: Hashes) -> None:
        """edges: [edges, 2], or flat."""
        edges = np.ascontiguousarray(edges).reshape(-1, 2)
        done = 0
        while done < edges.shape[0]:
            limit = int(_FULL * self._keys.size) - 2
            done, self.nodes = _unite(edges, done, self._keys, self._parents, self.nodes, limit)
            if self.nodes > limit:
                self._grow()

    def _grow(self) -> None:
        slots = 2 * self._keys.size
        if slots > 1 << 31:
            raise ValueError(f"{self.nodes:,} documents in clusters are more than one worker's forest holds")
        keys, parents = np.zeros(slots, np.uint64), np.full(slots, _EMPTY, np.int32)
        _grown(self._keys, self._parents, keys, parents)
        self._keys, self._parents = keys, parents

    def components(self) -> tuple[Hashes, Hashes]:
        """Nodes [nodes], ascending, and the smallest node of each one's component [nodes]."""
        nodes, roots = np.empty(self.nodes, np.uint64), np.empty(self.nodes, np.uint64)
        _labels(self._keys, self._parents, nodes, roots)
        return nodes, roots


def connected_components(edges: Hashes) -> tuple[Hashes, Hashes]:
    """Nodes [nodes], ascending, and the smallest node of each one's component [nodes]."""
    forest = Forest()
    forest.add(edges)
    return forest.components()


def spanning_forest(edges: Hashes) -> Hashes:
    """At most nodes - 1 edges [., 2] (root, node) that connect what `edges` connect, sorted by node."""
    return merged_forest([edges])


def merged_forest(parts: Iterable[Hashes]) -> Hashes:
    """Spanning forest of many edge lists.  Memory: `Forest` and one list."""
    forest = Forest()
    for part in parts:
        forest.add(part)
    nodes, roots = forest.components()
    inner = nodes != roots
    return np.stack([roots[inner], nodes[inner]], axis=1)


def component_slices(roots: Hashes) -> list[slice]:
    """The slice of every component; roots: sorted."""
    starts = np.flatnonzero(np.concatenate([[True], roots[1:] != roots[:-1]])).tolist() if roots.size else []
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], roots.size], strict=False)]


# -- which of them are merged --------------------------------------------------------------------------------

LINK = np.dtype([("first", "<i8"), ("second", "<i8"), ("similarity", "<f8"), ("band", "<i8")])
"""A measured pair of documents, by their numbers; either order."""
PENDING = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """For every document [documents]; a document that stays is its own `kept`.

    kept        number of the document that stays in its place; PENDING where similarities are asked for first
    similarity  to the kept one; NaN where the document stays or is pending
    band        of the link that decided; NaN-like -2 where the pair was measured on request
    refused     not merged with the centre of its cluster although connected to it
    to_centre   similarity to the first document of `clusters`, NaN where it is not known
    cluster     the smallest number of the cluster that the document is in from now on; of use where pending
    asked       [., 2] the pairs (centre, document) whose similarity is not known and asked for
    """

    kept: Ints
    similarity: npt.NDArray[np.float64]
    band: Ints
    refused: npt.NDArray[np.bool_]
    to_centre: npt.NDArray[np.float64]
    cluster: Ints
    asked: Ints


ON_REQUEST = -2


@njit()
def _stars(order, starts, neighbours, edges, similarities, bands, kept, found, band):  # type: ignore[no-untyped-def]
    """Greedy in order: kept[d] is -1 for a free document of `order`, else it takes no part."""
    for place in range(order.size):
        centre = order[place]
        if kept[centre] != PENDING:
            continue
        kept[centre] = centre
        for i in range(starts[centre], starts[centre + 1]):
            other = neighbours[i]
            if kept[other] == PENDING:
                kept[other] = centre
                found[other] = similarities[edges[i]]
                band[other] = bands[edges[i]]


def decide(
    clusters: Ints,
    links: np.ndarray,
    answers: np.ndarray | None,
    *,
    threshold: float,
    guard: Guard,
    ask_from: int | None,
) -> Decision:
    """One round of decisions about the documents of some clusters.

    clusters   [documents] the cluster of each, any numbers, not decreasing; inside a cluster in order of keep
    links      LINK: verified pairs, each once, none across clusters
    answers    LINK: the pairs (centre, document) that an earlier round asked for; None in the first round
    ask_from   clusters with more documents than this whose centre is not linked to all others are asked about;
               None: nothing is asked any more, what is not linked is not merged

    With answers every cluster's centre is linked or answered to all others.  Memory: about 150 bytes a document
    and 50 a link.
    """
    size = clusters.size
    numbers = np.arange(size, dtype=np.int64)
    kept = np.full(size, PENDING, np.int64)
    similarity = np.full(size, np.nan)
    band = np.full(size, ON_REQUEST, np.int64)
    refused = np.zeros(size, np.bool_)
    centre = _first_of_runs(clusters)
    known = _known_to_centre(centre, links, answers, similarity, band)
    to_centre = similarity.copy()
    if answers is not None:
        merged = known & (similarity >= threshold) if guard == "refuse" else known
        merged |= centre == numbers
        kept[merged] = centre[merged]
        refused = ~merged
    similarity[kept == PENDING], band[kept == PENDING] = np.nan, ON_REQUEST
    if guard == "refuse" or answers is None:
        free = kept == PENDING
        links = links[free[links["first"]] & free[links["second"]]]
        cluster = centre if answers is None else _smallest_connected(size, links)
    else:
        cluster = centre
    asked = np.zeros((0, 2), np.int64)
    free = np.flatnonzero(kept == PENDING)
    if ask_from is not None and free.size:
        free, asked = _questions(free, cluster, links, ask_from)
    order, starts, neighbours, edges = free, *_adjacency(size, links)
    closed = np.ones(size, np.bool_)
    closed[free] = False
    kept_now = np.where(closed & (kept == PENDING), PENDING - 1, kept)
    _stars(
        order, starts, neighbours, edges, np.ascontiguousarray(links["similarity"]),
        np.ascontiguousarray(links["band"]), kept_now, similarity, band,
    )  # fmt: skip
    kept = np.where(kept_now < 0, PENDING, kept_now)
    if answers is None:
        refused = (kept != PENDING) & (kept != centre)
    return Decision(kept, similarity, band, refused, to_centre, cluster, asked)


def _first_of_runs(values: Ints) -> Ints:
    """[n] the first index of the run of equal values that each belongs to."""
    fresh = np.ones(values.size, np.bool_)
    fresh[1:] = values[1:] != values[:-1]
    return np.maximum.accumulate(np.where(fresh, np.arange(values.size), 0))


def _known_to_centre(
    centre: Ints, links: np.ndarray, answers: np.ndarray | None, similarity: npt.NDArray[np.float64], band: Ints
) -> npt.NDArray[np.bool_]:
    """Fills in the similarity to the centre and its band where a link or an answer tells them."""
    known = np.zeros(centre.size, np.bool_)
    for pairs, asked in ((answers, True), (links, False)):
        if pairs is None:
            continue
        for one, other in (("first", "second"), ("second", "first")):
            hits = pairs[pairs[one] == centre[pairs[other]]]
            hits = hits[hits["first"] != hits["second"]]
            similarity[hits[other]] = hits["similarity"]
            band[hits[other]] = ON_REQUEST if asked else hits["band"]
            known[hits[other]] = True
    return known


def _smallest_connected(size: int, links: np.ndarray) -> Ints:
    """[size] the smallest document that each is connected to through the links, itself where there is none."""
    cluster = np.arange(size, dtype=np.int64)
    ends = np.stack([links["first"], links["second"]], axis=1).astype(np.uint64)
    nodes, roots = connected_components(ends)
    cluster[nodes.astype(np.int64)] = roots.astype(np.int64)
    return cluster


def _questions(free: Ints, cluster: Ints, links: np.ndarray, ask_from: int) -> tuple[Ints, Ints]:
    """Which of the free documents are decided now, and the pairs (centre, document) that are asked for the others.

    The centre of a cluster is its smallest document, so the cluster's number.
    """
    sizes = np.bincount(cluster[free], minlength=cluster.size)
    linked = np.zeros(cluster.size, np.bool_)
    for one, other in (("first", "second"), ("second", "first")):
        linked[links[other][links[one] == cluster[links[other]]]] = True
    missing = free[~linked[free] & (cluster[free] != free)]
    missing = missing[sizes[cluster[missing]] > ask_from]
    waits = np.zeros(cluster.size, np.bool_)
    waits[cluster[missing]] = True
    return free[~waits[cluster[free]]], np.stack([cluster[missing], missing], axis=1)


def _adjacency(size: int, links: np.ndarray) -> tuple[Ints, Ints, Ints]:
    """Neighbours of document d: neighbours[starts[d]:starts[d + 1]], each with the number of its link."""
    one = np.concatenate([links["first"], links["second"]])
    other = np.concatenate([links["second"], links["first"]])
    order = np.argsort(one, kind="stable")
    starts = np.zeros(size + 1, np.int64)
    np.cumsum(np.bincount(one, minlength=size), out=starts[1:])
    return starts, other[order], order % max(links.size, 1)
