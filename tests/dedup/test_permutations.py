"""The minima of the hash families against Python's integers, and the ranges and sets that come before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.permutations import (
    PRIME,
    PRIME_32,
    affine32_minima,
    distinct_hashes,
    minima_of,
    prime32_minima,
    prime61_low_minima,
    prime61_minima,
    shingle_ranges,
    sorted_sets,
)

FAMILIES: dict[Any, tuple[type, type, Callable[[int], int]]] = {
    affine32_minima: (np.uint32, np.uint32, lambda v: v % 2**32),
    prime32_minima: (np.uint32, np.uint32, lambda v: v % 2**32 % PRIME_32),
    prime61_minima: (np.uint64, np.int64, lambda v: v % 2**64 % PRIME),
    prime61_low_minima: (np.uint32, np.uint32, lambda v: v % 2**64 % PRIME % 2**32),
}
NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, PRIME, PRIME_32, 2**61, 2**32 - 1, 2**64 - 1])


@pytest.mark.parametrize("kernel", FAMILIES, ids=lambda kernel: kernel.__name__)
@settings(deadline=None, max_examples=40)  # the first call may compile
@given(st.lists(st.lists(NUMBERS, max_size=9), max_size=4), st.lists(NUMBERS, min_size=1, max_size=19))
def test_minima_are_those_of_the_formula(kernel: Any, texts: list[list[int]], drawn: list[int]) -> None:
    kind, kept, value = FAMILIES[kernel]
    numbers = np.uint64 if kernel in (prime61_minima, prime61_low_minima) else np.uint32
    hashes: npt.NDArray[Any] = np.array([h for text in texts for h in text], np.uint64).astype(kind)
    offsets = np.cumsum([0, *map(len, texts)])
    a, b = np.array(drawn, np.uint64).astype(numbers), np.array(drawn[::-1], np.uint64).astype(numbers)
    empty = int(np.iinfo(kept).max)
    found = minima_of(kernel, hashes, offsets, a, b, empty, kept)
    for text, row in enumerate(found.tolist()):
        own = hashes[offsets[text] : offsets[text + 1]].tolist()
        pairs = zip(a.tolist(), b.tolist(), strict=True)
        assert row == [min([value(p * h + q) for h in own], default=empty) for p, q in pairs]


@pytest.mark.parametrize("kernel", [prime61_minima, prime61_low_minima], ids=lambda kernel: kernel.__name__)
def test_the_modulus_at_its_edges(kernel: Any) -> None:
    kind, kept, value = FAMILIES[kernel]
    edges = [k * PRIME + d for k in range(9) for d in range(-9, 10)] + [(1 << 64) - 1, 1 << 61, 1 << 32, 5]
    b = np.array([v for v in edges if 0 <= v < 1 << 64], np.uint64)
    one = np.array([0, 1])
    found = minima_of(kernel, np.zeros(1, kind), one, np.zeros(len(b), np.uint64), b, int(np.iinfo(kept).max), kept)
    assert found[0].tolist() == [value(v) for v in b.tolist()]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9) | NUMBERS, max_size=30), max_size=5))
def test_distinct_hashes_in_order_of_first_occurrence(texts: list[list[int]]) -> None:
    hashes = np.array([h for text in texts for h in text], np.uint64)
    offsets = np.cumsum([0, *map(len, texts)])
    found, before = distinct_hashes(hashes, offsets)
    bounds = list(zip(before[:-1], before[1:], strict=True))
    assert [found[start:stop].tolist() for start, stop in bounds] == [list(dict.fromkeys(text)) for text in texts]
    assert [own.tolist() for own in sorted_sets(hashes, offsets)] == [sorted(set(text)) for text in texts]


@settings(deadline=None)
@given(st.lists(st.integers(0, 8), max_size=6), st.integers(1, 5))
def test_ranges_stay_inside_their_text(counts: list[int], n: int) -> None:
    offsets = np.cumsum([0, *counts])
    starts = np.arange(offsets[-1]) * 10
    first, last, before = shingle_ranges(starts, starts + 7, offsets, n)
    expected = [
        [(10 * i, 10 * (i + n - 1) + 7) for i in range(low, high - n + 1)]
        for low, high in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == [pair for text in expected for pair in text]
    assert before.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
