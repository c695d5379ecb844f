"""What a study asks: which variants, judged by which proxies, with how many seeds, on how many bytes.

Plain data, so that neither training nor statistics needs the recipe's own model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

DEVICES = ("auto", "cpu", "cuda")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """One study: every variant x every proxy x every seed is one run, on the same number of bytes.

    Raises ValueError, naming the field, the value found and what is allowed, when the plan cannot be run.
    """

    baseline: str
    """The variant against which every other one is judged."""

    variants: tuple[str, ...] = ()
    """All variants to train on, in the order of the report. The baseline is added in front if it is missing.
    """

    random_like: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Null variant -> the variant whose keep rate it copies (for example {"random_dedup": "dedup"})."""

    proxies: tuple[str, ...] = ("mamba-tiny",)
    """Names in eval_models.proxies.PROXIES."""

    seeds: int = 3
    """Number of paired replicates; the seeds are 0 .. seeds - 1."""

    budget_bytes: int = 4_000_000
    """Training bytes seen by each run, the same for all (ablation at fixed bytes)."""

    margin_bits_per_byte: float = 0.01
    """Differences within +- this margin count as equivalent."""

    alpha: float = 0.05
    """Two-sided level of the tests and 1 - alpha of the intervals, family-wise over the variants."""

    power: float = 0.8
    """Probability at which the minimum detectable effect is stated."""

    jobs: int | None = None
    """Runs at a time; None lets the trainer choose."""

    threads: int | None = None
    """Threads of one run; None lets the trainer choose."""

    device: str = "auto"
    """auto, cpu or cuda."""

    keep_checkpoints: bool = False
    """Whether the trained weights stay in each run's folder, for scoring documents (`eval_models.document_score`)."""

    mix: Mapping[str, float] | None = None
    """Source -> weight of its bytes in training; None takes the corpus as it is."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "proxies", tuple(self.proxies))
        variants = tuple(self.variants)
        if self.baseline not in variants:
            variants = (self.baseline, *variants)
        object.__setattr__(self, "variants", variants)
        object.__setattr__(self, "random_like", dict(self.random_like))
        if self.mix is not None:
            object.__setattr__(self, "mix", dict(self.mix))
        self._validate()

    def _validate(self) -> None:
        for field in ("variants", "proxies"):
            names = getattr(self, field)
            if not names or len(set(names)) != len(names):
                raise ValueError(f"study.{field}: found {list(names)}, need one or more different names")
        for null, mimicked in self.random_like.items():
            for name in (null, mimicked):
                if name not in self.variants:
                    raise ValueError(f"study.random_like: {name!r} is not a variant; have {list(self.variants)}")
            if null in (mimicked, self.baseline):
                raise ValueError(f"study.random_like: {null!r} cannot be the null of {mimicked!r}")
        if self.seeds < 1:
            raise ValueError(f"study.seeds: found {self.seeds}, need 1 or more (2 or more for error bars)")
        if self.budget_bytes < 1:
            raise ValueError(f"study.budget_bytes: found {self.budget_bytes}, need 1 or more")
        if not self.margin_bits_per_byte > 0:
            raise ValueError(f"study.margin_bits_per_byte: found {self.margin_bits_per_byte}, need more than 0")
        for field in ("alpha", "power"):
            if not 0 < getattr(self, field) < 1:
                raise ValueError(f"study.{field}: found {getattr(self, field)}, need a number between 0 and 1")
        for field in ("jobs", "threads"):
            count = getattr(self, field)
            if count is not None and count < 1:
                raise ValueError(f"study.{field}: found {count}, need 1 or more, or nothing")
        if self.device not in DEVICES:
            raise ValueError(f"study.device: found {self.device!r}, allowed are {', '.join(DEVICES)}")
        if self.mix is not None and (not self.mix or any(weight < 0 for weight in self.mix.values())):
            raise ValueError(f"study.mix: found {dict(self.mix)}, need weights of 0 or more")

    @property
    def arms(self) -> tuple[str, ...]:
        """The variants that are judged: all but the baseline."""
        return tuple(name for name in self.variants if name != self.baseline)

    def run_id(self, variant: str, proxy: str, seed: int) -> str:
        """Name of the folder below runs/."""
        return f"{variant}.{proxy}.seed{seed}"

    def run_ids(self) -> tuple[str, ...]:
        """All runs of the study; seed by seed, so that an interrupted study is still paired."""
        return tuple(
            self.run_id(variant, proxy, seed)
            for seed in range(self.seeds)
            for proxy in self.proxies
            for variant in self.variants
        )
