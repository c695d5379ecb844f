"""Choice of bands, band keys, and the pairs that come out of groups."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.bands import (
    ALL_PAIRS_GROUP,
    EVEN_WEIGHT,
    PAIR,
    Bands,
    band_keys,
    candidate_pairs,
    choose_bands,
    distinct_pairs,
    find_pairs,
)

# numpy has no integer literal above 2^63 in some of its conversions: addresses up to there are enough.
ADDRESSES = st.integers(0, 2**63)


@pytest.mark.parametrize("threshold,expected", [(0.7, (14, 9)), (0.8, (9, 13)), (0.9, (5, 25)), (1.0, (1, 128))])
def test_even_weights_choose_redpajamas_bands(threshold: float, expected: tuple[int, int]) -> None:
    assert choose_bands(threshold, 128, EVEN_WEIGHT) == Bands(*expected)


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
def test_default_bands_find_99_percent_at_the_threshold(threshold: float) -> None:
    assert choose_bands(threshold, 128).probability(threshold) >= 0.99


def test_documented_choice_and_curve() -> None:
    bands = choose_bands(0.8, 128)
    assert bands == Bands(21, 6)
    curve = bands.probability([0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85])
    assert curve == pytest.approx([0.0152, 0.2816, 0.6334, 0.9279, 0.9836, 0.9983, 0.99995], abs=1e-4)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="is not in"):
        choose_bands(threshold, 128)


def test_keys_are_equal_where_bands_are() -> None:
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 3, (60, 12), dtype=np.uint32)
    keys = band_keys(signatures, Bands(4, 3))
    assert set((keys & np.uint64(255)).reshape(-1).tolist()) == {0, 1, 2, 3}
    for band in range(4):
        part = [tuple(row) for row in signatures[:, band * 3 : band * 3 + 3].tolist()]
        for i, j in itertools.combinations(range(60), 2):
            assert (keys[i, band] == keys[j, band]) == (part[i] == part[j])
    with pytest.raises(ValueError, match="need more"):
        band_keys(signatures, Bands(5, 3))


def pairs_of(records: list[tuple[int, int]], max_pairs: int = 1 << 20) -> list[tuple[int, int, int]]:
    keys, addresses = np.array(records, np.uint64).reshape(-1, 2).T
    found = list(candidate_pairs(keys, addresses, max_pairs))
    return sorted(tuple(pair) for part in found for pair in part.tolist())


@settings(deadline=None)  # the first call may compile
@given(st.lists(st.tuples(st.integers(0, 5), ADDRESSES), max_size=40), st.integers(1, 50))
def test_all_pairs_of_small_groups(records: list[tuple[int, int]], max_pairs: int) -> None:
    groups: dict[int, set[int]] = {}
    for key, address in records:
        groups.setdefault(key, set()).add(address)
    expected = sorted((a, b, k) for k, g in groups.items() for a, b in itertools.combinations(sorted(g), 2))
    assert pairs_of(records, max_pairs) == expected
    assert pairs_of(records[::-1]) == expected


def test_a_large_group_gives_a_star_and_a_chain() -> None:
    size = ALL_PAIRS_GROUP + 1
    found = {(a, b) for a, b, _ in pairs_of([(7, i) for i in range(size)])}
    assert found == {(0, i) for i in range(1, size)} | {(i - 1, i) for i in range(2, size)}
    assert len(found) == 2 * size - 3


@settings(deadline=None)  # the first call may compile
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(4, 7), st.integers(0, 9)), max_size=30))
def test_distinct_pairs_keep_the_smallest_tag(rows: list[tuple[int, int, int]]) -> None:
    smallest: dict[tuple[int, int], int] = {}
    for a, b, tag in rows:
        smallest[a, b] = min(tag, smallest.get((a, b), tag))
    found = distinct_pairs(np.array(rows, PAIR)).tolist()
    assert found == sorted((a, b, tag) for (a, b), tag in smallest.items())


@settings(deadline=None)  # the first call may compile
@given(
    st.lists(st.tuples(ADDRESSES, st.integers(0, 4)), max_size=20),
    st.sets(st.tuples(ADDRESSES, st.integers(0, 4)), max_size=20),
    st.randoms(),
)
def test_find_pairs(wanted: list[tuple[int, int]], among: set[tuple[int, int]], rng) -> None:  # type: ignore[no-untyped-def]
    known = list(among)
    rng.shuffle(known)
    wanted = wanted + known[:3]
    place, found = find_pairs(
        np.array([(a, b, 0) for a, b in wanted], PAIR), np.array([(a, b, 1) for a, b in known], PAIR)
    )
    assert found.tolist() == [pair in among for pair in wanted]
    assert all(known[i] == pair for i, pair, hit in zip(place, wanted, found, strict=True) if hit)
