"""Edits of a variant: joined with redactions, applied at curate, counted so that the books balance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quality_signals
from beam_runner import main
from pii import PLACEHOLDERS
from pipelines.annotators import factories
from pipelines.edited_text import differing, join_redactions, removed_characters
from pipelines.recipe import parse_recipe
from pipelines.recipe_errors import RecipeError
from quality_signals.edits import EDITS, Edit, apply_edits, as_edits, check_edits
from tests.toy_annotators import TOY_MODELS, TOYS


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_signals, "ANNOTATORS", {**quality_signals.ANNOTATORS, **TOYS})
    monkeypatch.setattr(quality_signals, "MODEL_ANNOTATORS", {**quality_signals.MODEL_ANNOTATORS, **TOY_MODELS})


def span(start: int, end: int, action: str = "placeholder") -> dict[str, Any]:
    return {"start": start, "end": end, "kind": "EMAIL", "confidence": 1.0, "action": action}


TEXT = "abc mail@x.org def"  # the address is [4, 14)
JOINED = {
    "apart": ([Edit(0, 3, "")], " <EMAIL> def", 1),
    "touching": ([Edit(0, 4, ""), Edit(14, 18, "")], "<EMAIL>", 1),
    "inside a deleted span": ([Edit(2, 15, "\n")], "ab\ndef", 0),
    "a span deleted exactly": ([Edit(4, 14, "")], "abc  def", 0),
    "cut on the left": ([Edit(0, 8, "")], "<EMAIL> def", 1),
    "cut on the right": ([Edit(10, 18, " ")], "abc <EMAIL> ", 1),
    "cut on both sides": ([Edit(0, 6, ""), Edit(12, 18, "")], "<EMAIL>", 1),
    "an edit inside": ([Edit(6, 8, " "), Edit(9, 9, "\n")], "abc <EMAIL> def", 1),
    "deleted by two": ([Edit(0, 9, ""), Edit(9, 18, "")], "", 0),
    "replaced by words": ([Edit(2, 16, "C MAIL@X.ORG D")], "ab<EMAIL>ef", 1),
    "replaced in part": ([Edit(10, 16, "word")], "abc <EMAIL>ef", 1),
}


@pytest.mark.parametrize("case", JOINED)
def test_a_redaction_and_an_edit_of_one_text(case: str) -> None:
    edits, left, kept = JOINED[case]
    joined, spans = join_redactions(edits, [span(4, 14)], PLACEHOLDERS)
    assert apply_edits(TEXT, joined) == left and len(spans) == kept


def test_a_span_that_is_kept_changes_nothing_and_goes_with_its_text() -> None:
    assert join_redactions([Edit(0, 3, "")], [span(4, 14, "keep")], PLACEHOLDERS) == (
        [Edit(0, 3, "")],
        [span(4, 14, "keep")],
    )
    assert join_redactions([Edit(0, 18, "")], [span(4, 14, "keep")], PLACEHOLDERS)[1] == []


@st.composite
def ranges(draw: st.DrawFn) -> list[tuple[int, int]]:
    places = sorted(draw(st.sets(st.integers(0, 30), max_size=10)))
    return list(zip(places[::2], places[1::2], strict=False))


def test_other_replacements_than_placeholders() -> None:
    spans = [{**span(4, 14, "reserved"), "replacement": "user-000000000000@example.com"}]
    joined, kept = join_redactions([Edit(0, 3, "")], spans, PLACEHOLDERS)
    assert [edit.replacement for edit in joined] == ["", "user-000000000000@example.com"] and len(kept) == 1
    assert join_redactions([Edit(0, 18, "")], spans, PLACEHOLDERS)[1] == []


@given(ranges(), ranges(), st.data())
def test_nothing_that_is_redacted_or_deleted_stays(
    edited: list[tuple[int, int]], redacted: list[tuple[int, int]], data: st.DataObject
) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(30))
    edits = [Edit(a, b, data.draw(st.sampled_from(["", "\n", "word"]))) for a, b in edited]
    joined, spans = join_redactions(edits, [span(a, b) for a, b in redacted], PLACEHOLDERS)
    check_edits(joined, len(text))
    left = apply_edits(text, joined)
    gone = {place for a, b in [*edited, *redacted] for place in range(a, b)}
    assert [c for c in left if c >= "\u4e00"] == [c for i, c in enumerate(text) if i not in gone]
    assert left.count("<EMAIL>") <= len(redacted) and len(spans) <= len(redacted)
    touched = {i for a, b in redacted for i in range(a, b)}
    for edit in edits:
        if edit.replacement == "word" and not touched & set(range(edit.start, edit.end)):
            assert edit in joined
    inside = [r for r in redacted if any(a <= r[0] and r[1] <= b and e.replacement.strip() == "" for (a, b), e in zip(edited, edits, strict=True))]  # fmt: skip # noqa: E501
    assert len(spans) == len(redacted) - len(inside)


def test_what_columns_of_edits_take_away() -> None:
    column = pa.array([None, [], [Edit(0, 4, "é")._asdict(), Edit(5, 5, "ab")._asdict()]], EDITS)
    assert removed_characters(column).tolist() == [0, 0, 1]
    other = pa.array([[], [Edit(0, 1, "")._asdict()], [Edit(0, 4, "e")._asdict(), Edit(5, 5, "ab")._asdict()]], EDITS)
    assert differing(column, other).tolist() == [False, True, True]
    assert differing(column, column).tolist() == [False] * 3


# -- in a recipe -------------------------------------------------------------------------------------------

MINIMAL = "name: m\nsources: {s: {kind: jsonl, input: a.jsonl}, t: {kind: jsonl, input: b.jsonl}}\n"
BOTH = "annotators: [length, drop_lines, shout+drop_lines, shout]\n"
STEPS = {
    "an edit that is none": ("[{edit: length}]", "length@toy edits nothing"),
    "an unknown edit": ("[{edit: dropp_lines}]", "did you mean 'drop_lines@toy'"),
    "side by side": ("[{edit: drop_lines}, {edit: shout@toy}]", "annotate it with after: [drop_lines@toy]"),
    "the second without the first": ("[{edit: shout@toy+drop_lines@toy}]", "put {edit: drop_lines@toy} before it"),
    "twice": ("[{edit: drop_lines}, {edit: drop_lines}]", "applied already"),
    "for other sources": (
        "[{edit: drop_lines}, {edit: shout@toy+drop_lines@toy, sources: s}]",
        "look at the same sources",
    ),
    "rule and edit": ("[{edit: drop_lines, rule: length}]", "either rule or column or edit"),
    "a range of an edit": ("[{edit: drop_lines, min: 3}]", "belong to a column"),
    "without a verdict": ("[shout@toy]", "no verdict of its own"),
    "mean of no lines": ("[{column: length/length, min: 1, of_lines: mean}]", "values by line"),
}


@pytest.mark.parametrize("case", STEPS)
def test_steps_that_do_not_fit_are_refused(case: str) -> None:
    steps, said = STEPS[case]
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"{MINIMAL}{BOTH}variants: {{v: {steps}}}\n", annotators=factories())
    assert said in str(caught.value)


def test_scope_edits_nothing() -> None:
    with pytest.raises(RecipeError, match="belong to variants"):
        parse_recipe(f"{MINIMAL}{BOTH}scope: [{{edit: drop_lines}}]\n", annotators=factories())


def test_editors_of_other_sources_need_not_follow_one_another() -> None:
    steps = "[{edit: drop_lines, sources: s}, {edit: shout@toy, sources: t}]"
    recipe = parse_recipe(f"{MINIMAL}{BOTH}variants: {{v: {steps}}}\n", annotators=factories())
    assert recipe.variants["v"].describe() == ["edit drop_lines@toy", "edit shout@toy"]


# -- in a run ----------------------------------------------------------------------------------------------

TEXTS = {
    "a": "one cat\ndrop this\nlast",
    "b": "drop\n",
    "c": "a cat and a cat",
    "d": "drop me@firm.org now\nwrite to you@firm.org or the cat",
    "e": "x",
    "f": "no word to change here",
}
RECIPE = """\
name: r
output: {folder}/out
sources: {{s: {{kind: jsonl, input: {folder}/pages.jsonl}}, t: {{kind: jsonl, input: {folder}/more.jsonl}}}}
annotators: [drop_lines, shout+drop_lines, length+shout@toy+drop_lines@toy, pii]
pii: {{policy: default}}
held_out: {{fraction: 0.3, seed: 1}}
max_error_rate: 1.0
variants:
  plain: []
  edited:
    - {{edit: drop_lines}}
    - {{edit: shout@toy+drop_lines@toy}}
    - length
  some: [{{edit: drop_lines, sources: t}}]
  null_edited: {{random_like: edited}}
"""


def write_recipe(folder: Path, more: str = "") -> Path:
    def jsonl(name: str, texts: dict[str, str]) -> None:
        lines = "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in texts.items())
        (folder / name).write_text(lines)

    jsonl("pages.jsonl", {f"{i}{n}": t for n in range(4) for i, t in TEXTS.items()})
    jsonl("more.jsonl", {"t": "drop\nkeep"})
    (folder / "r.yaml").write_text(RECIPE.format(folder=folder) + more)
    return folder / "r.yaml"


def corpus(folder: Path, variant: str, split: str = "train") -> dict[str, dict[str, Any]]:
    rows = pq.read_table(sorted((folder / "out/corpora" / variant / "data").glob(f"{split}-*.parquet"))).to_pylist()
    return {row["doc_id"]: row for row in rows}


def test_a_variant_applies_edits_and_its_books_balance(tmp_path: Path) -> None:
    assert main(["run", str(write_recipe(tmp_path)), "--data-only"]) == 0
    edited, plain = corpus(tmp_path, "edited"), corpus(tmp_path, "plain")
    texts = {identity[0]: row["text"] for identity, row in edited.items()}
    assert texts["a"] == "one CAT!\nlast" and texts["c"] == "a CAT! and a CAT!" and texts["f"] == TEXTS["f"]
    assert texts["d"] == "write to <EMAIL> or the CAT!"
    assert set(texts) == {"a", "c", "d", "f", "t"} - ({"t"} - set(texts))
    (spans,) = {json.dumps(row["pii"]) for i, row in edited.items() if i[0] == "d"}
    assert [(s["start"], s["end"]) for s in json.loads(spans)] == [(30, 42)], "in the text as it was extracted"
    assert {row["text"] for i, row in plain.items() if i[0] == "d"} == {"drop <EMAIL> now\nwrite to <EMAIL> or the cat"}
    held = corpus(tmp_path, "plain", "held_out")
    assert held == corpus(tmp_path, "edited", "held_out") and any("cat" in row["text"] for row in held.values())
    assert {i: row["text"] for i, row in corpus(tmp_path, "some").items() if i != "t"} == {
        i: row["text"] for i, row in plain.items() if i != "t"
    }, "edits of one source leave the others alone"

    manifest = json.loads((tmp_path / "out/corpora/edited/manifest.json").read_text())
    books, summary = manifest["books"], manifest["summary"]
    assert books["read"] == books["kept"] + sum(books["dropped"].values()) == 25
    trained = {i: row["text"] for i, row in plain.items() if i != "t"}
    assert books["dropped"] == {
        "drop_lines@toy/empty": sum(i[0] == "b" for i in trained),
        "length@toy+shout@toy+drop_lines@toy/short": sum(i[0] == "e" for i in trained),
    }
    steps = {step["step"]: step for step in summary["edits"]}
    first = steps["drop_lines@toy/edits"]
    assert first["documents"] == sum(i[0] in "abd" for i in plain if i != "t") + ("t" in plain)
    second = steps["shout@toy+drop_lines@toy/edits"]
    cats = {"a": 1, "c": 2, "d": 1}
    assert second["documents"] == sum(i[0] in cats for i in trained)
    assert second["removed_characters"] == -sum(cats.get(i[0], 0) for i in trained)
    rules = {step["rule"]: step for step in summary["waterfall"]}
    assert summary["eligible"]["text_bytes"] == summary["train"]["text_bytes"] + sum(
        step["text_bytes"] for step in rules.values()
    )
    assert main(["validate", str(tmp_path / "out")]) == 0


def test_an_edit_that_changes_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path)
    text = recipe.read_text().replace(
        "annotators: [", "annotators: [{name: drop_lines, options: {word: zzz}, as: zz}, "
    )
    recipe.write_text(text[: text.index("variants:")] + "variants: {v: [{edit: zz}]}\n")
    assert main(["run", str(recipe), "--data-only"]) == 1
    said = capsys.readouterr().err
    assert "changed none of" in said and "{edit: zz, allow_empty: true}" in said
    recipe.write_text(recipe.read_text().replace("{edit: zz}", "{edit: zz, allow_empty: true}"))
    assert main(["run", str(recipe), "--data-only"]) == 0


def test_edits_are_read_from_dicts() -> None:
    assert as_edits([{"start": 0, "end": 1, "replacement": "", "rule": "r"}]) == [Edit(0, 1, "", "r")]
