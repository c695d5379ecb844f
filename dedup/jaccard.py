"""Exact Jaccard similarity |A & B| / |A | B| of two sets of hashes."""

from __future__ import annotations

import numba
import numpy as np

from dedup.hashing import Hashes


@numba.njit(cache=True, nogil=True)
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
    """left, right: sorted, distinct.  0.0 when both are empty: nothing is known of texts without shingles.

    Two exact integers and one correctly rounded division: the same value on every machine, in either order.
    """
    common = int(_common(np.ascontiguousarray(left), np.ascontiguousarray(right)))
    union = left.size + right.size - common
    return common / union if union else 0.0
