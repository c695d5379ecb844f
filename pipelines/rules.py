"""Rules over columns: what lets a document into a variant of the corpus, and why not.

A rule never sees text statistics that it computes itself: it reads annotation columns, so that deciding again
costs nothing.  It answers with verdict, rule, value and threshold for every row.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.edited_text import AppliedEdits, counts, removed_characters
from quality_signals.edits import COLUMN as EDITS_COLUMN

Annotations = Mapping[str, pa.RecordBatch]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdicts:
    """One entry a row.  Where `passed` is true the other columns are null."""

    passed: npt.NDArray[np.bool_]
    rule: list[str | None]
    value: list[float | None]
    threshold: list[float | None]


class Rule(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts: ...


def _verdicts(
    passed: npt.NDArray[np.bool_],
    rule: str | Sequence[str | None],
    value: Sequence[float | None] | None = None,
    threshold: Sequence[float | None] | float | None = None,
) -> Verdicts:
    rows = len(passed)
    rules = [rule] * rows if isinstance(rule, str) else list(rule)
    values = [None] * rows if value is None else list(value)
    if threshold is None or isinstance(threshold, float):
        thresholds: list[float | None] = [threshold] * rows
    else:
        thresholds = list(threshold)
    return Verdicts(
        passed,
        [None if ok else r for ok, r in zip(passed, rules, strict=True)],
        [None if ok else v for ok, v in zip(passed, values, strict=True)],
        [None if ok else t for ok, t in zip(passed, thresholds, strict=True)],
    )


def _bools(column: pa.Array, null: bool) -> npt.NDArray[np.bool_]:
    return pc.fill_null(column, null).to_numpy(zero_copy_only=False)


@dataclasses.dataclass(frozen=True)
class FamilyRule:
    """Keeps what a rule family keeps.  A row that the annotator failed on has no verdict and does not pass."""

    name: str  # of the annotator

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.name,)

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        columns = annotations[self.name]
        rules = [
            f"{self.name}/{rule}" if rule is not None else f"{self.name}/not_annotated"
            for rule in columns.column("rule").to_pylist()
        ]
        return _verdicts(
            _bools(columns.column("keep"), False),
            rules,
            columns.column("value").to_pylist(),
            columns.column("threshold").to_pylist(),
        )


@dataclasses.dataclass(frozen=True)
class DuplicateRule:
    """Drops what names the document that it duplicates: of a cluster, or in an index of finished corpora."""

    name: str = "dedup"  # of the annotations
    threshold: float | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.name,)

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        columns = annotations[self.name]
        passed = columns.column("duplicate_of").is_null().to_numpy(zero_copy_only=False)
        return _verdicts(passed, self.name, columns.column("similarity").to_pylist(), self.threshold)


@dataclasses.dataclass(frozen=True)
class SeenRule:
    """Drops what a filter of earlier documents has seen; what has no key passes."""

    name: str  # of the annotator

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.name,)

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        return _verdicts(~_bools(annotations[self.name].column("seen"), False), self.name)


def rule_of(name: str, annotator: Any) -> Rule:
    """The rule of an annotator that has a verdict (`pipelines.annotators.has_verdict`)."""
    names = annotator.schema.names
    if "duplicate_of" in names:
        return DuplicateRule(name, annotator.annotator.least)
    return SeenRule(name) if "seen" in names else FamilyRule(name)


@dataclasses.dataclass(frozen=True)
class LicenseRule:
    """Keeps code whose licence class is allowed; what is not code passes (`licenses.license_verdicts`)."""

    allowed: tuple[str, ...]
    name: str = "license"
    needs: tuple[str, ...] = ("license@1",)

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        import licenses

        verdicts = licenses.license_verdicts(annotations["license@1"], batch.column("kind"), self.allowed)
        # The reason is "license:CLASS".
        rules = [f"{self.name}/{(r or '').rpartition(':')[2]}" for r in verdicts.column("reason").to_pylist()]
        return _verdicts(_bools(verdicts.column("keep"), False), rules)


@dataclasses.dataclass(frozen=True)
class _OfColumn:
    """What rules on one column of an annotator share."""

    annotator: str
    column: str

    @property
    def name(self) -> str:
        return f"{self.annotator}/{self.column}"

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.annotator,)


@dataclasses.dataclass(frozen=True)
class ColumnRule(_OfColumn):
    """Keeps rows whose number in `annotator`/`column` lies in [minimum, maximum]; null does not pass.

    A list<struct<start, end, score>> column (RedPajama's form) counts by its single document span, or with
    `of_lines` by the mean over its spans.
    """

    minimum: float | None
    maximum: float | None
    of_lines: str | None = None

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        column = annotations[self.annotator].column(self.column)
        if self.of_lines is not None:
            values = _mean_score(column)
        else:
            if pa.types.is_list(column.type):
                column = pc.struct_field(pc.list_element(_non_empty(column), 0), "score")
            values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        low = np.less(values, self.minimum) if self.minimum is not None else np.zeros(len(values), bool)
        high = np.greater(values, self.maximum) if self.maximum is not None else np.zeros(len(values), bool)
        missing = np.isnan(values)
        reasons = np.where(missing, "is_null", np.where(low, "min", "max"))
        return _verdicts(
            ~(low | high | missing),
            [f"{self.name}/{reason}" for reason in reasons],
            [None if gone else float(value) for gone, value in zip(missing, values, strict=True)],
            [
                None if gone else (self.minimum if under else self.maximum)
                for gone, under in zip(missing, low, strict=True)
            ],
        )


@dataclasses.dataclass(frozen=True)
class WordRule(_OfColumn):
    """Keeps rows whose word in `annotator`/`column` is one of `any_of`; null does not pass."""

    any_of: tuple[str, ...]

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        words = annotations[self.annotator].column(self.column)
        passed = pc.is_in(words, value_set=pa.array(self.any_of, words.type))
        reasons = [f"{self.name}/{'is_null' if word is None else word}" for word in words.to_pylist()]
        return _verdicts(_bools(passed, False), reasons)


@dataclasses.dataclass(frozen=True)
class OfSources:
    """A rule that looks at the documents of some sources only; the others pass."""

    rule: Rule
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def needs(self) -> tuple[str, ...]:
        return self.rule.needs

    def looks_at(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """[rows] whether they are of the sources."""
        return _bools(pc.is_in(batch.column("source"), value_set=pa.array(self.sources, pa.string())), False)

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        verdicts = self.rule.judge(batch, annotations)
        mine = self.looks_at(batch)
        return _verdicts(verdicts.passed | ~mine, verdicts.rule, verdicts.value, verdicts.threshold)


@dataclasses.dataclass(frozen=True)
class EditRule:
    """Applies an editor's edits; drops a document that they leave without text, or that the editor failed on.

    after: the editors whose edits the annotator saw applied; its own lead from the extracted text to what all leave.
    """

    annotator: str
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.annotator}/{EDITS_COLUMN}"

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.annotator,)

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        columns = annotations[self.annotator]
        edits = columns.column(EDITS_COLUMN)
        length = pc.utf8_length(batch.column("text")).to_numpy(zero_copy_only=False)
        empty = (counts(edits) > 0) & (removed_characters(edits) == length)
        # Where the family has a verdict, a row without one is a row on which it failed.
        judged = columns.schema.get_field_index("keep") >= 0
        failed = (
            columns.column("keep").is_null().to_numpy(zero_copy_only=False) if judged else np.zeros(len(empty), bool)
        )
        reasons = np.where(failed, "not_annotated", "empty")
        return _verdicts(~(empty | failed), [f"{self.annotator}/{reason}" for reason in reasons])


def edit_steps(chain: Sequence[Rule], batch: pa.RecordBatch, annotations: Annotations) -> list[AppliedEdits]:
    """The edits that a chain of rules applies to the rows of a batch, in order."""
    steps = []
    for rule in chain:
        inner = rule.rule if isinstance(rule, OfSources) else rule
        if isinstance(inner, EditRule):
            rows = rule.looks_at(batch) if isinstance(rule, OfSources) else np.ones(batch.num_rows, bool)
            steps.append(AppliedEdits(rule.name, rows, annotations[inner.annotator].column(EDITS_COLUMN)))
    return steps


def _mean_score(column: pa.Array) -> npt.NDArray[np.float64]:
    """[rows] mean of the scores of a row's spans that are not null; NaN where there is none."""
    flat = column.flatten().field("score").cast(pa.float64()).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(column)), column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    there = ~np.isnan(flat)
    total = np.bincount(owner[there], flat[there], minlength=len(column))
    number = np.bincount(owner[there], minlength=len(column))
    return np.divide(total, number, out=np.full(len(column), np.nan), where=number > 0)


def _non_empty(column: pa.Array) -> pa.Array:
    """list_element fails on an empty list; such rows become null."""
    return pc.if_else(pc.greater(pc.list_value_length(column), 0), column, pa.scalar(None, column.type))


def uniform_hash(identities: Sequence[str], salt: str) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for every id that depends on the id and the salt alone; 53 bits of BLAKE2b."""
    key = hashlib.blake2b(salt.encode(), digest_size=32).digest()
    hashes = [
        int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8, key=key).digest(), "big") >> 11 for i in identities
    ]
    return np.array(hashes, dtype=np.float64) * 2.0**-53


def random_salt(like: str, seed: int = 0) -> str:
    return f"random_like/{like}/{seed}"


def random_cut(numbers: npt.NDArray[np.float64], keep: int) -> float:
    """The number below which exactly `keep` of the numbers lie (they are distinct); above 1 if all are kept."""
    if keep >= len(numbers):
        return 2.0
    return float(np.partition(numbers, keep)[keep])


@dataclasses.dataclass(frozen=True)
class RandomRule:
    """Keeps as many documents as another variant kept in the same source, chosen by a hash of their ids.

    The null hypothesis of a filter: as many documents less, chosen without looking at them.
    """

    like: str
    cuts: Mapping[str, float]  # source -> documents whose number is below pass
    seed: int = 0

    @property
    def name(self) -> str:
        return f"random_like_{self.like}"

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        numbers = uniform_hash(batch.column("doc_id").to_pylist(), random_salt(self.like, self.seed))
        cuts = np.array([self.cuts.get(source, 2.0) for source in batch.column("source").to_pylist()])
        return _verdicts(numbers < cuts, self.name, numbers.tolist(), cuts.tolist())


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """Verdicts of a chain of rules: the first rule that a row fails names it."""

    passed: npt.NDArray[np.bool_]
    rule: list[str | None]
    value: list[float | None]
    threshold: list[float | None]
    by_step: list[npt.NDArray[np.bool_]]  # for each rule of the chain: the rows that it dropped


def decide(
    rules: Sequence[Rule],
    batch: pa.RecordBatch,
    annotations: Annotations,
    eligible: npt.NDArray[np.bool_] | None = None,
) -> Decision:
    """Applies the rules in order to the eligible rows; a dropped row is not shown to a later rule's count."""
    rows = batch.num_rows
    alive = np.ones(rows, bool) if eligible is None else eligible.copy()
    rule: list[str | None] = [None] * rows
    value: list[float | None] = [None] * rows
    threshold: list[float | None] = [None] * rows
    by_step = []
    for each in rules:
        verdicts = each.judge(batch, annotations)
        dropped = alive & ~verdicts.passed
        for row in np.flatnonzero(dropped):
            rule[row] = verdicts.rule[row]
            value[row] = verdicts.value[row]
            threshold[row] = verdicts.threshold[row]
        alive &= verdicts.passed
        by_step.append(dropped)
    return Decision(alive, rule, value, threshold, by_step)
