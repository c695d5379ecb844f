"""Sentences that follow from the numbers by rule: the caveats of a judgement and its answer in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval_models.evidence import Evidence
from eval_models.judgement import (
    BETTER,
    EQUIVALENT,
    FEW_CLUSTERS,
    FEW_DOCUMENTS,
    FEW_SEEDS,
    INCONCLUSIVE,
    MANY_EPOCHS,
    TOO_MANY_EPOCHS,
    TOO_WEAK,
    WORSE,
    Arm,
    Caveat,
    Curve,
    Judgement,
    format_p,
)

BUDGET_TOLERANCE = 0.01  # of the bytes seen; rounding to whole windows stays below it
SCORE_TOLERANCE = 1e-3  # bits per byte; beyond rounding, two different sets of scores


def caveats_of(judgement: Judgement, evidence: Evidence) -> tuple[Caveat, ...]:
    """Every rule that fires, alarms first, then about the study, then variant by variant."""
    found = [
        *_alarms(judgement),
        *_about_runs(judgement, evidence),
        *_about_sample(judgement, evidence),
        *_about_proxies(judgement),
    ]
    for arm in judgement.arms:
        found.extend(_about_arm(judgement, arm))
    found.extend(_about_repetition(judgement))
    return tuple(found)


def _alarms(judgement: Judgement) -> Iterator[Caveat]:
    for arm in judgement.arms:
        if arm.random_like is not None and arm.pooled.verdict in (BETTER, WORSE):
            yield Caveat(
                "null_alarm",
                f"Alarm: the null variant came out significant. {arm.variant} drops documents at random at "
                "the keep "
                f"rate of {arm.random_like}, yet it is {arm.pooled.verdict} than {arm.pooled.against} "
                "(corrected p "
                f"{format_p(arm.pooled.p_corrected)}). Either losing that much text matters by itself, or "
                "the error "
                f"bars are too narrow: judge {arm.random_like} against {arm.variant}, not against the "
                "baseline.",
                arm.variant,
            )


def _about_runs(judgement: Judgement, evidence: Evidence) -> Iterator[Caveat]:
    plan = judgement.plan
    if judgement.missing_runs:
        yield Caveat(
            "missing_runs",
            f"{len(judgement.missing_runs)} of {len(plan.run_ids())} runs have not finished: "
            f"{_some(judgement.missing_runs)}. Only seeds that both sides finished are compared.",
        )
    for run in evidence.runs.values():
        if run.fault:
            yield Caveat("unhealthy_run", f"Run {run.run_id} is left out: {run.fault}.", run.variant)
    if evidence.stale:
        yield Caveat(
            "stale_runs",
            f"{_some(evidence.stale)} trained on another version of the corpus than the one in corpora/ now.",
        )
    if evidence.differing_settings:
        yield Caveat(
            "mixed_settings",
            f"Runs of one proxy differ in {_some(evidence.differing_settings)}; "
            "their difference is not due to the corpus alone.",
        )
    wrong = [
        run.run_id
        for run in evidence.runs.values()
        if evidence.held_out is not None
        and not run.fault
        and isinstance(stated := run.result.get("macro_bits_per_byte"), (int, float))
        and abs(evidence.held_out.macro_bits_per_byte(run.nats) - stated) > SCORE_TOLERANCE
    ]
    if wrong:
        yield Caveat(
            "score_mismatch",
            f"{_some(sorted(wrong))}: scores.parquet gives another mean than result.json; the scores are used.",
        )
    off = []
    for (_, proxy, seed), run in evidence.runs.items():
        seen = float(run.result.get("bytes_seen") or 0)
        paired = evidence.runs.get((plan.baseline, proxy, seed))
        against = float(paired.result.get("bytes_seen") or 0) if paired is not None else seen
        if abs(seen - against) > BUDGET_TOLERANCE * against:
            off.append(run.run_id)
    if off:
        yield Caveat(
            "budget_differs",
            f"{_some(sorted(off))} saw more than {BUDGET_TOLERANCE:.0%} more or fewer bytes than the same "
            "run on "
            f"{plan.baseline}; the comparison is not at equal compute.",
        )


def _about_sample(judgement: Judgement, evidence: Evidence) -> Iterator[Caveat]:
    seeds = max((len(arm.pooled.seeds) for arm in judgement.arms), default=0)
    if 0 < seeds < FEW_SEEDS:
        cost = "no interval can be given" if seeds == 1 else "each interval is wider to pay for that"
        yield Caveat(
            "few_seeds",
            f"Only {seeds} paired seed{'s' if seeds > 1 else ''}: the spread between seeds is itself poorly "
            "known, "
            f"{cost}.",
        )
    comparisons = [arm.pooled.comparison for arm in judgement.arms if arm.pooled.comparison is not None]
    if comparisons and comparisons[0].effective_clusters < FEW_CLUSTERS:
        yield Caveat(
            "few_clusters",
            f"The held-out set has {comparisons[0].clusters} independent clusters, worth "
            f"{comparisons[0].effective_clusters:.1f} of equal weight: the part of the error that comes from "
            "the "
            "documents is itself poorly known.",
        )
    if comparisons and comparisons[0].single_cluster_groups:
        yield Caveat(
            "single_cluster",
            f"{_some(comparisons[0].single_cluster_groups)}: all held-out documents belong to one cluster, "
            "so the "
            "error bars cannot contain the luck of that choice.",
        )
    small = sorted(
        {
            f"{effect.name} ({effect.documents})"
            for arm in judgement.arms
            for effect in arm.slices
            if effect.documents < FEW_DOCUMENTS
        }
    )
    if small:
        yield Caveat(
            "small_slices",
            f"Slices of fewer than {FEW_DOCUMENTS} held-out documents are hints only: {_some(small, 8)}.",
        )


def _about_proxies(judgement: Judgement) -> Iterator[Caveat]:
    unknown = sorted({health.proxy for health in judgement.health if health.ngram2_bits_per_byte is None})
    if unknown:
        yield Caveat(
            "no_gate",
            f"No n-gram gate was measured for {_some(unknown)}; whether they are fit to judge is open.",
        )
    weak = sorted({health.proxy for health in judgement.health if not health.passes})
    if weak:
        yield Caveat(
            "proxy_too_weak",
            f"{_some(weak)} did not beat an order-2 n-gram of the same bytes on every variant; verdicts rest "
            "on the proxies that did.",
        )
    for pair in judgement.agreement:
        if pair.kendall_tau is not None and pair.arms >= 3 and pair.kendall_tau < 0.5:
            yield Caveat(
                "rank_disagreement",
                f"{pair.first} and {pair.second} order the {pair.arms} variants differently "
                f"(Kendall tau {pair.kendall_tau:.2f}).",
            )


def _about_arm(judgement: Judgement, arm: Arm) -> Iterator[Caveat]:
    plan, verdict, comparison = judgement.plan, arm.pooled, arm.pooled.comparison
    if arm.arch_sensitive:
        yield Caveat(
            "arch_sensitive",
            f"{arm.variant}: proxies of different families disagree beyond chance; the effect depends on the "
            "architecture, so it is not a property of the corpus alone.",
            arm.variant,
        )
    if comparison is None:
        return
    mde = comparison.minimum_detectable_effect
    if verdict.verdict == INCONCLUSIVE and mde is not None and mde > plan.margin_bits_per_byte:
        advice = ""
        if comparison.se_seeds is not None:
            more = "seeds" if comparison.se_seeds > comparison.se_documents else "held-out documents"
            advice = f" More {more} would help most."
        yield Caveat(
            "underpowered",
            f"{arm.variant}: a difference below {mde:.4f} bits per byte could not have been seen reliably, "
            "which is "
            f"more than the margin of {plan.margin_bits_per_byte:g}.{advice}",
            arm.variant,
        )
    if comparison.interval and verdict.p_corrected is not None and verdict.p_corrected >= plan.alpha:
        if comparison.interval[0] > 0 or comparison.interval[1] < 0:
            yield Caveat(
                "not_after_correction",
                f"{arm.variant}: its own interval excludes zero, but with this many variants one such "
                "interval is "
                f"expected by chance more often than {plan.alpha:.0%}.",
                arm.variant,
            )
    null = arm.against_null
    if verdict.verdict == BETTER and null is not None and null.verdict != BETTER:
        yield Caveat(
            "not_better_than_null",
            f"{arm.variant} beats {plan.baseline} but not {null.against}, which drops as much at random: the "
            "gain "
            "may come from seeing fewer different documents, not from the choice of them.",
            arm.variant,
        )
    opposite = [
        effect.name
        for effect in arm.slices
        if effect.p_adjusted is not None
        and effect.p_adjusted < plan.alpha
        and effect.comparison.delta * comparison.delta < 0
    ]
    if opposite and verdict.verdict in (BETTER, WORSE):
        yield Caveat(
            "slice_against",
            f"{arm.variant} is {verdict.verdict} overall, but the other way round on {_some(opposite)}.",
            arm.variant,
        )
    for proxy in verdict.proxies if verdict.verdict in (BETTER, WORSE) else ():
        where = _late_crossing(judgement.curves, arm.variant, proxy)
        if where is not None:
            yield Caveat(
                "late_crossing",
                f"{arm.variant} under {proxy}: its learning curve crosses the baseline's at {where:,.0f} "
                "bytes, in "
                "the second half of the budget; a longer run may say something else.",
                arm.variant,
            )
    yield from _about_train_loss(judgement, arm)


def _about_train_loss(judgement: Judgement, arm: Arm) -> Iterator[Caveat]:
    own, base = judgement.economics.get(arm.variant), judgement.economics.get(judgement.plan.baseline)
    if own is None or base is None or own.train_bits_per_byte is None or base.train_bits_per_byte is None:
        return
    lower = own.train_bits_per_byte < base.train_bits_per_byte
    if (arm.pooled.verdict == WORSE and lower) or (arm.pooled.verdict == BETTER and not lower):
        yield Caveat(
            "train_loss_opposite",
            f"{arm.variant}: the training loss ({own.train_bits_per_byte:.3f} against "
            f"{base.train_bits_per_byte:.3f} bits per byte) points the other way. It measures how easy the "
            "corpus is, "
            "not how good.",
            arm.variant,
        )


def _about_repetition(judgement: Judgement) -> Iterator[Caveat]:
    for variant, economics in judgement.economics.items():
        if economics.epochs > MANY_EPOCHS:
            code = "too_many_epochs" if economics.epochs > TOO_MANY_EPOCHS else "many_epochs"
            yield Caveat(
                code,
                f"{variant} was read {economics.epochs:.1f} times: {economics.bytes_seen:,.0f} bytes seen "
                "are worth "
                f"about {economics.effective_ratio:.0%} of that in fresh text. A stricter filter looks worse "
                "at a "
                "fixed number of bytes than it would on a larger pool.",
                variant,
            )


def _late_crossing(curves: Sequence[Curve], variant: str, proxy: str) -> float | None:
    """Bytes at which the arm's mean curve last crossed the baseline's, if in the second half."""
    curve = next((c for c in curves if (c.variant, c.proxy) == (variant, proxy)), None)
    common, gaps = (curve.gap_bytes, curve.gap_mean) if curve is not None else ((), ())
    for index in range(len(common) - 1, 0, -1):
        left, right = gaps[index - 1], gaps[index]
        if left * right < 0:
            where = common[index - 1] + (common[index] - common[index - 1]) * left / (left - right)
            return where if where > common[-1] / 2 else None
    return None


def _some(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def sentences_of(judgement: Judgement) -> tuple[str, ...]:
    """The answer in plain sentences, the most important first; names stand in backticks."""
    plan = judgement.plan
    candidates = [arm for arm in judgement.arms if arm.random_like is None]
    if not candidates:
        return (f"Nothing to judge: `{plan.baseline}` is the only variant.",)
    by_verdict = {
        word: [arm for arm in candidates if arm.pooled.verdict == word]
        for word in (BETTER, WORSE, EQUIVALENT, INCONCLUSIVE, TOO_WEAK)
    }
    sentences = []
    if any(caveat.code == "null_alarm" for caveat in judgement.caveats):
        sentences.append("Alarm: a null variant came out significant, so read every difference with care.")
    better = sorted(by_verdict[BETTER], key=lambda arm: _delta(arm))
    if better:
        sentences.append(
            f"Against `{plan.baseline}`, `{better[0].variant}` made a better corpus: {effect_text(better[0])}"
            f"{_worth(better[0])}."
        )
        if better[1:]:
            sentences.append(f"Also better: {_listed(better[1:])}.")
    elif len(by_verdict[TOO_WEAK]) == len(candidates):
        sentences.append(
            "No verdict: at this budget no proxy beats an order-2 n-gram of the same bytes, so none is fit to judge."
        )
    elif len(by_verdict[EQUIVALENT]) == len(candidates):
        sentences.append(
            f"No choice made a difference that matters: all are within {plan.margin_bits_per_byte:g} bits "
            "per byte of "
            f"`{plan.baseline}`."
        )
    elif not by_verdict[WORSE]:
        seen = _would_be_seen(candidates)
        sentences.append(f"No choice could be told apart from `{plan.baseline}` at this budget{seen}.")
    else:
        sentences.append(f"No choice made a better corpus than `{plan.baseline}`.")
    if by_verdict[WORSE]:
        sentences.append(f"Worse: {_listed(sorted(by_verdict[WORSE], key=lambda arm: -_delta(arm)))}.")
    rest = by_verdict[INCONCLUSIVE] if better or by_verdict[WORSE] else []
    if rest:
        sentences.append(f"Undecided: {', '.join(f'`{arm.variant}`' for arm in rest)}{_would_be_seen(rest)}.")
    if by_verdict[EQUIVALENT] and len(by_verdict[EQUIVALENT]) < len(candidates):
        same = ", ".join(f"`{arm.variant}`" for arm in by_verdict[EQUIVALENT])
        sentences.append(f"No difference that matters: {same}.")
    return tuple(sentences)


def _delta(arm: Arm) -> float:
    return arm.pooled.comparison.delta if arm.pooled.comparison is not None else 0.0


def effect_text(arm: Arm) -> str:
    """-0.0210 bits per byte [-0.0330, -0.0090]"""
    comparison = arm.pooled.comparison
    if comparison is None:
        return "not measured"
    if comparison.interval is None:
        return f"{comparison.delta:+.4f} bits per byte"
    low, high = comparison.interval
    return f"{comparison.delta:+.4f} bits per byte [{low:+.4f}, {high:+.4f}]"


def _worth(arm: Arm) -> str:
    if arm.multiplier is None:
        return ""
    bound = {">": "more than ", "<": "less than ", "~": "about "}.get(arm.multiplier.bound, "about ")
    return f", worth {bound}{arm.multiplier.value:.2f} times the training bytes"


def _listed(arms: Sequence[Arm]) -> str:
    return ", ".join(f"`{arm.variant}` ({effect_text(arm)})" for arm in arms)


def _would_be_seen(arms: Sequence[Arm]) -> str:
    found = [
        arm.pooled.comparison.minimum_detectable_effect
        for arm in arms
        if arm.pooled.comparison is not None and arm.pooled.comparison.minimum_detectable_effect is not None
    ]
    return f"; differences above {max(found):.4f} bits per byte would have been seen" if found else ""
