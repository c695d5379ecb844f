"""What a study found, as plain frozen records; verdict.py makes them, report.py shows them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from eval_models import statistics
from eval_models.plan import StudyPlan
from eval_models.statistics import Comparison

BETTER, WORSE, EQUIVALENT = "better", "worse", "equivalent"
INCONCLUSIVE, TOO_WEAK = "inconclusive", "proxy_too_weak"
POOLED = "pooled"

FEW_SEEDS = 5  # below this a Student quantile is 2.8 or more instead of 1.96
FEW_DOCUMENTS = 30  # a smaller slice is flagged
FEW_CLUSTERS = 20  # effective independent units below which the document part of the error is itself uncertain
MANY_EPOCHS, TOO_MANY_EPOCHS = 4.0, 16.0  # near-free and worthless repetition: Muennighoff et al. 2023
SHOWN_DOCUMENTS = 10  # most helped and most harmed, each


@dataclasses.dataclass(frozen=True)
class Caveat:
    """A rule that fired: `code` is stable, `text` is for people, `variant` is '' when it concerns the study."""

    code: str
    text: str
    variant: str = ""


@dataclasses.dataclass(frozen=True)
class SliceEffect:
    """Exploratory: bits per byte, arm - baseline, within one slice (source/web, language/fr, code/python)."""

    name: str
    documents: int
    clusters: int
    comparison: Comparison
    p_adjusted: float | None
    """Benjamini-Hochberg over all slices of all arms; None without two seeds and two clusters."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One judgement of `variant` against `against`; proxy is a name or 'pooled'."""

    variant: str
    against: str
    proxy: str
    verdict: str
    comparison: Comparison | None
    p_corrected: float | None
    p_equivalence_corrected: float | None
    reasons: tuple[str, ...]
    seeds: tuple[int, ...]
    proxies: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Economics:
    """What a variant's runs consumed; means over its runs, costs are sums."""

    unique_bytes: float
    bytes_seen: float
    epochs: float
    effective_ratio: float
    """Effective over seen bytes, D'/D: 1 when nothing was repeated."""
    train_bits_per_byte: float | None
    wall_seconds: float
    cpu_seconds: float
    flops: float


@dataclasses.dataclass(frozen=True)
class DocumentEffect:
    """A held-out document that moved the same way in every seed and proxy."""

    doc_id: str
    source: str
    bytes: int
    delta: float


@dataclasses.dataclass(frozen=True)
class Curve:
    """Learning curve of a variant under a proxy: bytes seen, and mean, lowest and highest score over the
    seeds.
    """

    variant: str
    proxy: str
    bytes_seen: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    gap_bytes: tuple[float, ...] = ()
    """Where the paired gap to the baseline (arm - baseline) is known; empty for the baseline itself."""
    gap_mean: tuple[float, ...] = ()
    gap_low: tuple[float, ...] = ()
    gap_high: tuple[float, ...] = ()

    def points(self) -> list[tuple[float, float]]:
        return list(zip(self.bytes_seen, self.mean, strict=True))


@dataclasses.dataclass(frozen=True)
class Arm:
    """A judged variant."""

    variant: str
    random_like: str | None
    """The variant whose keep rate this one copies, if it is a null variant."""
    pooled: Verdict
    by_proxy: tuple[Verdict, ...]
    against_null: Verdict | None
    slices: tuple[SliceEffect, ...]
    signs: statistics.SignConsistency | None
    arch_sensitive: bool
    """Proxies of different families disagree by more than chance."""
    multiplier: statistics.Multiplier | None
    helped: tuple[DocumentEffect, ...]
    harmed: tuple[DocumentEffect, ...]


@dataclasses.dataclass(frozen=True)
class ProxyHealth:
    """Mean held-out bits per byte of a proxy on a variant beside an order-2 n-gram of the same bytes."""

    proxy: str
    family: str
    variant: str
    macro_bits_per_byte: float
    ngram2_bits_per_byte: float | None
    parameters: int | None
    passes: bool


@dataclasses.dataclass(frozen=True)
class Judgement:
    """All that a report says about a study."""

    plan: StudyPlan
    sentences: tuple[str, ...]
    """The answer in plain words, the most important first; names stand in backticks."""
    arms: tuple[Arm, ...]
    economics: Mapping[str, Economics]
    health: tuple[ProxyHealth, ...]
    curves: tuple[Curve, ...]
    agreement: tuple[statistics.Agreement, ...]
    caveats: tuple[Caveat, ...]
    runs: tuple[str, ...]
    missing_runs: tuple[str, ...]
    held_out: Mapping[str, Mapping[str, int]]
    """source -> documents, bytes, clusters."""

    @property
    def headline(self) -> str:
        return " ".join(self.sentences)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        return {**_plain(dataclasses.asdict(self)), "headline": self.headline}

    def arm(self, variant: str) -> Arm:
        return next(arm for arm in self.arms if arm.variant == variant)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def format_p(p: float | None) -> str:
    """A p value for people: three decimals, '<0.001' below."""
    if p is None:
        return "n/a"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
