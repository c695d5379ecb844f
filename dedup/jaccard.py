"""Exact Jaccard similarity |A & B| / |A | B| of two sets of hashes."""

from __future__ import annotations

import numba

from dedup.hashing import Hashes
from quality_signals.compiled import njit

# Read-only, so that sets that lie in received bytes need no copy.
_SET = numba.types.Array(numba.uint64, 1, "C", readonly=True)


@njit(numba.int64(_SET, _SET))
def _common(left, right):  # type: ignore[no-untyped-def]
    i = j = common = 0
    while i < left.size and j < right.size:
        if left[i] < right[j]:
            i += 1
        elif left[i] > right[j]:
            j += 1
        else:
            common += 1
            i += 1
            j += 1
    return common


def jaccard(left: Hashes, right: Hashes) -> float:
    """left, right: sorted, distinct, contiguous.  0.0 when both are empty: such texts have nothing in common.

    Two exact integers and one correctly rounded division: the same value on every machine, in either order.
    """
    common = int(_common(left, right))
    union = left.size + right.size - common
    return common / union if union else 0.0
