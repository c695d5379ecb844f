"""Semantic pairs: all that a plain comparison finds inside a cell, the same whatever the order, block or thread."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import semantic
from dedup.semantic import (
    cosines,
    fit_cells,
    has_vectors,
    keep_first,
    lengths,
    nearest_cell,
    read_embeddings,
    similar_pairs,
    whole_vectors,
)


def blobs(cells: int, each: int, width: int = 16, noise: float = 0.05, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(cells, width))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return whole_vectors(np.repeat(centres, each, axis=0) + noise * generator.normal(size=(cells * each, width)))


def exact_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of whole numbers, by Python's integers."""
    first, second = ([int(x) for x in row] for row in (a, b))
    product = sum(x * y for x, y in zip(first, second, strict=True))
    size = math.sqrt(sum(x * x for x in first)) * math.sqrt(sum(x * x for x in second))
    return min(round(product / size, 6), 1.0) if size else 0.0


# -- vectors -----------------------------------------------------------------------------------------------


def test_whole_vectors_point_where_the_embeddings_do() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(50, 384)) * np.exp(generator.normal(size=(50, 1)) * 20)
    whole = whole_vectors(vectors)
    assert whole.dtype == np.float32 and np.array_equal(whole, np.rint(whole))
    assert np.abs(lengths(whole) / 2**20 - 1).max() < 1e-5
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(cosines(whole, whole) - unit @ unit.T).max() < 1e-5
    assert np.array_equal(np.diag(cosines(whole, whole)), np.ones(50))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 70))
def test_a_cosine_is_exact_in_every_block(seed: int, width: int) -> None:
    vectors = whole_vectors(np.random.default_rng(seed).normal(size=(9, width)))
    expected = [[exact_cosine(a, b) for b in vectors] for a in vectors]
    assert cosines(vectors, vectors).tolist() == expected
    by_one = [[float(cosines(vectors[i : i + 1], vectors[j : j + 1])[0, 0]) for j in range(9)] for i in range(9)]
    assert by_one == expected


def test_extreme_embeddings() -> None:
    extreme = whole_vectors([[5e-324, 0.0], [1e308, 1e308], [0.0, 0.0], [-1.0, -1.0]])
    assert cosines(extreme, extreme).tolist() == [
        [1.0, 0.707107, 0.0, -0.707107],
        [0.707107, 1.0, 0.0, -1.0],
        [0.0, 0.0, 0.0, 0.0],
        [-0.707107, -1.0, 0.0, 1.0],
    ]
    assert whole_vectors(np.zeros((0, 3))).shape == (0, 3)
    for wrong in (np.zeros(3), np.zeros((1, semantic.MAX_WIDTH + 1))):
        with pytest.raises(ValueError, match="embeddings have shape"):
            whole_vectors(wrong)


# -- reading -----------------------------------------------------------------------------------------------


def test_embeddings_are_lists_or_texts_and_faults_are_told_row_by_row() -> None:
    texts = ["[1, 2.5]", None, "", "[1, NaN]", "nonsense", '{"a": 1}', "[1, true]", "[]", "[3, 4, 5]", "[[1, 2]]"]
    found = read_embeddings(pa.array(texts))
    assert found.rows == [0, 8] and [v.tolist() for v in found.values] == [[1.0, 2.5], [3.0, 4.0, 5.0]]
    assert [(row, error) for row, error, _ in found.faults] == [
        (3, "not_finite"), (4, "not_a_vector"), (5, "not_a_vector"), (6, "not_a_vector"), (7, "not_a_vector"),
        (9, "not_a_vector"),
    ]  # fmt: skip
    rows, vectors, faults = found.of_width(2)
    assert rows.tolist() == [0] and vectors.shape == (1, 2)
    assert faults[-2] == (8, "wrong_width", "3 numbers, most documents have 2")
    lists = pa.array([[1.0, 2.0], None, [1.0, None], [float("inf"), 0.0], []], pa.list_(pa.float32()))
    found = read_embeddings(lists)
    assert found.rows == [0]
    assert [error for _, error, _ in found.faults] == ["not_a_vector", "not_finite", "not_a_vector"]
    assert read_embeddings(lists.slice(0, 2).cast(pa.list_(pa.float32(), 2))).rows == [0]
    assert read_embeddings(pa.array([json.dumps([0.0] * (semantic.MAX_WIDTH + 1))])).faults[0][1] == "not_a_vector"
    assert read_embeddings(pa.array(["[" * 100_000])).faults[0][1] == "not_a_vector"
    assert read_embeddings(pa.array([f"[{'9' * 400}]"])).faults[0][1] == "not_a_vector"


def test_which_columns_can_hold_embeddings() -> None:
    for good in (pa.list_(pa.float16()), pa.list_(pa.float64(), 3), pa.large_list(pa.int8()), pa.string()):
        assert has_vectors(good)
    for bad in (pa.float64(), pa.list_(pa.string()), pa.binary(), pa.list_(pa.list_(pa.float32()))):
        assert not has_vectors(bad)


# -- cells -------------------------------------------------------------------------------------------------


def test_cells_find_the_blobs_and_do_not_depend_on_the_order() -> None:
    vectors = blobs(6, 40)
    centres = fit_cells(vectors, 6)
    cells, similarity = nearest_cell(vectors, centres)
    cells = cells.reshape(6, 40)
    assert len({int(row[0]) for row in cells}) == 6
    assert all(len(set(row.tolist())) == 1 for row in cells)
    assert similarity.min() > 0.9
    assert np.array_equal(centres, fit_cells(vectors, 6))
    shuffled = vectors[np.random.default_rng(5).permutation(len(vectors))]
    assert np.array_equal(centres, fit_cells(shuffled, 6))
    assert not np.array_equal(centres, fit_cells(vectors, 6, seed=1)), "another start numbers the cells otherwise"


def test_fewer_distinct_vectors_than_cells_give_fewer_centres() -> None:
    vectors = whole_vectors([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    assert fit_cells(vectors, 10).tolist() == [[0.0, 2.0**20], [2.0**20, 0.0]]
    assert fit_cells(vectors[3:], 2).tolist() == [[0.0, 0.0]]
    assert list(similar_pairs(vectors[3:].repeat(2, axis=0), 0.5)) == []  # nothing is similar to a row of zeros
    with pytest.raises(ValueError, match="cells is 0"):
        fit_cells(vectors, 0)


def test_a_cell_that_loses_its_members_takes_a_vector_that_fits_badly() -> None:
    vectors = blobs(3, 200, width=3, noise=0.3)
    centres = fit_cells(vectors, 40)
    cells, _ = nearest_cell(np.unique(vectors, axis=0), centres)
    assert len(centres) == 40 and len(set(cells.tolist())) >= 39


# -- pairs and who stays -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_pairs_are_those_of_a_plain_comparison(seed: int, threshold: float) -> None:
    vectors = blobs(3, 5, width=4, noise=0.4, seed=seed)
    expected = {
        (i, j): exact_cosine(vectors[i], vectors[j])
        for i in range(len(vectors))
        for j in range(i + 1, len(vectors))
        if exact_cosine(vectors[i], vectors[j]) >= threshold
    }
    found = {
        (int(i), int(j)): float(value)
        for first, second, values in similar_pairs(vectors, threshold)
        for i, j, value in zip(first, second, values, strict=True)
    }
    assert found == expected


def plainly_kept(vectors: np.ndarray, threshold: float) -> list[tuple[int, float | None]]:
    kept: list[int] = []
    told: list[tuple[int, float | None]] = []
    for row, vector in enumerate(vectors):
        near = max(kept, key=lambda k: exact_cosine(vector, vectors[k]), default=-1)
        value = exact_cosine(vector, vectors[near]) if near >= 0 else -1.0
        if value >= threshold:
            told.append((near, value))
        else:
            kept.append(row)
            told.append((-1, None))
    return told


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.integers(1, 9))
def test_the_first_stays_and_the_most_similar_kept_one_is_named(seed: int, threshold: float, block: int) -> None:
    vectors = blobs(4, 6, width=4, noise=0.4, seed=seed)
    vectors = vectors[np.random.default_rng(seed).permutation(len(vectors))]
    usual = semantic._BLOCK
    semantic._BLOCK = block
    try:
        best, similarity = keep_first(vectors, threshold)
    finally:
        semantic._BLOCK = usual
    values = [None if math.isnan(value) else value for value in similarity.tolist()]
    assert list(zip(best.tolist(), values, strict=True)) == plainly_kept(vectors, threshold)


def test_wrong_thresholds() -> None:
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="allowed is 0 < threshold <= 1"):
            list(similar_pairs(blobs(1, 2), wrong))
        with pytest.raises(ValueError, match="allowed is 0 < threshold <= 1"):
            keep_first(blobs(1, 2), wrong)
