"""Rule families: named rules with thresholds over measured numbers, the first that fails names the reason."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import field
from quality_signals.text_batch import TextBatch

Bools = npt.NDArray[np.bool_]

VERDICT_FIELDS = (
    field("keep", pa.bool_(), "whether no rule fails; true where the family does not apply"),
    field("rule", pa.string(), "first rule that fails"),
    field("value", pa.float64(), "what that rule measured"),
    field("threshold", pa.float64(), "what it allows"),
    field("reason", pa.string(), "the reference's own word for it"),
)
_FAILS = {"<": operator.lt, ">": operator.gt}


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """Drops a document whose `measure` is below (`<`) or above (`>`) the threshold; equality passes."""

    name: str
    reason: str
    measure: str  # key of the values given to `judge`
    fails: str  # '<' or '>'
    threshold: float | None  # None where the rule itself is the statement (an empty document)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One document: the first rule that fails with what it measured, or keep."""

    keep: bool
    rule: str | None = None
    value: float | None = None
    threshold: float | None = None
    reason: str | None = None


def judge(rules: Sequence[Rule], values: Mapping[str, float]) -> Verdict:
    """Verdict of one document.  A missing or NaN value passes its rule."""
    for rule in rules:
        value = values.get(rule.measure)
        if value is not None and _FAILS[rule.fails](value, rule.threshold or 0.0):
            return Verdict(False, rule.name, float(value), rule.threshold, rule.reason)
    return Verdict(True)


def verdict_columns(verdicts: Sequence[Verdict]) -> list[pa.Array]:
    return [
        pa.array([v.keep for v in verdicts], pa.bool_()),
        pa.array([v.rule for v in verdicts], pa.string()),
        pa.array([v.value for v in verdicts], pa.float64()),
        pa.array([v.threshold for v in verdicts], pa.float64()),
        pa.array([v.reason for v in verdicts], pa.string()),
    ]


def judge_texts(
    rules: Sequence[Rule], values: Mapping[str, npt.NDArray[np.float64]], texts: int, judged: Bools | None = None
) -> list[pa.Array]:
    """The verdict columns of many texts: for each the first rule that fails, as `judge` finds it.

    values: measure -> [texts]; a missing measure or NaN passes.  judged: [texts], False where the family does
    not apply: keep is true there.
    """
    first = np.full(texts, -1, np.int64)
    value = np.full(texts, np.nan)
    threshold = np.full(texts, np.nan)
    open_ = np.ones(texts, bool) if judged is None else judged.copy()
    for number, rule in enumerate(rules):
        if rule.measure not in values:
            continue
        measured = np.asarray(values[rule.measure], np.float64)
        failing = open_ & _FAILS[rule.fails](measured, rule.threshold or 0.0)
        if not failing.any():
            continue
        first[failing] = number
        if rule.threshold is not None:
            value[failing] = measured[failing]
            threshold[failing] = rule.threshold
        open_ &= ~failing
    failed = first >= 0
    at = pa.array(np.maximum(first, 0), mask=~failed)
    names = pa.array([rule.name for rule in rules], pa.string())
    reasons = pa.array([rule.reason for rule in rules], pa.string())
    return [
        pa.array(~failed),
        names.take(at),
        pa.array(value, mask=np.isnan(value)),
        pa.array(threshold, mask=np.isnan(threshold)),
        reasons.take(at),
    ]


def ratios(part: npt.ArrayLike, whole: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """part / whole, elementwise; NaN, which passes every rule, where whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(np.asarray(part, np.float64), whole, out=np.full(whole.shape, np.nan), where=whole != 0)


def family_batch(
    texts: TextBatch,
    rules: Sequence[Rule],
    values: Mapping[str, npt.NDArray[np.float64]],
    columns: Iterable[pa.Array],
    schema: pa.Schema,
    judged: Bools | None = None,
) -> pa.RecordBatch:
    """A family over a batch: verdict columns, then `columns` ([texts] each), for all rows.

    Rows that are no texts here, and texts that are not `judged`, are kept and have nulls.
    """
    keep, *verdicts = judge_texts(rules, values, len(texts), judged)
    others = [texts.scatter(column) for column in (*verdicts, *columns)]
    return pa.RecordBatch.from_arrays([texts.scatter(keep).fill_null(True), *others], schema=schema)


def numbers_batch(
    texts: TextBatch,
    rules: Sequence[Rule],
    values: Mapping[str, npt.NDArray[np.float64]],
    numbers: Mapping[str, npt.NDArray[np.int64]],
    schema: pa.Schema,
    judged: Bools | None = None,
    more: Iterable[pa.Array] = (),
) -> pa.RecordBatch:
    """`family_batch` of whole numbers, [texts] int64 each, by the names of the schema, and `more` columns behind them.

    A number below 0 is none: null.
    """
    columns = [_number_column(numbers[name], judged) for name in schema.names if name in numbers]
    return family_batch(texts, rules, values, [*columns, *more], schema, judged)


def _number_column(numbers: npt.NDArray[np.int64], judged: Bools | None) -> pa.Array:
    absent = numbers < 0
    if judged is not None:
        absent |= ~judged
    return pa.array(numbers, pa.int64(), mask=absent if absent.any() else None)
