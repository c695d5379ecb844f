"""Open hash tables of distinct 64-bit keys, and a bit set before them that answers most questions for absent keys."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dedup.hashing import Hashes
from quality_signals.compiled import njit

_ONE, _SHIFT, _SIX, _LOW_SIX = np.uint64(1), np.uint64(32), np.uint64(6), np.uint64(63)


@njit(error_model="numpy")
def _fill(keys, slots, seen):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    bits = np.uint64(64 * len(seen) - 1)
    for k in range(len(keys)):
        slot = keys[k] & mask
        while slots[slot] >= 0:
            slot = (slot + _ONE) & mask
        slots[slot] = k
        bit = keys[k] >> _SHIFT & bits
        seen[bit >> _SIX] |= _ONE << (bit & _LOW_SIX)


def hash_table(keys: Hashes) -> tuple[npt.NDArray[np.int64], Hashes]:
    """slots: the number of a key or -1, from the key's low bits on, a power of two of at least 4 a key; seen: a bit set
    by the key's bits from 32 on."""
    slots = np.full(1 << max(4, (4 * len(keys)).bit_length()), -1, np.int64)
    # 32 bits a key: one lookup in 30 or fewer goes on to the table, and 32 kB to 1 MB stay in the cache.
    seen = np.zeros(1 << max(6, min(17, (len(keys) // 2).bit_length())), np.uint64)
    _fill(keys, slots, seen)
    return slots, seen
