"""Presets in recipes: what they expand to, what they ask for, and what is said when they are used wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_runner import main
from pipelines.annotators import factories
from pipelines.recipe import Recipe, parse_recipe
from pipelines.recipe_errors import RecipeError
from quality_signals import presets
from tests.corpus import prose

MINIMAL = "name: m\nsources: {s: {kind: jsonl, input: a.jsonl}, t: {kind: jsonl, input: b.jsonl}}\n"


def parsed(text: str) -> Recipe:
    return parse_recipe(MINIMAL + text, "r.yaml", annotators=factories())


def test_a_preset_brings_its_annotators_and_steps() -> None:
    short = parsed("variants: {v: {preset: redpajama-v2-gopher-natlang}}\n")
    assert short.annotator_names == ("rpv2@1",)
    steps = short.variants["v"].steps
    assert str(steps[0]) == "50 <= rpv2@1/rps_doc_word_count <= 100000"
    assert str(steps[3]) == "mean(rpv2@1/rps_lines_start_with_bulletpoint) <= 0.9"
    assert {step.of_preset for step in steps} == {"redpajama-v2-gopher-natlang@1"}
    for same in (
        "variants: {v: {preset: redpajama-v2-gopher-natlang@1}}\n",
        "variants: {v: {preset: {name: redpajama-v2-gopher-natlang}}}\n",
        "variants: {v: [{preset: redpajama-v2-gopher-natlang}]}\n",
        "variants: {v: {steps: [{preset: redpajama-v2-gopher-natlang}]}}\n",
    ):
        assert parsed(same).resolved() == short.resolved()
    again = parse_recipe(short.resolved_yaml(), annotators=factories())
    assert again.resolved() == short.resolved() and "redpajama-v2-gopher-natlang@1" in short.resolved_yaml()


def test_a_preset_among_other_steps_and_for_some_sources() -> None:
    recipe = parsed(
        "annotators: [{name: rpv2@1}, gopher@datatrove]\n"
        "variants:\n  v: [gopher@datatrove, {preset: redpajama-v2-gopher-natlang, sources: s, allow_empty: true}]\n"
        "  w: {preset: redpajama-v2-gopher-natlang}\n"
    )
    assert recipe.annotator_names == ("rpv2@1", "gopher@datatrove")
    first, *others = recipe.variants["v"].steps
    assert first.rule == "gopher@datatrove" and first.sources == ()
    assert all(step.sources == ("s",) and step.allow_empty for step in others)
    assert all(step.sources == () and not step.allow_empty for step in recipe.variants["w"].steps)


def test_edits_of_a_preset_and_the_families_behind_them() -> None:
    recipe = parsed("variants: {v: {preset: {name: fineweb, without: url_lists}}}\n")
    assert recipe.annotator_names == (
        "language@1", "gopher_repetition@datatrove", "gopher@datatrove", "c4_fineweb@datatrove",
        "fineweb@datatrove+c4_fineweb@datatrove",
    )  # fmt: skip
    assert recipe.variants["v"].describe() == [
        "language@1/language in en",
        "0.65 <= language@1/language_score",
        "gopher_repetition@datatrove",
        "gopher@datatrove",
        "c4_fineweb@datatrove",
        "edit c4_fineweb@datatrove",
        "fineweb@datatrove+c4_fineweb@datatrove",
    ]


def needed(name: str, folder: Path) -> dict[str, str]:
    """Something usable for every need of a preset."""
    from quality_signals.classifier import fit_classifier

    given = {}
    for need in presets.load(name).needs:
        path = folder / need
        if need == "classifier":
            texts = [f"word{i % 7} good" for i in range(40)], [f"word{i % 5} bad" for i in range(40)]
            fit_classifier(*texts, path, dim=2, epochs=1, buckets=10)
        else:
            categories = "adult phishing dating gambling filehosting ddos agressif chat mixed_adult arjel".split()
            for folder_of_list in (path, *(path / category for category in categories)):
                folder_of_list.mkdir(parents=True, exist_ok=True)
                (folder_of_list / "domains").write_text("adult.example\n")
                (folder_of_list / "urls").write_text("adult.example/page\n")
        given[need] = str(path)
    return given


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_can_be_used_whole_and_without_its_needs(name: str, tmp_path: Path) -> None:
    preset = presets.load(name)
    least = parsed(f"variants: {{v: {{preset: {json.dumps({'name': name, 'without': list(preset.needs)})}}}}}\n")
    whole = parsed(f"variants: {{v: {{preset: {json.dumps({'name': name, **needed(name, tmp_path)})}}}}}\n")
    assert len(whole.variants["v"].steps) == len(preset.steps)
    assert len(least.variants["v"].steps) == sum(not presets._needs_of(step) for step in preset.steps)
    assert parse_recipe(whole.resolved_yaml(), annotators=factories()).resolved() == whole.resolved()


WRONG = {
    "unknown": ("{v: {preset: finweb}}", "variants.v.preset", "did you mean 'fineweb@1'"),
    "unknown version": ("{v: [{preset: fineweb@2}]}", "variants.v[0].preset", "unknown preset"),
    "a need that is not met": ("{v: {preset: dclm}}", "variants.v.preset", "dclm@1 needs ut1: folder with"),
    "unknown need": (
        "{v: {preset: {name: fineweb, url_list: x}}}", "variants.v.preset.url_list", "did you mean 'url_lists'",
    ),
    "unknown need left out": (
        "{v: {preset: {name: fineweb, without: [url]}}}", "variants.v.preset.without", "has no such need",
    ),
    "given and left out": (
        "{v: {preset: {name: fineweb, url_lists: x, without: [url_lists]}}}", "variants.v.preset.url_lists", "at once",
    ),
    "with a rule": ("{v: [{preset: c4, rule: dedup}]}", "variants.v[0]", "rule and preset do not go together"),
    "a model that is not there": (
        "{v: {preset: {name: dclm, without: [ut1], classifier: no.zip}}}", "variants.v.preset.classifier",
        "no.zip: no classifier model",
    ),
    "a model that is none": (
        "{v: {preset: {name: dclm, without: [ut1], classifier: [1]}}}", "variants.v.preset", "cannot be used",
    ),
    "unknown source": (
        "{v: [{preset: redpajama-v2-gopher-natlang, sources: x}]}", "variants.v[0].sources", "unknown source",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_preset_is_said(case: str) -> None:
    variants, path, said = WRONG[case]
    with pytest.raises(RecipeError) as caught:
        parsed(f"variants: {variants}\n")
    problem = next((each for each in caught.value.problems if each.path == path), None)
    assert problem is not None and said in str(problem) and problem.mark.line == 3, caught.value.problems


def test_an_annotator_of_the_recipe_that_a_preset_needs_otherwise() -> None:
    with pytest.raises(RecipeError, match="needs rpv2@1 with other options"):
        parsed(
            "annotators: [{name: rpv2, options: {default_language: de}}]\n"
            "variants: {v: {preset: redpajama-v2-gopher-natlang}}\n"
        )


def test_a_preset_in_a_scope_is_refused() -> None:
    with pytest.raises(RecipeError, match="belong to variants"):
        parsed("scope: [{preset: c4}]\n")


# -- as a run ----------------------------------------------------------------------------------------------

RECIPE = """\
name: r
output: {folder}/out
sources: {{s: {{kind: jsonl, input: {folder}/pages.jsonl}}}}
held_out: 0.1
variants:
  natlang: {{preset: redpajama-v2-gopher-natlang}}
  fineweb: [{{preset: {{name: fineweb, without: [url_lists]}}}}]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = [{"id": f"p{i}", "text": prose(i) + "\nshort line"} for i in range(20)]
    rows += [{"id": "short", "text": "too short"}, {"id": "german", "text": "Der Fluss fließt durch die Stadt. " * 30}]
    rows += [{"id": "curly", "text": prose(99) + "\nThis line { has a bracket in it."}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "pages.jsonl").write_text(lines)
    (tmp_path / "r.yaml").write_text(RECIPE.format(folder=tmp_path))
    return tmp_path / "r.yaml"


def test_the_plan_lists_what_presets_expand_to(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert "edit c4_fineweb@datatrove" in said and "preset     fineweb@1" in said
    assert "fineweb@datatrove+c4_fineweb@datatrove" in said and "not there" in said


def test_presets_run(recipe: Path, tmp_path: Path) -> None:
    assert main(["run", str(recipe), "--data-only"]) == 0
    folder = tmp_path / "out/corpora"
    fall = {row["doc_id"]: row for row in pq.read_table(folder / "fineweb/waterfall.parquet").to_pylist()}
    for identity, rule in (
        ("short", "gopher@datatrove/"),
        ("german", "language@1/"),
        ("curly", "c4_fineweb@datatrove/"),
    ):
        if fall[identity]["verdict"] == "dropped":
            assert fall[identity]["rule"].startswith(rule) or identity == "short"
    kept = pq.read_table(sorted((folder / "fineweb/data").glob("train-*.parquet"))).to_pylist()
    assert kept and not any("short line" in row["text"] for row in kept)
    manifest = json.loads((folder / "fineweb/manifest.json").read_text())
    assert manifest["summary"]["edits"][0]["documents"] >= len(kept)
    assert main(["validate", str(tmp_path / "out")]) == 0


def test_one_variant_with_a_preset_on_plain_files(recipe: Path, tmp_path: Path) -> None:
    call = ["curate", str(tmp_path / "pages.jsonl"), "--variant", "fineweb", "--recipe", str(recipe)]
    assert main([*call, "--output", str(tmp_path / "one")]) == 0
    kept = pq.read_table(sorted((tmp_path / "one/corpora/fineweb/data").glob("train-*.parquet")))["text"].to_pylist()
    assert kept and not any("short line" in text for text in kept)
