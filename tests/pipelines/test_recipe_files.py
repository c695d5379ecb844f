"""Recipes and files: those that a recipe names, and a recipe's variant of plain files (`gristmill curate`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.annotators import factories
from pipelines.errors import UsageError
from pipelines.recipe import Recipe, parse_recipe, recipe_of
from tests.pipelines.test_recipe import QUICKSTART

PLAIN = {"input": {"kind": "jsonl", "input": ["a.jsonl"]}}


def test_files_that_a_recipe_names_are_checked_before_any_work(tmp_path: Path) -> None:
    def recipe(**files: str) -> Recipe:
        source = {"kind": "html", "input": "x", **{k: v for k, v in files.items() if k == "locators"}}
        more = {k: v for k, v in files.items() if k == "opt_out"}
        return recipe_of({"name": "m", "sources": {"s": source}, **more})

    recipe().check_files()
    with pytest.raises(UsageError, match=r"sources.s.locators: .*urls.jsonl: no such file"):
        recipe(locators=str(tmp_path / "urls.jsonl!x")).check_files()
    with pytest.raises(UsageError, match=r"opt_out: .*list.yaml: no such file"):
        recipe(opt_out=str(tmp_path / "list.yaml")).check_files()
    with pytest.raises(UsageError, match=r"pii.policy: .*no such policy"):
        recipe_of({"name": "m", "sources": {"s": {"kind": "html", "input": "x"}}, "pii": {"policy": "x"}}).check_files()


DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page", sorted(page.name for page in DOCS.glob("*.md") if "```yaml\nsources:" in page.read_text())
)
def test_recipes_in_the_documentation_are_recipes(page: str) -> None:
    blocks = [block for block in _BLOCK.findall((DOCS / page).read_text()) if block.startswith("sources:")]
    for block in blocks:
        parse_recipe(f"name: m\n{block}", page, annotators=factories())


def test_a_recipe_for_one_variant_and_plain_files() -> None:
    recipe = parse_recipe(QUICKSTART.replace("held_out: 0.06}", "held_out: {fraction: 0.06, by: {web: host}}}"))
    values = recipe.for_plain_files("null_gopher", "there", {"input": {"kind": "jsonl", "input": ["a.jsonl"]}})
    plain = recipe_of(values)
    assert plain.output == "there" and list(plain.sources) == ["input"] and plain.study is None
    assert set(plain.variants) == {"gopher", "null_gopher"}
    assert "gopher@datatrove" in plain.annotator_names and "rpv2@1" not in plain.annotator_names
    assert plain.held_out.fraction == 0.06 and plain.held_out_grouping("input") == "document"
    assert "rpv2@1" in recipe_of(recipe.for_plain_files("dedup", "there", values["sources"])).annotator_names


def plain(text: str, variant: str) -> Recipe:
    """The checked recipe of one variant of plain files."""
    known = factories()
    recipe = parse_recipe("name: m\nsources: {s: {kind: jsonl, input: a.jsonl}}\n" + text, annotators=known)
    return recipe_of(recipe.for_plain_files(variant, "there", PLAIN), annotators=known)


def test_what_a_kept_annotator_reads_is_kept() -> None:
    text = """
annotators:
  - gopher@datatrove
  - c4@tfds
  - gopher_repetition@datatrove
  - {name: semantic, options: {keep: [gopher@datatrove.word_count desc]}, as: meaning}
variants: {distinct: [meaning], clean: [c4], repeats: [gopher_repetition]}
"""
    assert set(plain(text, "distinct").annotator_names) == {"gopher@datatrove", "meaning"}
    assert plain(text, "clean").annotator_names == ("c4@tfds",)


def test_what_is_read_by_what_comes_before_is_kept() -> None:
    text = """
annotators:
  - gopher@datatrove
  - c4@tfds
  - {name: semantic, options: {keep: [gopher@datatrove.word_count desc]}, as: meaning}
  - {name: paragraphs@ccnet, after: [meaning], as: paragraphs}
variants: {edited: [{edit: paragraphs}]}
"""
    assert set(plain(text, "edited").annotator_names) == {"gopher@datatrove", "meaning", "paragraphs"}


def test_what_dedup_reads_is_kept() -> None:
    text = """
annotators: [minhash, gopher@datatrove, c4@tfds]
dedup: {method: minhash, keep: [gopher@datatrove.word_count desc]}
variants: {clean: [c4]}
"""
    assert set(plain(text, "clean").annotator_names) == {"minhash@1", "gopher@datatrove", "c4@tfds"}
