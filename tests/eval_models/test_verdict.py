"""Verdicts on studies with a known truth, the rules behind caveats, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from eval_models.judgement import Judgement, format_p
from eval_models.plan import StudyPlan
from eval_models.report import verdict_table_text
from eval_models.verdict import HeldOutMismatch, judge
from tests.eval_models.study_fixture import build_study

ONE = ("mamba-tiny",)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyPlan]:
    root = tmp_path_factory.mktemp("study")
    return root, build_study(root)


@pytest.fixture(scope="module")
def judgement(study: tuple[Path, StudyPlan]) -> Judgement:
    return judge(*study)


def codes(judgement: Judgement, variant: str | None = None) -> set[str]:
    return {c.code for c in judgement.caveats if variant is None or c.variant == variant}


def edit_result(root: Path, run_id: str, **changes: object) -> None:
    path = root / "runs" / run_id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_planted_effects_are_found_and_the_null_is_not(judgement: Judgement) -> None:
    assert judgement.arm("dedup").pooled.verdict == "better"
    assert judgement.arm("strict").pooled.verdict == "worse"
    assert judgement.arm("random_dedup").pooled.verdict in ("equivalent", "inconclusive")
    assert judgement.arm("gopher").pooled.verdict in ("equivalent", "inconclusive")
    assert "null_alarm" not in codes(judgement)
    truth = -(0.034 + 0.022 + 0.012) / 3
    comparison = judgement.arm("dedup").pooled.comparison
    assert comparison is not None and comparison.interval is not None
    assert comparison.interval[0] <= truth <= comparison.interval[1]


def test_the_answer_comes_first_in_plain_words(judgement: Judgement) -> None:
    comparison = judgement.arm("dedup").pooled.comparison
    assert comparison is not None and comparison.interval is not None
    low, high = comparison.interval
    assert judgement.headline.startswith(
        f"Against `raw`, `dedup` made a better corpus: {comparison.delta:+.4f} bits per byte [{low:+.4f}, {high:+.4f}]"
    )
    assert "Worse: `strict`" in judgement.headline


def test_an_arm_is_also_judged_against_its_own_null(judgement: Judgement) -> None:
    verdict = judgement.arm("dedup").against_null
    assert verdict is not None
    assert (verdict.against, verdict.verdict) == ("random_dedup", "better")
    assert judgement.arm("gopher").against_null is None


def test_each_proxy_has_its_own_verdict_and_the_pool_is_their_mean(judgement: Judgement) -> None:
    arm = judgement.arm("dedup")
    assert [verdict.proxy for verdict in arm.by_proxy] == ["mamba-tiny", "starcoder-tiny"]
    deltas = [verdict.comparison.delta for verdict in arm.by_proxy if verdict.comparison]
    assert arm.pooled.comparison is not None
    assert arm.pooled.comparison.delta == pytest.approx(sum(deltas) / 2)


def test_holm_is_over_the_candidates_only(judgement: Judgement) -> None:
    null = judgement.arm("random_dedup").pooled
    assert null.comparison is not None and null.p_corrected == pytest.approx(null.comparison.p)
    raw = sorted(
        (arm.pooled.comparison.p, arm.pooled.p_corrected)
        for arm in judgement.arms
        if arm.random_like is None and arm.pooled.comparison is not None
    )
    assert raw[0][1] == pytest.approx(raw[0][0] * 3)
    assert raw[2][1] == pytest.approx(max(raw[2][0], raw[1][1]))


def test_slices_cover_sources_and_languages(judgement: Judgement) -> None:
    names = {effect.name for effect in judgement.arm("dedup").slices}
    assert {"source/github", "source/common-crawl", "language/de", "code/Python"} <= names
    by_name = {effect.name: effect for effect in judgement.arm("dedup").slices}
    comparison = judgement.arm("dedup").pooled.comparison
    assert comparison is not None
    assert by_name["source/github"].comparison.delta == pytest.approx(comparison.by_group["github"])
    assert all(
        effect.p_adjusted is not None and effect.comparison.p is not None
        and effect.p_adjusted >= effect.comparison.p - 1e-15
        for effect in by_name.values()
    )  # fmt: skip


def test_documents_shown_moved_the_same_way_everywhere(judgement: Judgement) -> None:
    arm = judgement.arm("dedup")
    assert [effect.delta for effect in arm.helped] == sorted(effect.delta for effect in arm.helped)
    assert all(effect.delta < 0 for effect in arm.helped)
    assert all(effect.delta > 0 for effect in judgement.arm("strict").harmed)


def test_rules_write_caveats(judgement: Judgement) -> None:
    assert {"few_seeds", "small_slices"} <= codes(judgement)
    assert {"many_epochs", "train_loss_opposite"} <= codes(judgement, "strict")


def test_economics(judgement: Judgement) -> None:
    strict = judgement.economics["strict"]
    assert strict.epochs > 4
    assert strict.effective_ratio < 0.95
    assert judgement.economics["raw"].effective_ratio == 1


def test_json_is_plain_and_strict(judgement: Judgement) -> None:
    text = json.dumps(judgement.to_json(), allow_nan=False)
    assert json.loads(text)["headline"] == judgement.headline


def test_the_same_runs_give_the_same_judgement(study: tuple[Path, StudyPlan], judgement: Judgement) -> None:
    assert judge(*study).to_json() == judgement.to_json()


def test_the_order_of_variants_proxies_and_rows_does_not_matter(
    study: tuple[Path, StudyPlan], judgement: Judgement, tmp_path: Path
) -> None:
    root, plan = study
    shutil.copytree(root / "runs", tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/scores.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.take(list(range(table.num_rows))[::-1]), path)
    turned = dataclasses.replace(plan, variants=plan.variants[::-1], proxies=plan.proxies[::-1])
    other = judge(tmp_path, turned)
    for arm in judgement.arms:
        assert other.arm(arm.variant).pooled.verdict == arm.pooled.verdict
        ours, theirs = arm.pooled.comparison, other.arm(arm.variant).pooled.comparison
        assert ours is not None and theirs is not None
        assert theirs.delta == pytest.approx(ours.delta)
        assert theirs.interval == pytest.approx(ours.interval)


def test_swapping_baseline_and_arm_flips_the_sign(study: tuple[Path, StudyPlan]) -> None:
    root, plan = study
    there = judge(root, dataclasses.replace(plan, baseline="raw", variants=("raw", "strict"), random_like={}))
    back = judge(root, dataclasses.replace(plan, baseline="strict", variants=("strict", "raw"), random_like={}))
    one, other = there.arm("strict").pooled, back.arm("raw").pooled
    assert one.comparison is not None and other.comparison is not None
    assert one.comparison.delta == pytest.approx(-other.comparison.delta)
    assert one.p_corrected == pytest.approx(other.p_corrected)
    assert (one.verdict, other.verdict) == ("worse", "better")


def test_nothing_planted_nothing_found(tmp_path: Path) -> None:
    plan = build_study(tmp_path, effects={"raw": 0.0, "a": 0.0, "b": 0.0}, corpora=False, sd_seed=0.006)
    found = judge(tmp_path, plan)
    assert not {arm.pooled.verdict for arm in found.arms} & {"better", "worse"}
    assert "better corpus" not in found.headline


def test_undecided_says_what_would_have_been_seen(tmp_path: Path) -> None:
    plan = build_study(
        tmp_path, effects={"raw": 0.0, "a": -0.004}, corpora=False, sd_seed=0.03, margin=0.002, proxies=ONE
    )
    found = judge(tmp_path, plan)
    comparison = found.arm("a").pooled.comparison
    assert comparison is not None and comparison.minimum_detectable_effect is not None
    assert found.arm("a").pooled.verdict == "inconclusive"
    assert found.headline == (
        "No choice could be told apart from `raw` at this budget; differences above "
        f"{comparison.minimum_detectable_effect:.4f} bits per byte would have been seen."
    )
    assert "underpowered" in codes(found, "a")


def test_all_equivalent(tmp_path: Path) -> None:
    plan = build_study(tmp_path, effects={"raw": 0.0, "a": 0.001}, corpora=False, sd_seed=0.001, margin=0.03)
    found = judge(tmp_path, plan)
    assert found.arm("a").pooled.verdict == "equivalent"
    assert found.headline.startswith("No choice made a difference that matters")


def test_a_real_difference_inside_the_margin_is_equivalent(tmp_path: Path) -> None:
    plan = build_study(
        tmp_path,
        effects={"raw": 0.0, "a": -0.012},
        corpora=False,
        sd_seed=0.0005,
        sd_cluster=0.005,
        margin=0.05,
    )
    verdict = judge(tmp_path, plan).arm("a").pooled
    assert verdict.p_corrected is not None and verdict.p_corrected < 0.05
    assert verdict.verdict == "equivalent"
    assert "there is a difference" in verdict.reasons[0]


def test_a_significant_null_raises_the_alarm(tmp_path: Path) -> None:
    effects = {"raw": 0.0, "dedup": -0.03, "random_dedup": -0.03}
    found = judge(tmp_path, build_study(tmp_path, effects=effects, corpora=False))
    assert found.caveats[0].code == "null_alarm"
    assert "the null variant came out significant" in found.caveats[0].text
    assert found.headline.startswith("Alarm")
    assert "not_better_than_null" in codes(found, "dedup")


def test_a_proxy_that_an_ngram_beats_has_no_say(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, ngram2=1.5)
    found = judge(tmp_path, plan)
    assert {arm.pooled.verdict for arm in found.arms} == {"proxy_too_weak"}
    assert found.headline.startswith("No verdict")
    assert "order-2 n-gram" in found.arm("dedup").pooled.reasons[0]


def test_only_the_strong_proxies_are_pooled(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False)
    for variant in plan.variants:
        for seed in range(plan.seeds):
            edit_result(tmp_path, plan.run_id(variant, "starcoder-tiny", seed), ngram2_bits_per_byte=1.0)
    found = judge(tmp_path, plan)
    arm = found.arm("dedup")
    assert arm.pooled.proxies == ("mamba-tiny",)
    assert [verdict.verdict for verdict in arm.by_proxy] == ["better", "proxy_too_weak"]
    assert "proxy_too_weak" in codes(found)


def test_families_that_disagree_are_flagged(tmp_path: Path) -> None:
    plan = build_study(
        tmp_path,
        effects={"raw": 0.0, "a": 0.0},
        proxy_effects={("a", "mamba-tiny"): -0.03, ("a", "starcoder-tiny"): 0.03},
        corpora=False,
    )
    found = judge(tmp_path, plan)
    assert found.arm("a").arch_sensitive
    assert "arch_sensitive" in codes(found, "a")


def test_one_seed_gives_no_verdict(tmp_path: Path) -> None:
    plan = build_study(tmp_path, seeds=1, corpora=False)
    found = judge(tmp_path, plan)
    assert {arm.pooled.verdict for arm in found.arms} == {"inconclusive"}
    assert "one seed" in found.arm("dedup").pooled.reasons[0]
    assert "dedup" in verdict_table_text(found)


def test_missing_runs_are_named_and_only_paired_seeds_count(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE)
    (tmp_path / "runs" / "dedup.mamba-tiny.seed1" / "result.json").unlink()
    found = judge(tmp_path, plan)
    assert found.missing_runs == ("dedup.mamba-tiny.seed1",)
    assert found.arm("dedup").pooled.seeds == (0, 2)
    assert found.arm("gopher").pooled.seeds == (0, 1, 2)
    assert "missing_runs" in codes(found)


def test_no_runs_at_all(tmp_path: Path) -> None:
    found = judge(tmp_path, StudyPlan(baseline="raw", variants=("raw", "dedup")))
    assert found.headline.startswith("No verdict")
    assert len(found.missing_runs) == 6
    json.dumps(found.to_json(), allow_nan=False)


def test_a_diverged_run_is_left_out(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE)
    path = tmp_path / "runs" / "gopher.mamba-tiny.seed0" / "scores.parquet"
    table = pq.read_table(path)
    broken = pa.array([math.nan] * table.num_rows)
    pq.write_table(table.set_column(table.column_names.index("nats"), "nats", broken), path)
    edit_result(tmp_path, "strict.mamba-tiny.seed2", healthy=False)
    found = judge(tmp_path, plan)
    assert found.arm("gopher").pooled.seeds == (1, 2)
    assert found.arm("strict").pooled.seeds == (0, 1)
    assert sum(caveat.code == "unhealthy_run" for caveat in found.caveats) == 2


def rewrite_scores(root: Path, run_id: str, change: object) -> None:
    path = root / "runs" / run_id / "scores.parquet"
    pq.write_table(change(pq.read_table(path)), path)  # type: ignore[operator]


def test_other_held_out_documents_are_refused(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE)
    run_id = "gopher.mamba-tiny.seed1"
    lost = sorted(pq.read_table(tmp_path / "runs" / run_id / "scores.parquet")["doc_id"].to_pylist())[5]
    rewrite_scores(tmp_path, run_id, lambda table: table.filter(pc.not_equal(table["doc_id"], lost)))
    with pytest.raises(HeldOutMismatch, match=f"{run_id} lacks document {lost}"):
        judge(tmp_path, plan)


def test_other_bytes_of_a_document_are_refused(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE)

    def grow(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index("bytes"), "bytes", pc.add(table["bytes"], 1))

    rewrite_scores(tmp_path, "strict.mamba-tiny.seed2", grow)
    with pytest.raises(HeldOutMismatch, match=r"strict.mamba-tiny.seed2: document \w+ has bytes"):
        judge(tmp_path, plan)


def test_a_document_scored_twice_is_refused(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE)
    rewrite_scores(tmp_path, "raw.mamba-tiny.seed0", lambda table: pa.concat_tables([table, table.slice(3, 1)]))
    with pytest.raises(HeldOutMismatch, match="scored twice"):
        judge(tmp_path, plan)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE)
    rewrite_scores(tmp_path, "raw.mamba-tiny.seed0", lambda table: table.drop_columns(["cluster"]))
    with pytest.raises(ValueError, match="cluster"):
        judge(tmp_path, plan)


def test_runs_that_cannot_be_compared_are_pointed_out(tmp_path: Path) -> None:
    plan = build_study(tmp_path, proxies=ONE)
    path = tmp_path / "runs" / "dedup.mamba-tiny.seed0" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"dtype": "bfloat16"}))
    edit_result(tmp_path, "dedup.mamba-tiny.seed1", corpus_manifest_sha256="f" * 64)
    edit_result(tmp_path, "dedup.mamba-tiny.seed2", bytes_seen=1_000_000)
    edit_result(tmp_path, "gopher.mamba-tiny.seed2", macro_bits_per_byte=2.3)
    found = judge(tmp_path, plan)
    texts = {caveat.code: caveat.text for caveat in found.caveats}
    assert "dtype" in texts["mixed_settings"] and "seed" not in texts["mixed_settings"]
    assert "dedup.mamba-tiny.seed1" in texts["stale_runs"]
    assert "dedup.mamba-tiny.seed2" in texts["budget_differs"]
    assert "gopher.mamba-tiny.seed2" in texts["score_mismatch"]


def test_a_curve_ends_on_the_documents_that_it_was_measured_on(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE, seeds=1)
    folder = tmp_path / "runs" / "raw.mamba-tiny.seed0"
    whole = judge(tmp_path, plan).curves[0].mean[-1]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"evaluation": {"curve_bytes_per_source": 1}}))
    table = pq.read_table(folder / "scores.parquet").to_pylist()
    first = {row["source"]: row["nats"] / row["bytes"] / math.log(2) for row in reversed(table)}
    found = judge(tmp_path, plan).curves[0].mean[-1]
    assert found == pytest.approx(sum(first.values()) / 3)
    assert found != pytest.approx(whole)


def test_curves_align_although_runs_see_slightly_different_bytes(tmp_path: Path) -> None:
    plan = build_study(tmp_path, corpora=False, proxies=ONE)
    for path in (tmp_path / "runs").glob("*seed1/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows[:-1]:
            row["bytes_seen"] += 313
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = {curve.variant: curve for curve in judge(tmp_path, plan).curves}
    assert len(curves["dedup"].bytes_seen) == len(curves["dedup"].gap_bytes) == 13
    assert curves["raw"].gap_bytes == ()


def test_plan_refuses_what_cannot_be_run() -> None:
    assert StudyPlan(baseline="raw", variants=("dedup",)).variants == ("raw", "dedup")
    for wrong, message in (
        ({"variants": ("a", "a")}, "different names"),
        ({"random_like": {"null": "a"}}, "not a variant"),
        ({"seeds": 0}, "seeds"),
        ({"margin_bits_per_byte": 0.0}, "margin"),
        ({"alpha": 1.5}, "alpha"),
        ({"device": "tpu"}, "device"),
        ({"mix": {}}, "mix"),
        ({"jobs": 0}, "jobs"),
        ({"budget_bytes": 0}, "budget"),
    ):
        with pytest.raises(ValueError, match=message):
            StudyPlan(**({"baseline": "raw", "variants": ("raw", "a")} | wrong))  # type: ignore[arg-type]


def test_terminal_table(judgement: Judgement) -> None:
    text = verdict_table_text(judgement, width=100)
    assert all(len(line) <= 100 for line in text.splitlines())
    rows = [line for line in text.splitlines() if line.startswith(("variant", "raw", "dedup ", "  random", "strict "))]
    assert len(rows) == 5
    assert (
        len({row.index(word) for row, word in zip(rows[2:3], ("better",), strict=True)} | {rows[0].index("verdict")})
        == 1
    )


@pytest.mark.parametrize(("p", "text"), [(None, "n/a"), (0.0004, "<0.001"), (0.0456, "0.046"), (1.0, "1.000")])
def test_p_values_for_people(p: float | None, text: str) -> None:
    assert format_p(p) == text
