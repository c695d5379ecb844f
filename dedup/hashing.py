"""64-bit hashing for numba kernels: wrapping arithmetic, no state, the same on every machine.

Not for adversaries: whoever knows the constants can build two texts with equal shingle hashes.  Exact copies
are therefore found by a cryptographic hash (`dedup.minhash.text_hashes`), never by these.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quality_signals.compiled import njit

Hashes = npt.NDArray[np.uint64]

# Multipliers and shifts of the finaliser: Stafford's "Mix13" of MurmurHash3's fmix64, as in SplitMix64.
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
# 2^64 / golden ratio, odd: the increment of SplitMix64.
GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


@njit(inline="always")
def mix64(value):  # type: ignore[no-untyped-def]
    """Bijection of 64-bit integers in which every input bit flips every output bit with probability 1/2."""
    value = (value ^ (value >> _SHIFT_1)) * _MIX_1
    value = (value ^ (value >> _SHIFT_2)) * _MIX_2
    return value ^ (value >> _SHIFT_3)


def mixed(values: Hashes) -> Hashes:
    """mix64 of every element of an array (numpy, for a few operations a record)."""
    values = (values ^ (values >> _SHIFT_1)) * _MIX_1
    values = (values ^ (values >> _SHIFT_2)) * _MIX_2
    return values ^ (values >> _SHIFT_3)


def random_words(seed: int, count: int) -> Hashes:
    """The first `count` outputs of SplitMix64 started at `seed`: the constants of hash families."""
    state = (seed + GOLDEN * np.arange(1, count + 1, dtype=object)) & _MASK
    return mixed(state.astype(np.uint64))
