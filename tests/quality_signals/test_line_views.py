"""Lines of a batch against str.splitlines and str.split, whose meaning they have."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.line_views import Lines, line_chunks, may_repeat, python_lines, split_lines
from quality_signals.text_batch import SharedTexts, TextBatch

TEXTS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
        st.text(st.sampled_from("ab \n\r\v\f\x00\x1b\x1c\x1d\x1e\x1f\x85\u2028\u2029\U0001d11e\u0301"), max_size=60),
    ),
    max_size=5,
)


def batch(texts: list[str]) -> TextBatch:
    return SharedTexts(batch_of(texts)).of(None)


def strings(texts: TextBatch, lines: Lines) -> list[list[str]]:
    spans = list(zip(lines.starts.tolist(), lines.ends.tolist(), strict=True))
    found = [texts.points[a:b].tobytes().decode("utf-32-le") for a, b in spans]
    bounds = lines.offsets.tolist()
    return [found[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_lines_are_those_of_python(texts: list[str]) -> None:
    shared = batch(texts)
    assert strings(shared, shared.view(python_lines)) == [text.splitlines() for text in texts]
    assert strings(shared, shared.view(split_lines)) == [text.split("\n") for text in texts]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", " a", "b c", "b c\u3000", "", " ", "\u2028", "x" * 40]), max_size=9), max_size=4
    )
)
def test_lines_that_may_repeat(rows: list[list[str]]) -> None:
    texts = ["\n".join(lines) for lines in rows]
    shared = batch(texts)
    stripped = [[line.strip() for line in text.split("\n")] for text in texts]
    expected = [
        [(lines.count(inner) > 1) if inner else bool(line) for line, inner in zip(text.split("\n"), lines, strict=True)]
        for text, lines in zip(texts, stripped, strict=True)
    ]
    assert shared.view(may_repeat).tolist() == sum(expected, [])
    words = [[len(line.split()) for line in text.split("\n")] for text in texts]
    assert np.diff(shared.view(line_chunks)).tolist() == sum(words, [])


def test_every_line_break_and_no_other() -> None:
    texts = [f"a{chr(c)}b" for c in range(0x3000) if not 0xD800 <= c < 0xE000]
    lines = batch(texts).view(python_lines)
    assert lines.counts.tolist() == [len(text.splitlines()) for text in texts]


def test_a_break_at_the_end_of_a_text_is_not_joined_with_the_next_text() -> None:
    shared = batch(["a\r", "\nb", "", "\n"])
    assert strings(shared, shared.view(python_lines)) == [["a"], ["", "b"], [], [""]]
    assert len(shared.view(python_lines)) == 4


@pytest.mark.parametrize("view", [python_lines, split_lines])
@pytest.mark.parametrize("unit", ["a", "\n", "\r\n", "line \u2028"])
def test_time_is_linear(view, unit) -> None:  # type: ignore[no-untyped-def]
    def seconds(repeats: int) -> float:
        texts = batch([unit * repeats])
        assert texts.points.size
        start = time.process_time()
        view(texts)
        return time.process_time() - start

    seconds(10)
    small, large = min(seconds(100_000) for _ in range(3)), seconds(400_000)
    assert large < 6 * max(small, 0.03)
