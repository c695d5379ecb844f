"""From a recipe's study block to trained proxies, a verdict and the report."""

from __future__ import annotations

import glob
import os
from typing import Any

from pipelines import storage
from pipelines.errors import UsageError
from pipelines.recipe import Recipe
from pipelines.stages import StageError, Timings


def study_plan(recipe: Recipe) -> Any:
    """The recipe's study as the plain plan that eval_models takes; None where the recipe has no study."""
    from eval_models.plan import StudyPlan

    study = recipe.study
    if study is None:
        return None
    null_of = {name: v.random_like for name, v in recipe.variants.items() if v.random_like}
    return StudyPlan(
        baseline=study.baseline,
        variants=tuple(recipe.variants),
        random_like=null_of,
        proxies=tuple(study.proxies),
        seeds=study.seeds,
        budget_bytes=study.budget_bytes,
        margin_bits_per_byte=study.margin_bits_per_byte,
        alpha=study.alpha,
        power=study.power,
        jobs=study.jobs,
        threads=study.threads,
        device=study.device,
        keep_checkpoints=study.keep_checkpoints,
        mix=study.mix,
    )


def train_proxies(recipe: Recipe, output: str, force: bool = False) -> None:
    """Trains and scores every run of the study that is not done.

    Raises UsageError for a remote output, StageError where a run fails or the corpora cannot be trained on.
    """
    from eval_models.data_order import CorpusError
    from eval_models.runs import StudyError, run_study

    if storage.is_remote(output):
        raise UsageError(f"{output}: proxies are trained on a local copy of the corpora; copy the output folder first")
    before = _results(output)
    timings = Timings(storage.join(output, "timings.json"))
    with timings.measure("train", worked=lambda: _results(output) != before):
        try:
            run_study(output, study_plan(recipe), force=force)
        except (StudyError, CorpusError) as error:
            raise StageError(f"training: {error}") from error


def _results(output: str) -> set[tuple[str, int]]:
    """The finished runs, and when each was finished."""
    return {(path, os.stat(path).st_mtime_ns) for path in glob.glob(storage.join(output, "runs/*/result.json"))}


def report_on(recipe: Recipe, output: str) -> str:
    """Writes the three reports and returns what a person wants to read in the terminal."""
    from eval_models.report import verdict_table_text, write_report

    judgement = write_report(output, study_plan(recipe))
    lines = []
    if judgement is not None:
        lines.append(verdict_table_text(judgement))
    lines.append(f"report: {storage.join(output, 'report.html')}")
    return "\n".join(lines)
