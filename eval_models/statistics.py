"""Paired comparison of two corpora from the per-document nats of proxies trained on each.

The estimand is the macro mean over sources of the difference in held-out bits per byte, arm minus baseline,
so negative is better. It is uncertain in two crossed ways: another seed would give another model, and another
held-out sample would give other documents. Every error bar here covers both:

* Seeds are paired (same initialisation and data order for both arms), so only differences are analysed.
* Documents are resampled by cluster (near-duplicates, one site, one repository), within their source.
* Each component keeps its own Student quantile. With variances V_s (seeds, S - 1 degrees of freedom) and V_c
  (clusters, nu_c), the half width is sqrt(t_s^2 V_s + t_c^2 V_c): the margins of two independent errors added
  in squares (Zou & Donner 2008, "MOVER"). It is the paired t interval when the seeds dominate and the cluster
  t interval when the documents do. Chosen over Welch-Satterthwaite because that one is liberal with 2 or 3
  seeds (simulated false-positive rate at alpha .05, S = 3, V_s = 9 V_c: .079, against .040 here), and over
  plain percentiles because three seeds have only ten different resamples. The p value inverts the same
  interval, so p < alpha if and only if the interval excludes zero. Interactions of seed and document are
  counted in both components, which errs on the careful side.

Pure numpy and scipy; no files.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

REPEAT_HALF_LIFE = 15.39
"""R*_D of the repetition law (Muennighoff et al. 2023, "Scaling Data-Constrained Language Models", fit for
data).
"""

BOOTSTRAP_DRAWS = 2000

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ClusterSums:
    """Sums per seed, cluster and group (a source, or another slice): all that resampling needs.

    nats    [S, C, K]  paired difference arm - baseline; or the nats of one arm
    bytes   [C, K]     bytes of text scored, the same for every seed and arm
    stratum [C]        home source of a cluster: clusters are resampled within it
    """

    nats: Floats
    bytes: Floats
    stratum: npt.NDArray[np.int64]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        seeds, clusters, groups = self.nats.shape
        if self.bytes.shape != (clusters, groups) or self.stratum.shape != (clusters,):
            raise ValueError(
                f"cluster sums: nats {self.nats.shape}, bytes {self.bytes.shape}, stratum "
                f"{self.stratum.shape} "
                "do not fit [S, C, K], [C, K], [C]"
            )
        if len(self.groups) != groups:
            raise ValueError(f"cluster sums: {len(self.groups)} names for {groups} groups")
        if seeds < 1 or clusters < 1 or not (self.bytes.sum(0) > 0).all():
            raise ValueError("cluster sums: need one seed, one cluster and some bytes in every group")

    def negated(self) -> ClusterSums:
        return dataclasses.replace(self, nats=-self.nats)


def cluster_sums(
    nats: npt.ArrayLike,
    nbytes: npt.ArrayLike,
    clusters: Sequence[str],
    sources: Sequence[str],
    groups: Sequence[Sequence[str]] | None = None,
) -> ClusterSums:
    """Adds documents up to clusters.

    nats [S, D], nbytes [D]; clusters, sources: D names; groups: for each document the slices that it belongs
    to (its source alone when None). A cluster's home is the source that has most of its bytes (first name on
    a tie).
    """
    values = np.atleast_2d(np.asarray(nats, dtype=np.float64))
    size = np.asarray(nbytes, dtype=np.float64)
    memberships = [(source,) for source in sources] if groups is None else groups
    if not values.shape[1] == len(size) == len(clusters) == len(sources) == len(memberships):
        raise ValueError("cluster sums: nats, bytes, clusters, sources and groups differ in their number of documents")
    cluster_of, n_clusters = _codes(clusters)
    source_of, n_sources = _codes(sources)
    homes = np.zeros((n_clusters, n_sources))
    np.add.at(homes, (cluster_of, source_of), size)
    group_names = tuple(sorted({group for member in memberships for group in member}))
    code = {group: index for index, group in enumerate(group_names)}
    rows = np.array([row for row, member in enumerate(memberships) for _ in member], dtype=np.int64)
    columns = np.array([code[group] for member in memberships for group in member], dtype=np.int64)
    total_bytes = np.zeros((n_clusters, len(group_names)))
    np.add.at(total_bytes, (cluster_of[rows], columns), size[rows])
    total_nats = np.zeros((values.shape[0], n_clusters, len(group_names)))
    for seed, row in enumerate(values):
        np.add.at(total_nats[seed], (cluster_of[rows], columns), row[rows])
    return ClusterSums(total_nats, total_bytes, homes.argmax(1), group_names)


def _codes(names: Sequence[str]) -> tuple[npt.NDArray[np.int64], int]:
    unique, codes = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)
    return codes.astype(np.int64), len(unique)


@dataclasses.dataclass(frozen=True)
class Resampler:
    """Weights of a crossed bootstrap, drawn once and shared by all arms and slices of one study.

    Draws n - 1 of n with replacement in each dimension and scales by n / (n - 1) (Rao & Wu 1988): unbiased
    for the variance even with 2 or 3 seeds, where drawing n of n would give (n - 1) / n of it. A stratum with
    one cluster, and a single seed, cannot be resampled and keep weight 1.
    Memory: 2 bytes x draws x clusters (20,000 clusters: 80 MB).
    """

    seed_counts: npt.NDArray[np.uint16]  # [B, S]
    cluster_counts: npt.NDArray[np.uint16]  # [B, C]
    cluster_scale: Floats  # [C]
    seed_scale: float

    @classmethod
    def draw(cls, seeds: int, stratum: npt.NDArray[np.int64], draws: int = BOOTSTRAP_DRAWS, seed: int = 0) -> Resampler:
        rng = np.random.default_rng(seed)
        cluster_counts = np.ones((draws, len(stratum)), dtype=np.uint16)
        scale = np.ones(len(stratum))
        for home in np.unique(stratum):
            members = np.flatnonzero(stratum == home)
            n = len(members)
            if n > 1:
                cluster_counts[:, members] = _counts(rng, draws, n)
                scale[members] = n / (n - 1)
        if seeds > 1:
            return cls(_counts(rng, draws, seeds), cluster_counts, scale, seeds / (seeds - 1))
        return cls(np.ones((draws, 1), dtype=np.uint16), cluster_counts, scale, 1.0)

    def deltas(self, sums: ClusterSums) -> tuple[Floats, Floats]:
        """Resampled bits per byte: macro over the groups [B], and of each group [B, K] (nan if it vanished)."""
        seeds, clusters, groups = sums.nats.shape
        flat = sums.nats.transpose(1, 0, 2).reshape(clusters, seeds * groups)
        draws = len(self.seed_counts)
        per_group = np.empty((draws, groups))
        for start in range(0, draws, 256):  # 256 rows of float weights at a time bound the memory
            part = slice(start, min(start + 256, draws))
            weights = self.cluster_counts[part] * self.cluster_scale
            nats = (weights @ flat).reshape(-1, seeds, groups)
            seed_weights = self.seed_counts[part] * (self.seed_scale / seeds)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = np.einsum("bs,bsk->bk", seed_weights, nats) / (weights @ sums.bytes)
            per_group[part] = ratio / math.log(2)
        return per_group.mean(1), per_group


def _counts(rng: np.random.Generator, draws: int, n: int) -> npt.NDArray[np.uint16]:
    chosen = rng.integers(0, n, size=(draws, n - 1)) + np.arange(draws)[:, None] * n
    return np.bincount(chosen.ravel(), minlength=draws * n).reshape(draws, n).astype(np.uint16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Arm minus baseline in bits per byte (negative is better), with all that is needed to judge it.

    Fields that need two seeds are None when there is one: with one seed nothing is known about the next one.
    """

    delta: float
    by_group: Mapping[str, float]
    by_seed: tuple[float, ...]
    seeds: int
    clusters: int
    single_cluster_groups: tuple[str, ...]
    """Groups whose text lies in one cluster: the luck of that choice is not in the error."""
    se_documents: float
    sd_document: float
    """Standard deviation of a cluster, scaled so that se_documents = sd_document / sqrt(effective_clusters).
    """
    effective_clusters: float
    se: float | None = None
    """Standard error of delta, from the crossed bootstrap."""
    se_seeds: float | None = None
    sd_pair: float | None = None
    """Standard deviation over seeds of the paired difference."""
    t_quantile: float | None = None
    """Half width of the interval / se: between the Student quantiles of the seeds and of the clusters."""
    interval: tuple[float, float] | None = None
    equivalence_interval: tuple[float, float] | None = None
    """The 1 - 2 alpha interval: inside +- margin means equivalent (two one-sided tests)."""
    percentile_interval: tuple[float, float] | None = None
    """Plain percentiles of the draws; for comparison only, too narrow with few seeds."""
    p: float | None = None
    p_equivalence: float | None = None
    p_paired_t: float | None = None
    """Over seeds alone, documents taken as fixed."""
    minimum_detectable_effect: float | None = None


def compare(
    sums: ClusterSums,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    margin: float = 0.01,
    resampler: Resampler | None = None,
    draws: int = BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Judges one paired difference; groups weigh equally. `resampler` must fit the seeds and strata of
    `sums`.
    """
    seeds, clusters, groups = sums.nats.shape
    if not np.isfinite(sums.nats).all():
        raise ValueError("compare: nats are not finite")
    total_bytes = sums.bytes.sum(0)
    per_seed_group = sums.nats.sum(1) / total_bytes / math.log(2)  # [S, K]
    by_seed = per_seed_group.mean(1)
    delta = float(by_seed.mean())
    var_documents, nu_documents, effective, single = _cluster_variance(sums)
    common: dict[str, Any] = {
        "delta": delta,
        "by_group": dict(zip(sums.groups, map(float, per_seed_group.mean(0)), strict=True)),
        "by_seed": tuple(map(float, by_seed)),
        "se_documents": math.sqrt(var_documents),
        "sd_document": math.sqrt(var_documents * effective),
        "effective_clusters": effective,
        "seeds": seeds,
        "clusters": clusters,
        "single_cluster_groups": single,
    }
    if seeds < 2:
        return Comparison(**common)
    sd_pair = float(by_seed.std(ddof=1))
    var_seeds = sd_pair**2 / seeds
    resampler = resampler or Resampler.draw(seeds, sums.stratum, draws, seed)
    resampled, _ = resampler.deltas(sums)
    resampled = resampled[np.isfinite(resampled)]  # a slice in very few clusters may vanish from a draw
    se = float(np.std(resampled, ddof=1))
    share = var_seeds / (var_seeds + var_documents) if var_seeds + var_documents > 0 else 1.0
    test = _Combined(delta, se, share, seeds - 1, nu_documents)
    low, high = np.quantile(resampled, [alpha / 2, 1 - alpha / 2])
    analytic = math.sqrt(var_seeds + var_documents)
    return Comparison(
        **common,
        se=se,
        se_seeds=math.sqrt(var_seeds),
        sd_pair=sd_pair,
        t_quantile=test.quantile(alpha),
        interval=test.interval(alpha),
        equivalence_interval=test.interval(2 * alpha),
        percentile_interval=(float(low), float(high)),
        p=test.p(0.0),
        p_equivalence=test.p_within(margin),
        p_paired_t=paired_t(by_seed)[1],
        minimum_detectable_effect=minimum_detectable_effect(analytic, seeds, alpha=alpha, power=power),
    )


def _cluster_variance(sums: ClusterSums) -> tuple[float, float, float, tuple[str, ...]]:
    """Linearised (delta method) variance of the macro mean over the clusters drawn, stratified by home
    source.

    Returns the variance, its degrees of freedom (Welch-Satterthwaite over strata, each with its effective
    number of clusters), the effective number of clusters (Kish 1965: (sum w)^2 / sum w^2 over the clusters'
    weights in the macro mean), and the groups which rest on one cluster and so have no estimate.
    """
    total = sums.bytes.sum(0)
    groups = len(total)
    mean_nats = sums.nats.mean(0)
    rate = mean_nats.sum(0) / total
    influence = ((mean_nats - rate * sums.bytes) / total).sum(1) / groups / math.log(2)
    weight = (sums.bytes / total).sum(1) / groups
    variance, spread = 0.0, 0.0
    for home in np.unique(sums.stratum):
        members = sums.stratum == home
        n = int(members.sum())
        if n < 2:
            continue
        mass = float((weight[members] ** 2).sum())
        if mass == 0:  # the slice has no text in this source
            continue
        part = n / (n - 1) * float(((influence[members] - influence[members].mean()) ** 2).sum())
        kish = float(weight[members].sum() ** 2) / mass
        variance += part
        spread += part**2 / max(kish - 1, 1.0)
    single = tuple(name for name, used in zip(sums.groups, (sums.bytes > 0).sum(0), strict=True) if used < 2)
    effective = float(weight.sum() ** 2 / (weight**2).sum())
    return variance, variance**2 / spread if spread > 0 else 1.0, effective, single


@dataclasses.dataclass(frozen=True)
class _Combined:
    """Interval and p value of an error made of a seed part (share of the variance) and a cluster part."""

    delta: float
    se: float
    share: float
    nu_seeds: float
    nu_documents: float

    def quantile(self, alpha: float) -> float:
        return math.sqrt(self._squared(math.log(alpha)))

    def _squared(self, log_alpha: float) -> float:
        tail = math.exp(log_alpha) / 2
        t_seeds = float(special.stdtrit(self.nu_seeds, tail))
        t_documents = float(special.stdtrit(self.nu_documents, tail))
        return self.share * t_seeds**2 + (1 - self.share) * t_documents**2

    def interval(self, alpha: float) -> tuple[float, float]:
        half = self.quantile(alpha) * self.se
        return self.delta - half, self.delta + half

    def p(self, null: float) -> float:
        """Two-sided p of delta = null: the alpha whose interval just reaches it. Not below 1e-12."""
        distance = abs(self.delta - null)
        if distance == 0:
            return 1.0
        if self.se == 0:
            return 1e-12
        target = (distance / self.se) ** 2
        lowest = math.log(1e-12)
        if self._squared(lowest) <= target:
            return 1e-12
        return math.exp(optimize.brentq(lambda x: self._squared(x) - target, lowest, 0.0, xtol=1e-12))

    def p_within(self, margin: float) -> float:
        """Two one-sided tests (Schuirmann 1987): the larger p of `delta <= -margin` and `delta >= +margin`."""
        one_sided = []
        for bound, inside in ((-margin, self.delta > -margin), (margin, self.delta < margin)):
            two_sided = self.p(bound)
            one_sided.append(two_sided / 2 if inside else 1 - two_sided / 2)
        return max(one_sided)


def paired_t(differences: npt.ArrayLike, alternative: str = "two-sided") -> tuple[float, float]:
    """t and p of the mean difference; alternative: two-sided, less or greater. nan, nan for fewer than two
    values.
    """
    if alternative not in ("two-sided", "less", "greater"):
        raise ValueError(f"paired t: alternative {alternative!r}; allowed are two-sided, less, greater")
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return (0.0, 1.0) if values[0] == 0 else (math.copysign(math.inf, values[0]), 0.0)
    t = float(values.mean() / (values.std(ddof=1) / math.sqrt(len(values))))
    below = float(special.stdtr(len(values) - 1, t))
    if alternative == "two-sided":
        return t, 2 * float(special.stdtr(len(values) - 1, -abs(t)))
    return t, below if alternative == "less" else 1 - below


def minimum_detectable_effect(se: float, seeds: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference found with probability `power`: (t_{1 - alpha/2} + t_power) SE, S - 1 df."""
    t = stats.t(seeds - 1)
    return float((t.ppf(1 - alpha / 2) + t.ppf(power)) * se)


def crossed_standard_error(sd_pair: float, seeds: int, sd_document: float, effective_clusters: float) -> float:
    """sqrt(sd_pair^2 / S + sd_document^2 / D_eff): for planning a study from a pilot."""
    return math.sqrt(sd_pair**2 / seeds + sd_document**2 / effective_clusters)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Family-wise adjusted p values (Holm 1979), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    return tuple(map(float, adjusted))


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """False-discovery-rate adjusted p values (Benjamini & Hochberg 1995), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * (len(p) / ranks)), 1.0)
    return tuple(map(float, adjusted))


@dataclasses.dataclass(frozen=True)
class SignConsistency:
    """How many slices moved the way the primary metric did, and the two-sided sign test of that."""

    agree: int
    slices: int
    p: float


def sign_consistency(primary: float, slices: Sequence[float]) -> SignConsistency:
    """Slices with exactly zero difference do not count."""
    moved = [value for value in slices if value != 0]
    agree = sum((value > 0) == (primary > 0) for value in moved)
    p = float(stats.binomtest(agree, len(moved)).pvalue) if moved else 1.0
    return SignConsistency(agree, len(moved), p)


def effective_bytes(seen: float, unique: float, half_life: float = REPEAT_HALF_LIFE) -> float:
    """Bytes of fresh data worth as much as `seen` bytes drawn from `unique` ones: U + U R* (1 - e^(-R / R*)).

    R = seen / unique - 1 repeats; equals `seen` when nothing was repeated.
    """
    if seen <= 0 or unique <= 0:
        raise ValueError(f"effective bytes: seen {seen} and unique {unique} must be positive")
    unique = min(unique, seen)
    repeats = seen / unique - 1
    return unique + unique * half_life * -math.expm1(-repeats / half_life)


@dataclasses.dataclass(frozen=True)
class Multiplier:
    """`value` x the baseline's compute gives the arm's result. bound: '', '<' or '>' when a curve ends
    before.
    """

    value: float
    bound: str = ""


def compute_multiplier(
    baseline: Sequence[tuple[float, float]], arm: Sequence[tuple[float, float]], delta: float | None = None
) -> Multiplier | None:
    """What the arm's corpus is worth in bytes of the baseline's, from learning curves of (bytes, bits per
    byte).

    delta (arm - baseline) is taken from the ends of the curves, or given where the final scores rest on more
    documents than the curves do; then the curves only lend their shape.
    Arm worse: the bytes at which the baseline was still delta above its end, over the budget (below 1).
    Arm better: the budget over the bytes at which the arm was still -delta above its end (above 1), so that
    nothing is extrapolated beyond the budget. Interpolated in log bytes on the running minimum. Points before
    the end had not finished their learning-rate decay, so both read closer to 1 than separate full runs
    would. None if a curve has fewer than two points.
    """
    if len(baseline) < 2 or len(arm) < 2:
        return None
    gap = arm[-1][1] - baseline[-1][1] if delta is None else delta
    curve = arm if gap <= 0 else baseline
    reached, bound = _first_reach(curve, curve[-1][1] + abs(gap))
    ratio = reached / curve[-1][0]
    if gap <= 0:
        return Multiplier(1 / ratio, ">" if bound else "")
    return Multiplier(ratio, "<" if bound else "")


def _first_reach(curve: Sequence[tuple[float, float]], goal: float) -> tuple[float, bool]:
    """Bytes at which the running minimum first is <= goal; True when that was before the first point."""
    points = [(seen, score) for seen, score in curve if seen > 0 and math.isfinite(score)]
    if not points:
        return curve[-1][0], False
    if points[0][1] <= goal:
        return points[0][0], True
    previous = points[0]
    for seen, score in points[1:]:
        if score <= goal:
            part = (previous[1] - goal) / (previous[1] - score)
            return math.exp(math.log(previous[0]) + part * (math.log(seen) - math.log(previous[0]))), False
        if score < previous[1]:
            previous = (seen, score)
    return points[-1][0], False


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of two rankings of the same arms; decision_accuracy = share of pairs put in the same order."""

    first: str
    second: str
    kendall_tau: float | None
    decision_accuracy: float | None
    arms: int


def agreement(first: str, second: str, a: Sequence[float], b: Sequence[float]) -> Agreement:
    """Kendall's tau-b and the share of equal pairwise decisions (a tie in one ranking counts half)."""
    if len(a) != len(b):
        raise ValueError(f"agreement: {first} has {len(a)} arms, {second} has {len(b)}")
    if len(a) < 2:
        return Agreement(first, second, None, None, len(a))
    tau = float(stats.kendalltau(a, b).statistic)
    score, pairs = 0.0, 0
    for i in range(len(a)):
        for j in range(i):
            product = np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])
            both_tied = a[i] == a[j] and b[i] == b[j]
            score += 1.0 if both_tied or product > 0 else 0.5 if product == 0 else 0.0
            pairs += 1
    return Agreement(first, second, tau if math.isfinite(tau) else None, score / pairs, len(a))
