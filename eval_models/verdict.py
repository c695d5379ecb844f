"""From runs to verdicts: better, worse, equivalent, inconclusive or proxy_too_weak, with the reasons.

Which number decides:

* Primary: macro bits per byte over sources, pooled over the proxies that beat their n-gram gate (each proxy
  weighs the same, a seed is one unit across proxies), arm against baseline.
* Holm over the arms, separately for "different" and for "equivalent"; null arms form a family of their own,
  as controls are no candidates. Verdicts of single proxies are Holm-corrected within the proxy and support
  the pooled one. Slices are exploratory: Benjamini-Hochberg over all slices of all arms.
* Equivalent needs a passed equivalence test (TOST within the plan's margin); it goes before better or worse,
  since the margin is the smallest difference that the plan's author cares about.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval_models import statistics
from eval_models.caveats import caveats_of, sentences_of
from eval_models.evidence import Evidence, HeldOut, HeldOutMismatch, Run, read_evidence
from eval_models.judgement import (
    BETTER,
    EQUIVALENT,
    INCONCLUSIVE,
    POOLED,
    SHOWN_DOCUMENTS,
    TOO_WEAK,
    WORSE,
    Arm,
    Caveat,
    Curve,
    DocumentEffect,
    Economics,
    Judgement,
    ProxyHealth,
    SliceEffect,
    Verdict,
    format_p,
)
from eval_models.plan import StudyPlan
from eval_models.statistics import ClusterSums, Comparison, Resampler

SAME_POINT = 0.05  # relative difference in bytes seen

__all__ = ["HeldOutMismatch", "Judgement", "Verdict", "decide", "judge"]


def judge(output_dir: str | Path, plan: StudyPlan, *, draws: int = statistics.BOOTSTRAP_DRAWS) -> Judgement:
    """Judges every variant of the plan from what lies in <output_dir>/runs.

    Missing runs are named in a caveat, not an error. Raises HeldOutMismatch if runs cannot be compared.
    """
    evidence = read_evidence(Path(output_dir), plan)
    if evidence.held_out is None:
        return Judgement(
            plan=plan,
            sentences=("No verdict: no run of the study has finished.",),
            arms=(),
            economics={},
            health=(),
            curves=(),
            agreement=(),
            caveats=(Caveat("missing_runs", "No run of the study has finished."),),
            runs=(),
            missing_runs=evidence.missing,
            held_out={},
        )
    bench = _Bench(plan, evidence, evidence.held_out, draws)
    curves = tuple(
        curve
        for proxy in plan.proxies
        for variant in plan.variants
        if (curve := _curve(evidence, variant, proxy, plan.baseline)) is not None
    )
    arms = bench.arms(curves)
    judgement = Judgement(
        plan=plan,
        sentences=(),
        arms=arms,
        economics={
            variant: economics
            for variant in plan.variants
            if (economics := _economics(bench.usable_runs(variant))) is not None
        },
        health=bench.health,
        curves=curves,
        agreement=_agreement(arms, plan.proxies),
        caveats=(),
        runs=tuple(sorted(run.run_id for run in evidence.runs.values())),
        missing_runs=evidence.missing,
        held_out=_held_out_summary(evidence.held_out),
    )
    judgement = dataclasses.replace(judgement, caveats=caveats_of(judgement, evidence))
    return dataclasses.replace(judgement, sentences=sentences_of(judgement))


class _Bench:
    """Comparisons over one set of evidence; all of them share the same bootstrap draws."""

    def __init__(self, plan: StudyPlan, evidence: Evidence, held_out: HeldOut, draws: int) -> None:
        self.plan = plan
        self.evidence = evidence
        self.held_out = held_out
        self.draws = draws
        self._resamplers: dict[int, Resampler] = {}
        self.health = tuple(
            health
            for proxy in plan.proxies
            for variant in plan.variants
            if (health := self._health(variant, proxy)) is not None
        )
        self._passes = {(health.variant, health.proxy): health.passes for health in self.health}

    def usable(self, variant: str, proxy: str, seed: int) -> Run | None:
        run = self.evidence.runs.get((variant, proxy, seed))
        return None if run is None or run.fault else run

    def usable_runs(self, variant: str) -> list[Run]:
        return [
            run
            for proxy in self.plan.proxies
            for seed in range(self.plan.seeds)
            if (run := self.usable(variant, proxy, seed)) is not None
        ]

    def sums(self, nats: npt.NDArray[np.float64], groups: Sequence[Sequence[str]] | None = None) -> ClusterSums:
        held = self.held_out
        return statistics.cluster_sums(nats, held.bytes, held.cluster, held.source, groups)

    def compare(self, sums: ClusterSums) -> Comparison:
        seeds = sums.nats.shape[0]
        if seeds not in self._resamplers:
            self._resamplers[seeds] = Resampler.draw(seeds, sums.stratum, self.draws)
        return statistics.compare(
            sums,
            alpha=self.plan.alpha,
            power=self.plan.power,
            margin=self.plan.margin_bits_per_byte,
            resampler=self._resamplers[seeds],
        )

    def _health(self, variant: str, proxy: str) -> ProxyHealth | None:
        runs = [run for seed in range(self.plan.seeds) if (run := self.usable(variant, proxy, seed)) is not None]
        if not runs:
            return None
        macro = self.held_out.macro_bits_per_byte(np.mean([run.nats for run in runs], axis=0))
        gates = [run.result.get("ngram2_bits_per_byte") for run in runs]
        known = [float(gate) for gate in gates if isinstance(gate, (int, float)) and math.isfinite(gate)]
        gate = float(np.mean(known)) if known else None
        parameters = runs[0].result.get("parameters")
        return ProxyHealth(
            proxy=proxy,
            family=str(runs[0].result.get("family") or proxy),
            variant=variant,
            macro_bits_per_byte=macro,
            ngram2_bits_per_byte=gate,
            parameters=int(parameters) if parameters else None,
            passes=gate is None or macro < gate,
        )

    def family(self, proxy: str) -> str:
        return next((health.family for health in self.health if health.proxy == proxy), proxy)

    def paired(
        self, variant: str, against: str, proxies: Sequence[str]
    ) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
        """Seeds that both variants finished under all the proxies, and the nats [S, D], mean over proxies."""
        seeds, rows = [], []
        for seed in range(self.plan.seeds):
            pairs = [(self.usable(variant, proxy, seed), self.usable(against, proxy, seed)) for proxy in proxies]
            differences = [arm.nats - base.nats for arm, base in pairs if arm is not None and base is not None]
            if differences and len(differences) == len(pairs):
                seeds.append(seed)
                rows.append(np.mean(differences, axis=0))
        return tuple(seeds), np.array(rows).reshape(len(rows), len(self.held_out.doc_id))

    def strong(self, variant: str, against: str) -> tuple[str, ...]:
        """Proxies that have runs of both variants and beat the n-gram on both."""
        return tuple(
            proxy
            for proxy in self.plan.proxies
            if self._passes.get((variant, proxy), False) and self._passes.get((against, proxy), False)
        )

    def present(self, variant: str, against: str) -> tuple[str, ...]:
        return tuple(
            proxy
            for proxy in self.plan.proxies
            if (variant, proxy) in self._passes and (against, proxy) in self._passes
        )

    def arms(self, curves: Sequence[Curve]) -> tuple[Arm, ...]:
        plan = self.plan
        nulls = set(plan.random_like)
        null_of = {mimicked: null for null, mimicked in plan.random_like.items()}
        candidates = [name for name in plan.arms if name not in nulls]

        def family(names: Sequence[str], pick: Callable[[str], tuple[str, tuple[str, ...], str]]) -> dict[str, Verdict]:
            drafts = [self._draft(name, *pick(name)) for name in names]
            return {verdict.variant: verdict for verdict in _corrected(drafts, plan)}

        def pooled(name: str) -> tuple[str, tuple[str, ...], str]:
            return plan.baseline, (), POOLED

        def under(proxy: str) -> Callable[[str], tuple[str, tuple[str, ...], str]]:
            return lambda _: (plan.baseline, (proxy,), proxy)

        verdicts = {
            **family(candidates, pooled),
            **family([name for name in plan.arms if name in nulls], pooled),
        }
        against_null = family(
            [name for name in candidates if name in null_of], lambda name: (null_of[name], (), POOLED)
        )
        by_proxy: dict[str, dict[str, Verdict]] = {}
        for proxy in plan.proxies:
            named = [name for name in plan.arms if proxy in self.present(name, plan.baseline)]
            by_proxy[proxy] = {
                **family([n for n in named if n not in nulls], under(proxy)),
                **family([n for n in named if n in nulls], under(proxy)),
            }
        slices = self._slices(verdicts)
        arms = []
        for name in plan.arms:
            verdict = verdicts[name]
            helped, harmed = self._documents(verdict)
            found_by_proxy = [found[name] for found in by_proxy.values() if name in found]
            sources = [effect for effect in slices[name] if not effect.name.startswith("source/")]
            arms.append(
                Arm(
                    variant=name,
                    random_like=plan.random_like.get(name),
                    pooled=verdict,
                    by_proxy=tuple(found_by_proxy),
                    against_null=against_null.get(name),
                    slices=slices[name],
                    signs=statistics.sign_consistency(
                        verdict.comparison.delta,
                        [effect.comparison.delta for effect in sources or slices[name]],
                    )
                    if verdict.comparison is not None
                    else None,
                    arch_sensitive=self._arch_sensitive(name, found_by_proxy),
                    multiplier=None if verdict.verdict == TOO_WEAK else _multiplier(verdict, found_by_proxy, curves),
                    helped=helped,
                    harmed=harmed,
                )
            )
        return tuple(arms)

    def _arch_sensitive(self, variant: str, verdicts: Sequence[Verdict]) -> bool:
        """Two families give effects of opposite sign that differ beyond chance, or opposite verdicts."""
        fit = [verdict for verdict in verdicts if verdict.verdict != TOO_WEAK and verdict.comparison is not None]
        for i, a in enumerate(fit):
            for b in fit[i + 1 :]:
                if a.comparison is None or b.comparison is None or self.family(a.proxy) == self.family(b.proxy):
                    continue
                if {a.verdict, b.verdict} == {BETTER, WORSE}:
                    return True
                if a.comparison.delta * b.comparison.delta >= 0:
                    continue
                seeds_a, nats_a = self.paired(variant, a.against, (a.proxy,))
                seeds_b, nats_b = self.paired(variant, b.against, (b.proxy,))
                shared = sorted(set(seeds_a) & set(seeds_b))
                if len(shared) < 2:
                    continue
                rows_a = nats_a[[seeds_a.index(seed) for seed in shared]]
                rows_b = nats_b[[seeds_b.index(seed) for seed in shared]]
                p = self.compare(self.sums(rows_a - rows_b)).p
                if p is not None and p < self.plan.alpha:
                    return True
        return False

    def _draft(self, variant: str, against: str, only: tuple[str, ...], label: str) -> Verdict:
        """A verdict before correction; `only` restricts the proxies."""
        present = only or self.present(variant, against)
        strong = tuple(proxy for proxy in self.strong(variant, against) if proxy in present)
        proxies = strong or present
        seeds, nats = self.paired(variant, against, proxies)
        reasons = tuple(self._weakness(variant, against, proxy) for proxy in present if proxy not in strong)
        return Verdict(
            variant=variant,
            against=against,
            proxy=label,
            verdict=TOO_WEAK if present and not strong else "",
            comparison=self.compare(self.sums(nats)) if seeds else None,
            p_corrected=None,
            p_equivalence_corrected=None,
            reasons=reasons,
            seeds=seeds,
            proxies=proxies,
        )

    def _weakness(self, variant: str, against: str, proxy: str) -> str:
        for health in self.health:
            if health.proxy == proxy and health.variant in (variant, against) and not health.passes:
                return (
                    f"on {health.variant} {proxy} scores {health.macro_bits_per_byte:.3f} bits per byte, an "
                    f"order-2 n-gram of the same bytes {health.ngram2_bits_per_byte:.3f}: a proxy that knows "
                    "no "
                    "more than letter statistics cannot judge text"
                )
        return f"{proxy} has no runs"

    def _slices(self, verdicts: Mapping[str, Verdict]) -> dict[str, tuple[SliceEffect, ...]]:
        held = self.held_out
        groups = [(f"source/{source}", *others) for source, others in zip(held.source, held.slices(), strict=True)]
        documents: dict[str, int] = {}
        for member in groups:
            for name in member:
                documents[name] = documents.get(name, 0) + 1
        effects: dict[str, list[SliceEffect]] = {}
        for variant, verdict in verdicts.items():
            effects[variant] = []
            if verdict.comparison is None:
                continue
            _, nats = self.paired(variant, verdict.against, verdict.proxies)
            sums = self.sums(nats, groups)
            for index, name in enumerate(sums.groups):
                part = ClusterSums(sums.nats[:, :, [index]], sums.bytes[:, [index]], sums.stratum, (name,))
                clusters = int((part.bytes > 0).sum())
                effects[variant].append(
                    SliceEffect(name, documents[name], clusters, self.compare(part), p_adjusted=None)
                )
        return _adjusted(effects)

    def _documents(self, verdict: Verdict) -> tuple[tuple[DocumentEffect, ...], tuple[DocumentEffect, ...]]:
        if verdict.comparison is None:
            return (), ()
        held = self.held_out
        rows = np.concatenate([self.paired(verdict.variant, verdict.against, (proxy,))[1] for proxy in verdict.proxies])
        rows = rows / (held.bytes * math.log(2))
        delta = rows.mean(0)
        unanimous = (rows < 0).all(0) | (rows > 0).all(0)
        order = [int(i) for i in np.lexsort((np.array(held.doc_id), delta)) if unanimous[i]]

        def effect(i: int) -> DocumentEffect:
            return DocumentEffect(held.doc_id[i], held.source[i], int(held.bytes[i]), float(delta[i]))

        helped = tuple(effect(i) for i in order[:SHOWN_DOCUMENTS] if delta[i] < 0)
        harmed = tuple(effect(i) for i in order[::-1][:SHOWN_DOCUMENTS] if delta[i] > 0)
        return helped, harmed


def _adjusted(effects: Mapping[str, Sequence[SliceEffect]]) -> dict[str, tuple[SliceEffect, ...]]:
    tested = [
        (variant, index, effect.comparison.p)
        for variant, found in effects.items()
        for index, effect in enumerate(found)
        if effect.comparison.p is not None and effect.clusters > 1
    ]
    adjusted = statistics.benjamini_hochberg([p for _, _, p in tested])
    lookup = {(variant, index): p for (variant, index, _), p in zip(tested, adjusted, strict=True)}
    return {
        variant: tuple(
            dataclasses.replace(effect, p_adjusted=lookup.get((variant, index))) for index, effect in enumerate(found)
        )
        for variant, found in effects.items()
    }


def _corrected(drafts: Sequence[Verdict], plan: StudyPlan) -> list[Verdict]:
    """Holm over the drafts that can be tested, then the verdicts."""
    tested = [
        (index, draft.comparison)
        for index, draft in enumerate(drafts)
        if draft.comparison is not None and draft.comparison.p is not None and draft.verdict != TOO_WEAK
    ]
    different = statistics.holm([comparison.p or 0.0 for _, comparison in tested])
    equivalent = statistics.holm([comparison.p_equivalence or 0.0 for _, comparison in tested])
    verdicts = list(drafts)
    for (index, _), p, p_equivalence in zip(tested, different, equivalent, strict=True):
        verdicts[index] = dataclasses.replace(drafts[index], p_corrected=p, p_equivalence_corrected=p_equivalence)
    return [_decided(verdict, plan) for verdict in verdicts]


def _decided(draft: Verdict, plan: StudyPlan) -> Verdict:
    verdict, reason = decide(draft, plan)
    return dataclasses.replace(draft, verdict=verdict, reasons=(*draft.reasons, *reason))


def decide(draft: Verdict, plan: StudyPlan) -> tuple[str, tuple[str, ...]]:
    """The verdict of a comparison whose p values are corrected, and why."""
    comparison = draft.comparison
    if draft.verdict == TOO_WEAK:
        return TOO_WEAK, ()
    if comparison is None:
        return INCONCLUSIVE, ("no seed was finished for both variants",)
    if draft.p_corrected is None or draft.p_equivalence_corrected is None or comparison.interval is None:
        return INCONCLUSIVE, ("one seed shows nothing about the next one: no error bar, no verdict",)
    margin = plan.margin_bits_per_byte
    different = draft.p_corrected < plan.alpha
    if draft.p_equivalence_corrected < plan.alpha:
        real = "there is a difference, but it is" if different else "any difference is"
        return EQUIVALENT, (f"{real} smaller than the margin of {margin:g} bits per byte",)
    if different:
        word = "fewer" if comparison.delta < 0 else "more"
        return (BETTER if comparison.delta < 0 else WORSE), (
            f"{abs(comparison.delta):.4f} {word} bits per byte than {draft.against}, corrected p "
            f"{format_p(draft.p_corrected)}",
        )
    low, high = comparison.interval
    if low > 0 or high < 0:
        why = "the interval excludes zero, but not after correction for the number of variants"
    elif low > -margin and high < margin:
        why = "zero lies inside the interval, and equivalence is not proven at the corrected level"
    else:
        why = f"the interval includes zero and reaches beyond the margin of {margin:g}"
    return INCONCLUSIVE, (
        f"{why}; a difference of {comparison.minimum_detectable_effect:.4f} would have been found with "
        f"{plan.power:.0%} probability",
    )


def _multiplier(pooled: Verdict, by_proxy: Sequence[Verdict], curves: Sequence[Curve]) -> statistics.Multiplier | None:
    """Geometric mean over proxies; bounds are kept when they agree in direction."""
    by_key = {(curve.variant, curve.proxy): curve for curve in curves}
    found = []
    for verdict in by_proxy:
        arm, base = by_key.get((verdict.variant, verdict.proxy)), by_key.get((verdict.against, verdict.proxy))
        if verdict.proxy not in pooled.proxies or verdict.comparison is None or arm is None or base is None:
            continue
        value = statistics.compute_multiplier(base.points(), arm.points(), verdict.comparison.delta)
        if value is not None:
            found.append(value)
    if not found:
        return None
    bounds = sorted({multiplier.bound for multiplier in found} - {""})
    mean = math.exp(float(np.mean([math.log(multiplier.value) for multiplier in found])))
    return statistics.Multiplier(mean, bounds[0] if len(bounds) == 1 else "~" if bounds else "")


def _curve(evidence: Evidence, variant: str, proxy: str, baseline: str) -> Curve | None:
    own, base = _seed_curves(evidence, variant, proxy), _seed_curves(evidence, baseline, proxy)
    seen, table = _aligned(list(own.values()))
    if not seen:
        return None
    shared = sorted(set(own) & set(base)) if variant != baseline else []
    gap_seen, both = _aligned([own[seed] for seed in shared] + [base[seed] for seed in shared])
    gaps = both[: len(shared)] - both[len(shared) :] if gap_seen else np.zeros((1, 0))
    return Curve(
        variant=variant,
        proxy=proxy,
        bytes_seen=tuple(seen),
        mean=tuple(map(float, table.mean(0))),
        low=tuple(map(float, table.min(0))),
        high=tuple(map(float, table.max(0))),
        gap_bytes=tuple(gap_seen),
        gap_mean=tuple(map(float, gaps.mean(0))),
        gap_low=tuple(map(float, gaps.min(0))),
        gap_high=tuple(map(float, gaps.max(0))),
    )


def _seed_curves(evidence: Evidence, variant: str, proxy: str) -> dict[int, tuple[tuple[float, float], ...]]:
    return {
        key[2]: run.curve
        for key, run in sorted(evidence.runs.items())
        if key[:2] == (variant, proxy) and not run.fault and run.curve
    }


def _aligned(
    curves: Sequence[Sequence[tuple[float, float]]],
) -> tuple[list[float], npt.NDArray[np.float64]]:
    """Bytes seen and the scores [curve, point] of the points that all curves have.

    Windows end where documents end, so the n-th evaluations of two runs differ a little in bytes seen: they
    count as the same point, at their mean, where they lie within SAME_POINT of each other.
    """
    if not curves:
        return [], np.zeros((0, 0))
    if len({len(curve) for curve in curves}) == 1:
        table = np.array(curves)  # [curve, point, (bytes, score)]
        if (np.ptp(table[:, :, 0], axis=0) <= SAME_POINT * table[:, :, 0].mean(0)).all():
            return list(map(float, table[:, :, 0].mean(0))), table[:, :, 1]
    found = [dict(curve) for curve in curves]
    common = sorted(set.intersection(*map(set, found)))
    return common, np.array([[curve[seen] for seen in common] for curve in found])


def _economics(runs: Sequence[Run]) -> Economics | None:
    results = [run.result for run in runs if run.result.get("bytes_seen") and run.result.get("unique_bytes")]
    if not results:
        return None

    def values(key: str) -> list[float]:
        return [float(result[key]) for result in results if isinstance(result.get(key), (int, float))]

    seen, unique = float(np.mean(values("bytes_seen"))), float(np.mean(values("unique_bytes")))
    epochs, train = values("epochs"), values("train_bits_per_byte")
    return Economics(
        unique_bytes=unique,
        bytes_seen=seen,
        epochs=float(np.mean(epochs)) if epochs else max(1.0, seen / unique),
        effective_ratio=statistics.effective_bytes(seen, unique) / seen,
        train_bits_per_byte=float(np.mean(train)) if train else None,
        wall_seconds=sum(values("wall_seconds")),
        cpu_seconds=sum(values("cpu_seconds")),
        flops=sum(values("flops")),
    )


def _agreement(arms: Sequence[Arm], proxies: Sequence[str]) -> tuple[statistics.Agreement, ...]:
    deltas: dict[str, dict[str, float]] = {proxy: {} for proxy in proxies}
    for arm in arms:
        for verdict in arm.by_proxy:
            if verdict.comparison is not None:
                deltas[verdict.proxy][arm.variant] = verdict.comparison.delta
    pairs = []
    for i, first in enumerate(proxies):
        for second in proxies[i + 1 :]:
            shared = [name for name in deltas[first] if name in deltas[second]]
            pairs.append(
                statistics.agreement(
                    first, second, [deltas[first][n] for n in shared], [deltas[second][n] for n in shared]
                )
            )
    return tuple(pairs)


def _held_out_summary(held_out: HeldOut) -> dict[str, dict[str, int]]:
    summary: dict[str, dict[str, int]] = {}
    for source in sorted(set(held_out.source)):
        members = [i for i, name in enumerate(held_out.source) if name == source]
        summary[source] = {
            "documents": len(members),
            "bytes": int(held_out.bytes[members].sum()),
            "clusters": len({held_out.cluster[i] for i in members}),
        }
    return summary
