"""Verdicts of many texts against those of one, and numbers as columns."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.families import (
    VERDICT_FIELDS,
    Rule,
    Verdict,
    judge,
    judge_texts,
    numbers_batch,
    ratios,
    verdict_columns,
)
from quality_signals.text_batch import SharedTexts

RULES = (
    Rule("empty", "is empty", "empty", ">", None),
    Rule("least", "too few", "words", "<", 50),
    Rule("most", "too many", "words", ">", 100_000),
    Rule("share", "share", "share", ">", 0.1),
    Rule("unknown", "never", "not measured", "<", 1),
)
VALUE = st.sampled_from(
    [0.0, -0.0, 0.1, 0.1 + 1e-17, 0.2, 49, 50, 51, 100_000, 100_001, -1, math.inf, -math.inf, math.nan]
)


@settings(deadline=None)
@given(st.lists(st.tuples(VALUE, VALUE, VALUE, st.booleans()), max_size=30), st.booleans())
def test_texts_are_judged_as_one_is(rows: list[tuple[float, float, float, bool]], all_judged: bool) -> None:
    values = {name: np.array([row[k] for row in rows], float) for k, name in enumerate(("empty", "words", "share"))}
    judged = np.array([row[3] for row in rows], bool)
    one_by_one = [
        judge(RULES, {name: column[row] for name, column in values.items()})
        if judged[row] or all_judged
        else Verdict(True)
        for row in range(len(rows))
    ]
    for verdict in one_by_one:  # a rule that is the statement itself has no value
        if verdict.rule == "empty":
            object.__setattr__(verdict, "value", None)
    found = judge_texts(RULES, values, len(rows), None if all_judged else judged)
    assert [column.to_pylist() for column in found] == [column.to_pylist() for column in verdict_columns(one_by_one)]
    for column in found:
        column.validate(full=True)


def test_no_rule_keeps_every_text() -> None:
    keep, *others = judge_texts((), {}, 2)
    assert keep.to_pylist() == [True, True]
    assert [column.to_pylist() for column in others] == [[None, None]] * 4


def test_numbers_below_zero_and_texts_that_are_not_judged_have_none() -> None:
    texts = SharedTexts(batch_of(["a", None, "b", "c"])).of()
    schema = pa.schema([*VERDICT_FIELDS, pa.field("n", pa.int64())])
    numbers = {"n": np.array([[5, 0], [-1, 0], [7, 0]])[:, 0]}
    for judged, expected in ((None, [5, None, None, 7]), (np.array([True, True, False]), [5, None, None, None])):
        columns = numbers_batch(texts, (), {}, numbers, schema, judged)
        assert columns.column("n").to_pylist() == expected
        assert columns.column("keep").to_pylist() == [True] * 4


def test_a_ratio_without_a_whole_is_none() -> None:
    assert ratios([1, 2], [2, 4]).tolist() == [0.5, 0.5]
    assert np.array_equal(ratios([1, 2, 0], [2, 0, 0]), [0.5, math.nan, math.nan], equal_nan=True)
    assert np.array_equal(ratios([[1], [3]], [[0], [2]]), [[math.nan], [1.5]], equal_nan=True)
