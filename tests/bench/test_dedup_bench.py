"""The benchmark of deduplication: its truth, and how it says that a peer is not there."""

from __future__ import annotations

import pytest

from bench.deduplication import child, quality, similar_pairs

LONG = "one two three four five six seven eight nine ten"


def test_the_truth_has_similar_and_equal_texts_also_short_ones() -> None:
    texts = [LONG, "short", LONG.upper() + ".", "else", "short", "", ""]
    pairs, similarity = similar_pairs(texts, 0.8)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 2), (1, 4), (5, 6)] and similarity.tolist() == [1.0] * 3
    assert quality([0, 1, 0, 3, 1, 5, 5], pairs) == (1.0, 1.0)
    assert quality([0, 1, 0, 1, 4, 5, 6], pairs) == (pytest.approx(1 / 3), 0.5)


def test_a_text_without_a_pair() -> None:
    pairs, similarity = similar_pairs([LONG, "short"], 0.8)
    assert pairs.shape == (0, 2) and similarity.shape == (0,)


def test_a_peer_that_needs_another_python_says_so() -> None:
    with pytest.raises(RuntimeError, match="nowhere is not there: it needs Python 3.12 or 3.13"):
        child("nowhere", "search", "text-dedup-checked", "", "")
    with pytest.raises(RuntimeError, match="nowhere is not there$"):
        child("nowhere", "search", "gaoya", "", "")
