"""xxHash against the library of its author, at every length where the algorithm takes another turn."""

from __future__ import annotations

import random

import numpy as np
import xxhash

from dedup.xxhash import PADDING, xxh32, xxh64


def test_every_length_and_alignment() -> None:
    rng = random.Random(1)
    strings = [rng.randbytes(length) for length in [*range(140), 1000, 4097]]
    data = np.frombuffer(b"".join(strings) + bytes(PADDING), np.uint8)
    ends = np.cumsum([len(string) for string in strings])
    starts = ends - [len(string) for string in strings]
    long, short = np.empty(len(strings), np.uint64), np.empty(len(strings), np.uint32)
    xxh64(data, starts, ends, long)
    xxh32(data, starts, ends, short)
    assert long.tolist() == [xxhash.xxh64_intdigest(string) for string in strings]
    assert short.tolist() == [xxhash.xxh32_intdigest(string) for string in strings]
