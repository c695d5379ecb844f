"""Edits: applied to one text and to columns, one after another, and what is wrong with wrong ones."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.edits import (
    EDITS,
    Edit,
    EditsError,
    apply_edits,
    apply_to_batch,
    apply_to_column,
    check_edits,
    compose,
    compose_columns,
    edits_column,
    edits_field,
    locate,
)

CHARACTERS = st.sampled_from("ab \n\r\x00\x85\u2028é\u0301ς字\U0001f600")
TEXTS = st.text(CHARACTERS, max_size=20)


def slow_apply(text: str, edits: list[Edit]) -> str:
    for edit in reversed(edits):
        text = text[: edit.start] + edit.replacement + text[edit.end :]
    return text


@st.composite
def edits_of(draw: st.DrawFn, length: int) -> list[Edit]:
    places = sorted(draw(st.lists(st.integers(0, length), max_size=8)))
    pairs = list(zip(places[::2], places[1::2], strict=False))
    return [Edit(a, b, draw(st.text(CHARACTERS, max_size=4)), draw(st.sampled_from("xyz"))) for a, b in pairs]


@given(st.data(), TEXTS)
def test_edits_are_applied(data: st.DataObject, text: str) -> None:
    edits = data.draw(edits_of(len(text)))
    assert apply_edits(text, edits) == slow_apply(text, edits)
    assert apply_edits(text, [edit._asdict() for edit in edits]) == apply_edits(text, edits)
    assert apply_edits(text, None) == text


@given(st.data(), TEXTS)
def test_two_sets_of_edits_become_one(data: st.DataObject, text: str) -> None:
    first = data.draw(edits_of(len(text)))
    between = apply_edits(text, first)
    second = data.draw(edits_of(len(between)))
    both = compose(first, second)
    check_edits(both, len(text))
    assert apply_edits(text, both) == apply_edits(between, second)
    assert len(both) <= len(first) + len(second)
    assert compose(first, []) == first and compose([], second) == second


@given(st.data(), TEXTS)
def test_composing_is_associative(data: st.DataObject, text: str) -> None:
    one = data.draw(edits_of(len(text)))
    two = data.draw(edits_of(len(apply_edits(text, one))))
    three = data.draw(edits_of(len(apply_edits(apply_edits(text, one), two))))
    left, right = compose(compose(one, two), three), compose(one, compose(two, three))
    assert apply_edits(text, left) == apply_edits(text, right)


@given(st.data(), TEXTS)
def test_a_place_is_found_again(data: st.DataObject, text: str) -> None:
    edits = data.draw(edits_of(len(text)))
    after = apply_edits(text, edits)
    replaced = np.zeros(len(after), bool)
    shift = 0
    for edit in edits:
        replaced[edit.start + shift : edit.start + shift + len(edit.replacement)] = True
        shift += len(edit.replacement) - (edit.end - edit.start)
    for place, character in enumerate(after):
        start, end = locate(edits, place), locate(edits, place + 1, end=True)
        assert 0 <= start <= end <= len(text)
        if not replaced[place]:
            assert text[start:end] == character
    assert locate(edits, 0, end=True) == 0


def test_rules_of_merged_edits_are_named() -> None:
    first = [Edit(0, 3, "", "a"), Edit(5, 9, "xyz", "b")]
    assert compose(first, [Edit(3, 4, "!", "c")]) == [Edit(0, 3, "", "a"), Edit(5, 9, "x!z", "b+c")]
    assert compose(first, [Edit(0, 1, "", "c")]) == [Edit(0, 3, "", "a"), Edit(3, 4, "", "c"), Edit(5, 9, "xyz", "b")]


@settings(deadline=None)  # the first call compiles
@given(st.data(), st.lists(st.none() | TEXTS, max_size=6))
def test_a_column_is_edited_as_one_text_is(data: st.DataObject, texts: list[str | None]) -> None:
    edits = [data.draw(st.none() | edits_of(len(text or ""))) if text is not None else None for text in texts]
    column = pa.array([None if e is None else [x._asdict() for x in e] for e in edits], EDITS)
    found = apply_to_column(pa.array(texts, pa.large_string()), column)
    found.validate(full=True)
    assert found.to_pylist() == [None if t is None else apply_edits(t, e) for t, e in zip(texts, edits, strict=True)]
    if texts:
        part = apply_to_column(
            pa.array(["x", *texts], pa.string())[1:], pa.concat_arrays([column, column])[: len(texts)]
        )
        assert part.to_pylist() == found.to_pylist()


@given(st.data(), st.lists(TEXTS, max_size=5))
def test_columns_are_composed(data: st.DataObject, texts: list[str]) -> None:
    first = [data.draw(st.none() | edits_of(len(text))) for text in texts]
    between = [apply_edits(t, e) for t, e in zip(texts, first, strict=True)]
    second = [data.draw(st.none() | edits_of(len(text))) for text in between]
    columns = [pa.array([None if e is None else [x._asdict() for x in e] for e in es], EDITS) for es in (first, second)]
    both = compose_columns(*columns)
    assert both.type == EDITS
    for text, middle, after, edits in zip(texts, between, second, both.to_pylist(), strict=True):
        assert (edits is None) == (after is None)
        if after is not None:
            assert apply_edits(text, edits) == apply_edits(middle, after)


def test_a_kernels_finds_become_a_column() -> None:
    column = edits_column(
        [0, 4, 1],
        [2, 5, 1],
        [0, 1, 1],
        [1, 0, 0],
        [0, 2, 2, 3],
        replacement_texts=("", "\n"),
        rule_names=("line", "cite"),
    )
    assert column.type == EDITS == edits_field().type
    assert column.to_pylist() == [
        [
            {"start": 0, "end": 2, "replacement": "", "rule": "cite"},
            {"start": 4, "end": 5, "replacement": "\n", "rule": "line"},
        ],
        [],
        [{"start": 1, "end": 1, "replacement": "\n", "rule": "line"}],
    ]
    none = edits_column([], [], [], [], [0, 0], rule_names=("line",))
    assert none.to_pylist() == [[]] and edits_column([], [], [], [], [0], rule_names=()).to_pylist() == []


WRONG = {
    "begins before": [Edit(0, 2, "", "a"), Edit(1, 3, "", "b")],
    "ends after the text": [Edit(2, 5, "", "b")],
    "is not a range": [Edit(2, 1, "", "b")],
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_edits_are_named(said: str) -> None:
    edits = WRONG[said]
    with pytest.raises(EditsError, match=said):
        apply_edits("text", edits)
    batch = pa.RecordBatch.from_pydict({"doc_id": ["p", "q"], "text": ["text", "text"]})
    column = pa.array([[], [edit._asdict() for edit in edits]], EDITS)
    with pytest.raises(EditsError, match=rf"document q: edit {len(edits) - 1} .* of rule b {said}"):
        apply_to_batch(batch, column)
    with pytest.raises(EditsError, match="row 1"):
        apply_to_column(batch.column("text"), column)
    with pytest.raises(ValueError, match="2 texts, but 1"):
        apply_to_column(batch.column("text"), column[:1])


def test_time_is_linear_in_the_text_and_in_the_edits() -> None:
    def seconds(length: int) -> float:
        text = pa.array(["aé\n" * length], pa.large_string())
        at = np.arange(length) * 3
        edits = edits_column(at, at + 1, np.zeros(length, int), np.zeros(length, int), [0, length], rule_names=("r",))
        apply_to_column(text, edits)
        best = np.inf
        for _ in range(3):
            started = time.process_time()
            apply_to_column(text, edits)
            best = min(best, time.process_time() - started)
        return best

    assert seconds(800_000) < 6 * seconds(200_000) + 0.01
