"""Rule families: named rules with thresholds over measured numbers, the first that fails names the reason."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    rules: Sequence[Rule], values: Mapping[str, npt.NDArray[Any]], texts: int, judged: Bools | None = None
) -> list[pa.Array]:
    """The verdict columns of many texts: for each the first rule that fails, as `judge` finds it.

    values: measure -> [texts]; a missing measure or NaN passes.  judged: [texts], False where the family does
    not apply: keep is true there.
    """
    if judged is not None and judged.all():
        judged = None
    asked = [rule for rule in rules if rule.measure in values]
    # One row for each rule; what must not be below is negated, so that all rules ask whether the row is above.
    measured = np.empty((len(asked) + 1, texts))
    for row, rule in zip(measured, asked, strict=False):
        row[:] = values[rule.measure]
    measured[-1] = 0.0
    threshold = np.array([rule.threshold or 0.0 for rule in asked] + [0.0])
    signs = np.array([-1.0 if rule.fails == "<" else 1.0 for rule in asked])
    failing = np.ones((len(asked) + 1, texts), bool)  # the last row, no rule, where no other fails
    np.greater(signs[:, None] * measured[:-1], (signs * threshold[:-1])[:, None], out=failing[:-1])
    if judged is not None:
        failing[:-1] &= judged
    first = failing.argmax(axis=0)
    numbers = first.tolist()
    failed = first < len(asked)
    valid = pa.py_buffer(np.packbits(failed, bitorder="little"))
    stated = np.array([rule.threshold is None for rule in asked] + [True])[first]  # nothing was compared
    given = pa.py_buffer(np.packbits(~stated, bitorder="little"))

    def words(of_rules: list[str]) -> pa.StringArray:
        raw = [*(each.encode() for each in of_rules), b""]
        bounds = np.zeros(texts + 1, np.int32)
        np.cumsum(np.array([len(each) for each in raw], np.int32)[first], out=bounds[1:])
        data = pa.py_buffer(b"".join([raw[number] for number in numbers]))
        return pa.StringArray.from_buffers(texts, pa.py_buffer(bounds), data, valid)

    def floats(values: npt.NDArray[np.float64]) -> pa.DoubleArray:
        return pa.Array.from_buffers(pa.float64(), texts, [given, pa.py_buffer(values)])

    names, reasons = [rule.name for rule in asked], [rule.reason for rule in asked]
    named = words(names)
    return [
        pa.array(~failed),
        named,
        floats(measured[first, np.arange(texts)]),
        floats(threshold[first]),
        named if names == reasons else words(reasons),
    ]


def ratios(part: npt.ArrayLike, whole: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """part / whole, elementwise; NaN, which passes every rule, where whole is 0."""
    part, whole = np.asarray(part), np.asarray(whole)
    if whole.all():
        return np.divide(part, whole, dtype=np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)


def family_batch(
    texts: TextBatch,
    rules: Sequence[Rule],
    values: Mapping[str, npt.NDArray[Any]],
    columns: Iterable[pa.Array],
    schema: pa.Schema,
    judged: Bools | None = None,
) -> pa.RecordBatch:
    """A family over a batch: verdict columns, then `columns` ([texts] each), for all rows.

    Rows that are no texts here, and texts that are not `judged`, are kept and have nulls.
    """
    found = [texts.scatter(column) for column in (*judge_texts(rules, values, len(texts), judged), *columns)]
    if found[0].null_count:
        found[0] = found[0].fill_null(True)
    return pa.RecordBatch.from_arrays(found, schema=schema)


def numbers_batch(
    texts: TextBatch,
    rules: Sequence[Rule],
    values: Mapping[str, npt.NDArray[Any]],
    numbers: Mapping[str, npt.NDArray[np.int64]],
    schema: pa.Schema,
    judged: Bools | None = None,
    more: Iterable[pa.Array] = (),
) -> pa.RecordBatch:
    """`family_batch` of whole numbers, [texts] int64 each, by the names of the schema, and `more` columns behind them.

    A number below 0 is none: null.
    """
    names = [name for name in schema.names if name in numbers]
    rows = np.empty((len(names), len(texts)), np.int64)
    for row, name in zip(rows, names, strict=True):
        row[:] = numbers[name]
    absent = rows < 0
    if judged is not None and not judged.all():
        absent |= ~judged
    if absent.any():
        columns = [pa.array(row, pa.int64(), mask=mask) for row, mask in zip(rows, absent, strict=True)]
    else:
        columns = [pa.array(row) for row in rows]
    return family_batch(texts, rules, values, [*columns, *more], schema, judged)
