"""Semantic pairs: all that a plain comparison finds inside a cell, the same at every run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.semantic import fit_cells, nearest_cell, similar_pairs, unit_vectors


def blobs(cells: int, each: int, width: int = 16, noise: float = 0.05, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = unit_vectors(generator.normal(size=(cells, width)))
    return unit_vectors(np.repeat(centres, each, axis=0) + noise * generator.normal(size=(cells * each, width)))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_pairs_are_those_of_a_plain_comparison(seed: int, threshold: float) -> None:
    vectors = blobs(3, 5, width=4, noise=0.4, seed=seed)
    expected = {
        (i, j)
        for i in range(len(vectors))
        for j in range(i + 1, len(vectors))
        if round(float(vectors[i] @ vectors[j]), 6) >= threshold
    }
    found = [
        (i, j) for first, second, _ in similar_pairs(vectors, threshold) for i, j in zip(first, second, strict=True)
    ]
    assert len(found) == len(set(found))
    # A cosine within a rounding step of the threshold may fall on either side of it.
    doubtful = {(i, j) for i, j in expected ^ set(found) if abs(float(vectors[i] @ vectors[j]) - threshold) < 2e-6}
    assert expected ^ set(found) == doubtful


def test_pairs_across_blocks_are_found() -> None:
    vectors = blobs(1, 2, noise=0.0)
    many = np.concatenate([vectors[:1], unit_vectors(np.random.default_rng(0).normal(size=(4500, 16))), vectors[1:]])
    pairs = [
        (int(a), int(b))
        for first, second, _ in similar_pairs(many, 0.99999)
        for a, b in zip(first, second, strict=True)
    ]
    assert (0, 4501) in pairs


def test_cells_find_the_blobs_and_do_not_depend_on_the_run_or_the_order() -> None:
    vectors = blobs(6, 40)
    centres = fit_cells(vectors, 6)
    cells = nearest_cell(vectors, centres).reshape(6, 40)
    assert len({int(row[0]) for row in cells}) == 6
    assert all(len(set(row.tolist())) == 1 for row in cells)
    assert np.array_equal(centres, fit_cells(vectors, 6))
    shuffled = vectors[np.random.default_rng(5).permutation(len(vectors))]
    assert np.array_equal(centres, fit_cells(shuffled, 6))


def test_fewer_distinct_vectors_than_cells_give_fewer_centres() -> None:
    vectors = unit_vectors([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    assert fit_cells(vectors, 10).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert fit_cells(vectors[3:], 2).tolist() == [[0.0, 0.0]]
    assert list(similar_pairs(vectors[3:].repeat(2, axis=0), 0.5)) == []  # nothing is similar to a row of zeros


def test_wrong_embeddings_are_named() -> None:
    with pytest.raises(ValueError, match="row 1 is not finite"):
        unit_vectors([[1.0], [np.nan]])
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        unit_vectors([1.0, 2.0])
    with pytest.raises(ValueError, match="cells is 0"):
        fit_cells(unit_vectors([[1.0]]), 0)
    with pytest.raises(ValueError, match="threshold 0"):
        list(similar_pairs(unit_vectors([[1.0]]), 0))
