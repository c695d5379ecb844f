"""Texts of a batch as code points, their choice by kind, and shared views."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.text_batch import SharedTexts, TextBatch

TEXTS = st.lists(st.none() | st.text(), max_size=8)


def batch(texts: list[str | None], kinds: list[str | None] | None = None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "text": pa.array(texts, pa.large_string()),
            "kind": pa.array(kinds or [None] * len(texts), pa.string()),
            "language": pa.array([None] * len(texts), pa.string()),
        }
    )


@settings(deadline=None)
@given(TEXTS, st.integers(0, 3))
def test_code_points_and_bytes_are_those_of_the_texts(texts: list[str | None], skip: int) -> None:
    chosen = SharedTexts(batch(texts).slice(skip)).of(None)
    expected = [text for text in texts[skip:] if text is not None]
    bounds = chosen.offsets.tolist()
    found = [chosen.points[a:b].tobytes().decode("utf-32-le") for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    assert found == expected == chosen.strings
    assert chosen.utf8.tobytes() == "".join(expected).encode()
    assert chosen.lengths.tolist() == [len(text) for text in expected]


def test_rows_are_chosen_by_kind_and_columns_go_back_to_their_rows() -> None:
    documents = batch(["a", "b", None, "d"], ["web", "code", "web", None])
    shared = SharedTexts(documents)
    prose = shared.of(("web",))
    assert prose.strings == ["a", "d"]
    assert prose.scatter(pa.array([1, 2])).to_pylist() == [1, None, None, 2]
    assert shared.of(None).strings == ["a", "b", "d"]
    assert prose.languages("en") == ["en", "en"]
    with pytest.raises(ValueError, match="2 texts, but 1 values"):
        prose.scatter(pa.array([1]))


def test_a_view_is_built_once_for_all_who_ask() -> None:
    built = []

    def view(texts: TextBatch, factor: int) -> int:
        built.append(factor)
        return factor * len(texts)

    shared = SharedTexts(batch(["a", "b"]))
    assert [shared.of(kinds).view(view, 2) for kinds in (None, ("web",))] == [4, 4]  # the same rows
    assert shared.of(None).view(view, 3) == 6
    assert built == [2, 3]


def test_an_empty_batch_has_no_characters() -> None:
    texts = SharedTexts(batch([])).of(None)
    assert (len(texts), texts.points.size, texts.offsets.tolist()) == (0, 0, [0])
    assert texts.points.dtype == np.uint32
