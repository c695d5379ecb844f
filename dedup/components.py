"""Connected components of the graph of duplicates, and which document of a component is kept.

Edges are an array [edges, 2] of uint64.  The root of a component is its smallest node, so the result is a
function of the set of edges: their order, their repetition and how they were split up do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numba
import numpy as np

from dedup.hashing import Hashes

Keep = Literal["longest", "smallest_id"]
KEEP_POLICIES: tuple[Keep, ...] = ("longest", "smallest_id")
# Edges that wait before they are contracted into the forest: 16 MB.
_PENDING_EDGES = 1 << 20


@numba.njit(cache=True, nogil=True)
def _roots(left, right, parents):  # type: ignore[no-untyped-def]
    """Union by minimum with path halving; parents: 0, 1, 2, ... on entry, the smallest node on return."""
    for i in range(left.size):
        a = left[i]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        b = right[i]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        if a < b:
            parents[b] = a
        elif b < a:
            parents[a] = b
    # A parent is never greater than its child, so one pass upwards finishes all paths.
    for node in range(parents.size):
        parents[node] = parents[parents[node]]


def connected_components(edges: Hashes) -> tuple[Hashes, Hashes]:
    """Nodes [nodes], ascending, and the smallest node of each one's component [nodes].

    Memory: about 110 bytes a node while it runs, 16 bytes an edge.
    """
    edges = edges.reshape(-1, 2)
    nodes, index = np.unique(edges, return_inverse=True)
    index = index.reshape(-1, 2)
    parents = np.arange(nodes.size, dtype=np.int64)
    _roots(np.ascontiguousarray(index[:, 0]), np.ascontiguousarray(index[:, 1]), parents)
    return nodes, nodes[parents]


def spanning_forest(edges: Hashes) -> Hashes:
    """At most nodes - 1 edges [., 2] (root, node) that connect what `edges` connect, sorted by node."""
    nodes, roots = connected_components(edges)
    inner = nodes != roots
    return np.stack([roots[inner], nodes[inner]], axis=1)


def merged_forest(parts: Iterable[Hashes]) -> Hashes:
    """Spanning forest of many edge lists, contracted whenever as many edges wait as the forest has.

    Memory: about 110 bytes a node that has any edge, whatever the number of edges.
    """
    forest = np.zeros((0, 2), np.uint64)
    pending: list[Hashes] = []
    waiting = 0
    for part in parts:
        pending.append(part.reshape(-1, 2))
        waiting += pending[-1].shape[0]
        if waiting >= max(_PENDING_EDGES, forest.shape[0]):
            forest = spanning_forest(np.concatenate([forest, *pending]))
            pending, waiting = [], 0
    return spanning_forest(np.concatenate([forest, *pending])) if pending else forest


def choose_kept(members: Sequence[tuple[str, int]], policy: Keep) -> int:
    """Index of the document that stays of a cluster.  members: (doc_id, characters of its text).

    longest       the most characters, then the smallest doc_id
    smallest_id   the smallest doc_id
    """
    if not members:
        raise ValueError("a cluster without members has no document to keep")
    if policy == "longest":
        return min(range(len(members)), key=lambda i: (-members[i][1], members[i][0]))
    if policy == "smallest_id":
        return min(range(len(members)), key=lambda i: members[i][0])
    raise ValueError(f"keep is {policy!r}, allowed are {', '.join(KEEP_POLICIES)}")


def component_slices(roots: Hashes) -> list[slice]:
    """The slice of every component; roots: sorted."""
    starts = np.flatnonzero(np.concatenate([[True], roots[1:] != roots[:-1]])).tolist() if roots.size else []
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], roots.size], strict=False)]
