"""How good the detectors are: precision, recall and F1 of spans against gold spans, by kind.

A gold span is found if spans of its kind cover at least half of it; a found span is right if gold of its kind covers
at least half of it.  Beside that the strict counts: start and end equal.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pii.kinds import KINDS, Span

# Names of kinds in the gold of others: presidio-research, detect-secrets and bigcode.
ALIASES: dict[str, str] = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "IBAN_CODE": "IBAN",
    "STREET_ADDRESS": "ADDRESS",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "DOMAIN_NAME": "URL",
    "US_SSN": "NATIONAL_ID",
    "UK_NHS": "NATIONAL_ID",
    "ORG": "ORGANIZATION",
    "NAME": "PERSON",
    "PER": "PERSON",
}
# One row more: places and street addresses together, as tools count that know only LOCATION.
PLACES = "LOCATION+ADDRESS"
_PLACE_KINDS = ("LOCATION", "ADDRESS")


class GoldError(ValueError):
    """A gold file that cannot be used; the message names line, key and what is allowed."""


class Gold(NamedTuple):
    """A text and its gold spans (start, end, kind) in code points; kinds that we have no name for stay as they are."""

    text: str
    spans: tuple[tuple[int, int, str], ...]
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Score:
    """Counts of one kind."""

    gold: int = 0
    found: int = 0
    predicted: int = 0
    right: int = 0
    found_strict: int = 0
    right_strict: int = 0

    @property
    def precision(self) -> float | None:
        return self.right / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        return self.found / self.gold if self.gold else None

    @property
    def f1(self) -> float | None:
        """None where there is neither gold nor a find."""
        return _f1(self.found, self.gold, self.right, self.predicted)

    @property
    def f1_strict(self) -> float | None:
        return _f1(self.found_strict, self.gold, self.right_strict, self.predicted)


def _f1(found: int, gold: int, right: int, predicted: int) -> float | None:
    if not gold and not predicted:
        return None
    if not found or not right:
        return 0.0
    recall, precision = found / gold, right / predicted
    return 2 * recall * precision / (recall + precision)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores by kind, the row of places together, and over all kinds that the gold has; what was missed and wrong."""

    scores: Mapping[str, Score]
    overall: Score
    missed: Mapping[str, tuple[str, ...]]
    wrong: Mapping[str, tuple[str, ...]]
    texts: int

    def to_mapping(self) -> dict[str, Any]:
        def row(score: Score) -> dict[str, Any]:
            values = {
                "precision": score.precision,
                "recall": score.recall,
                "f1": score.f1,
                "f1_strict": score.f1_strict,
            }
            return {**dataclasses.asdict(score), **{k: None if v is None else round(v, 4) for k, v in values.items()}}

        kinds = {kind: row(score) for kind, score in self.scores.items()}
        return {"texts": self.texts, "kinds": kinds, "overall": row(self.overall)}

    def table(self) -> str:
        """One line a kind, fixed columns."""
        lines = [f"{'kind':<17}{'gold':>6}{'found':>7}{'precision':>11}{'recall':>8}{'F1':>7}{'strict':>8}"]

        def number(value: float | None) -> str:
            return "-" if value is None else f"{value:.3f}"

        for kind, score in (*self.scores.items(), ("all of the gold", self.overall)):
            lines.append(
                f"{kind:<17}{score.gold:>6}{score.predicted:>7}{number(score.precision):>11}{number(score.recall):>8}"
                f"{number(score.f1):>7}{number(score.f1_strict):>8}"
            )
        return "\n".join(lines)


def read_gold(path: str | Path) -> Iterator[Gold]:
    """Gold of a JSONL file: `text` (or full_text) and `spans` with start, end, kind, or as presidio-research names them
    (start_position, end_position, entity_type).  Raises GoldError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GoldError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise GoldError(f"{where}: not JSON: {error}") from None
        if not isinstance(row, Mapping):
            raise GoldError(f"{where}: expected an object, found {type(row).__name__}")
        text = row.get("full_text", row.get("text"))
        if not isinstance(text, str) or not isinstance(row.get("spans"), list):
            raise GoldError(f"{where}: needs the keys text (or full_text), a string, and spans, a list")
        spans = []
        for span in row["spans"]:
            try:
                start = span["start_position"] if "start_position" in span else span["start"]
                end = span["end_position"] if "end_position" in span else span["end"]
                kind = span["entity_type"] if "entity_type" in span else span["kind"]
                good = isinstance(kind, str) and 0 <= start < end <= len(text)
            except (KeyError, TypeError):
                good = False
            if not good:
                raise GoldError(
                    f"{where}: a span needs start, end (0 <= start < end <= {len(text)}) and kind: {span!r}"
                )
            spans.append((start, end, ALIASES.get(kind, kind)))
        yield Gold(text, tuple(spans), str(row.get("template_id", row.get("group", ""))))


def _covered(start: int, end: int, spans: Iterable[tuple[int, int]]) -> bool:
    return 2 * sum(max(0, min(end, b) - max(start, a)) for a, b in spans) >= end - start


def evaluate(
    gold: Iterable[Gold],
    detect: Callable[[list[str]], Sequence[Sequence[Span]]],
    min_confidence: float = 0.5,
    batch: int = 256,
) -> Evaluation:
    """Scores of a detector.  detect: spans of each of a list of texts."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    missed: dict[str, list[str]] = defaultdict(list)
    wrong: dict[str, list[str]] = defaultdict(list)
    rows = list(gold)
    for first in range(0, len(rows), batch):
        some = rows[first : first + batch]
        for row, found in zip(some, detect([each.text for each in some]), strict=True):
            have = [(s.start, s.end, s.kind) for s in found if s.confidence >= min_confidence]
            _count(row.text, row.spans, have, counts, missed, wrong)
            places = [[(a, b, PLACES) for a, b, k in spans if k in _PLACE_KINDS] for spans in (row.spans, have)]
            _count(row.text, places[0], places[1], counts, {}, {})
    order = {kind: place for place, kind in enumerate((*KINDS, PLACES))}
    kinds = sorted(counts, key=lambda kind: (order.get(kind, len(order)), kind))
    scores = {kind: Score(**counts[kind]) for kind in kinds}
    total: Counter[str] = Counter()
    for kind, score in scores.items():
        if score.gold and kind != PLACES:
            total.update(dataclasses.asdict(score))
    return Evaluation(
        scores,
        Score(**total),
        {kind: tuple(values) for kind, values in missed.items()},
        {kind: tuple(values) for kind, values in wrong.items()},
        len(rows),
    )


def _count(
    text: str,
    want: Sequence[tuple[int, int, str]],
    have: Sequence[tuple[int, int, str]],
    counts: dict[str, Counter[str]],
    missed: dict[str, list[str]],
    wrong: dict[str, list[str]],
) -> None:
    for start, end, kind in want:
        found = _covered(start, end, [(a, b) for a, b, k in have if k == kind])
        counts[kind].update(gold=1, found=found, found_strict=(start, end, kind) in have)
        if not found and isinstance(missed, defaultdict):
            missed[kind].append(text[start:end])
    for start, end, kind in have:
        right = _covered(start, end, [(a, b) for a, b, k in want if k == kind])
        counts[kind].update(predicted=1, right=right, right_strict=(start, end, kind) in want)
        if not right and isinstance(wrong, defaultdict):
            wrong[kind].append(text[start:end])


def pattern_spans(texts: list[str]) -> list[list[Span]]:
    """The spans of `pii@1`."""
    from pii.annotate import detect_all

    return detect_all(texts)


def all_spans(texts: list[str]) -> list[list[Span]]:
    """The spans of `pii@1` and `pii_names@1` together.  Needs gristmill[pii]."""
    from pii.names import NameAnnotator, combine

    return [combine(a, b) for a, b in zip(pattern_spans(texts), NameAnnotator().detect_all(texts), strict=True)]
