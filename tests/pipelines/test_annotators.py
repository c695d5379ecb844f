"""Annotators with options, models, other names and edits before them: what a recipe says, and what a run gives."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quality_signals
from beam_runner import main
from pipelines.annotators import (
    After,
    EditableTexts,
    build_annotators,
    content_hash,
    described,
    factories,
    option_types,
    read_options,
    type_words,
)
from pipelines.recipe import parse_recipe
from pipelines.recipe_errors import Problem, RecipeError
from quality_signals.batches import batch_of
from quality_signals.edits import apply_edits
from quality_signals.model_files import write_model
from tests.toy_annotators import CALLS, TOY_MODELS, TOYS, DropLines, Length, Shout

MINIMAL = "name: m\nsources: {s: {kind: jsonl, input: a.jsonl}}\n"


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_signals, "ANNOTATORS", {**quality_signals.ANNOTATORS, **TOYS})
    monkeypatch.setattr(quality_signals, "MODEL_ANNOTATORS", {**quality_signals.MODEL_ANNOTATORS, **TOY_MODELS})


def problems(annotators: str, more: str = "") -> list[Problem]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"{MINIMAL}annotators: {annotators}\n{more}", "r.yaml", annotators=factories())
    return caught.value.problems


def listed(annotators: str, more: str = "") -> Any:
    return parse_recipe(f"{MINIMAL}annotators: {annotators}\n{more}", "r.yaml", annotators=factories())


# -- what a recipe may say ---------------------------------------------------------------------------------


def test_an_annotator_under_its_own_name_and_under_another() -> None:
    recipe = listed(
        "[length, {name: drop_lines, options: {kinds: [web, prose]}}, "
        "{name: length@toy, options: {least: 9}, as: long_text}]"
    )
    assert recipe.annotator_names == ("length@toy", "drop_lines@toy", "long_text")
    built = build_annotators(recipe.annotators)
    assert list(built) == list(recipe.annotator_names)
    assert [annotator.name for annotator in built.values()] == list(built)
    texts = batch_of(["four", "nine char"])
    assert built["length@toy"].annotate(texts)["keep"].to_pylist() == [True, True]
    assert built["long_text"].annotate(texts)["keep"].to_pylist() == [False, True]
    assert pickle.loads(pickle.dumps(built["long_text"])) == built["long_text"]
    assert recipe.resolved()["annotators"][0] == "length@toy"
    assert parse_recipe(recipe.resolved_yaml(), annotators=factories()).annotators == recipe.annotators


def test_a_default_that_is_spelt_out_changes_no_name() -> None:
    assert listed("[{name: length, options: {least: 3}}]").annotator_names == ("length@toy",)


WRONG = {
    "unknown option": ("[{name: length, options: {lest: 9}}]", "annotators[0].options.lest", "unknown option", "least"),
    "wrong type": (
        "[{name: length, options: {least: nine}}]", "annotators[0].options.least", "allowed: a whole number", None,
    ),
    "a list of wrong things": (
        "[{name: drop_lines, options: {kinds: [1]}}]", "annotators[0].options.kinds", "a list, each a string", None,
    ),
    "a word of several": (
        "[{name: drop_lines, options: {mode: silent}}]", "annotators[0].options.mode", "allowed: loud, quiet", None,
    ),
    "another annotator under its name": (
        "[{name: length, options: {least: 9}}]", "annotators[0].options", "as: my_length", None,
    ),
    "an alias that is taken": (
        "[{name: length, options: {least: 9}, as: rpv2@1}]", "annotators[0].as", "another annotator's name", None,
    ),
    "an alias like a step": (
        "[{name: length, options: {least: 9}, as: dedup}]", "annotators[0].as", "another annotator's name", None,
    ),
    "an alias with a space": ("[{name: length, as: my length}]", "annotators[0].as", "a name has only", None),
    "unknown key": ("[{name: length, option: {}}]", "annotators[0].option", "unknown key", "options"),
    "unknown annotator": ("[{name: lenght}]", "annotators[0].name", "unknown annotator", "length@toy"),
    "twice": ("[length, {name: length@toy}]", "annotators[1]", "length@toy is listed twice", None),
    "a model for none": ("[{name: length, model: x.zip}]", "annotators[0].model", "runs no model", None),
    "no model": ("[weight]", "annotators[0]", "give its file as `model`", None),
    "no such model": ("[{name: weight, model: no.zip}]", "annotators[0].model", "no.zip", None),
    "unknown editor": ("[{name: length, after: drop_line}]", "annotators[0].after", "unknown annotator", "drop_lines"),
    "an editor that is not listed": (
        "[{name: length, after: shout}]", "annotators[0].after", "needs the annotator shout@toy", None,
    ),
    "what does not edit": (
        "[length, {name: shout, after: length}]", "annotators[1].after", "length@toy edits nothing", None,
    ),
    "editors side by side": (
        "[shout, drop_lines, {name: length, after: [shout, drop_lines]}]", "annotators[2].after",
        "edits the text after no other", None,
    ),
    "editors in a ring": (
        "[{name: shout, after: drop_lines}, {name: drop_lines, after: shout}]", "annotators[0].after",
        "wait for one another", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_place(case: str) -> None:
    text, path, said, suggestion = WRONG[case]
    found = problems(text)
    problem = next((each for each in found if each.path == path), None)
    assert problem is not None, found
    assert said in str(problem) and problem.mark.line == 3
    if suggestion is not None:
        assert str(problem.suggestion).startswith(suggestion)


def test_a_model_gives_its_hash_to_the_name(tmp_path: Path) -> None:
    path = tmp_path / "w.zip"
    model = write_model(path, "toy", {"number": 2}, {})
    steps = {"heavy": "weight/weight", "named": f"weight@{model.name}/weight"}
    variants = "".join(f"  {name}: [{{column: {column}, min: 1}}]\n" for name, column in steps.items())
    recipe = listed(f"[{{name: weight, model: {path}}}]", f"variants:\n{variants}")
    (name,) = recipe.annotator_names
    assert name == f"weight@{model.name}"
    assert {step.column for v in recipe.variants.values() for step in v.steps} == {f"{name}/weight"}
    (built,) = build_annotators(recipe.annotators).values()
    assert built.name == name and built.annotate(batch_of(["x"]))["weight"].to_pylist() == [2.0]
    told = described(recipe.specs, name)
    assert told == {"annotator": "weight", "model": model.sha256} and str(tmp_path) not in json.dumps(told)
    again = parse_recipe(recipe.resolved_yaml(), annotators=factories())
    assert again.annotator_names == (name,)
    write_model(path, "toy", {"number": 3}, {})
    with pytest.raises(RecipeError, match=f"not the {name} that is asked for"):
        parse_recipe(recipe.resolved_yaml(), annotators=factories())
    path.write_bytes(path.read_bytes()[:40])
    assert str(path) in str(problems(f"[{{name: weight, model: {path}}}]")[0])
    write_model(path, "other", {}, {})
    assert "of kind 'other'" in str(problems(f"[{{name: weight, model: {path}}}]")[0])


def test_places_are_told_by_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "list").write_text("a\n")
    assert content_hash(str(tmp_path / "one")) == content_hash(str(tmp_path / "two"))
    (tmp_path / "two" / "list").write_text("b\n")
    assert content_hash(str(tmp_path / "one")) != content_hash(str(tmp_path / "two"))


def test_options_are_the_fields_that_are_the_users() -> None:
    assert list(option_types(TOYS["drop_lines@toy"])) == ["word", "max_lines", "kinds", "mode"]
    assert list(option_types(TOY_MODELS["weight"])) == ["factor"]
    values, found = read_options(TOYS["drop_lines@toy"], {"kinds": ["web"], "max_lines": None})
    assert values == {"kinds": ("web",), "max_lines": None} and not found
    assert type_words(int | None) == "a whole number or null" and type_words(dict[str, str]) == "a mapping"
    for name, factory in factories().items():
        for hint in option_types(factory).values():
            assert "typing" not in type_words(hint), name


# -- after edits -------------------------------------------------------------------------------------------


def test_a_family_sees_the_text_after_the_edits() -> None:
    recipe = listed("[{name: length, after: drop_lines}, drop_lines]")
    assert recipe.annotator_names == ("drop_lines@toy", "length@toy+drop_lines@toy")
    assert listed("[drop_lines, length+drop_lines]").annotators == recipe.annotators
    built = build_annotators(recipe.annotators)
    family = built["length@toy+drop_lines@toy"]
    texts = ["keep\ndrop me\nend", "drop", "x"]
    assert family.annotate(batch_of(texts))["length"].to_pylist() == [8, 0, 1]
    assert pickle.loads(pickle.dumps(family)) == family
    assert described(recipe.specs, family.name) == {"annotator": "length@toy", "after": {"annotator": "drop_lines@toy"}}


def test_edits_after_edits_lead_from_the_extracted_text() -> None:
    recipe = listed("[shout, drop_lines+shout, {name: length, after: [shout, drop_lines]}]")
    assert recipe.annotator_names[-1] == "length@toy+drop_lines@toy+shout@toy"
    built = build_annotators(recipe.annotators)
    text = "a cat\ndrop the cat\ncat"
    (edits,) = built["drop_lines@toy+shout@toy"].annotate(batch_of([text]))["edits"].to_pylist()
    assert apply_edits(text, edits) == "a CAT!\nCAT!"
    assert built["length@toy+drop_lines@toy+shout@toy"].annotate(batch_of([text]))["length"].to_pylist() == [11]
    assert parse_recipe(recipe.resolved_yaml(), annotators=factories()).annotators == recipe.annotators


def test_an_editor_runs_once_for_all_that_see_its_edits() -> None:
    editor = DropLines()
    after = [After(Length(), editor, "a"), After(Shout(), editor, "b")]
    shared = EditableTexts(batch_of(["one\ndrop\ntwo"]))
    CALLS.clear()
    for each in after:
        each.annotate_texts(shared)
    assert CALLS["drop_lines@toy"] == 1
    untouched = EditableTexts(batch_of(["one"]))
    assert untouched.after(editor)[1] is untouched, "views are shared where nothing is edited"


# -- as a run ----------------------------------------------------------------------------------------------


def rows(output: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(sorted((output / "annotations" / name).glob("part-*.parquet"))).to_pylist()


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    path = tmp_path / "pages.jsonl"
    texts = ["keep\ndrop me\nend", "drop", "fail", "nothing\nhere"]
    path.write_text("".join(json.dumps({"id": f"p{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    return path


def test_the_annotate_verb_with_options_models_and_edits(pages: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "w.zip", "toy", {"number": 2}, {})
    output = tmp_path / "out"
    call = ["annotate", str(pages), "--annotator", "length+drop_lines", "--annotator", "short=length",
            "--option", "short.least=1", "--annotator", "weight", "--model", f"weight={tmp_path}/w.zip",
            "--option", "weight.factor=0.5", "--annotator", "rpv2", "--output", str(output)]  # fmt: skip
    assert main(call) == 0
    assert {folder.name for folder in (output / "annotations").iterdir()} == {
        "drop_lines@toy", "length@toy+drop_lines@toy", "short", f"weight@{model.name}", "rpv2@1",
    }  # fmt: skip
    lengths = [row["length"] for row in rows(output, "length@toy+drop_lines@toy")]
    assert lengths == [8, 0, None, 12], "where the editor fails, so does what sees its edits"
    assert [row["weight"] for row in rows(output, f"weight@{model.name}")] == [1.0] * 4
    failed = pq.read_table(sorted((output / "rejected").glob("*.parquet"))).to_pylist()
    assert {(row["id"], row["stage"]) for row in failed} == {
        ("p2", "annotate/drop_lines@toy"), ("p2", "annotate/length@toy+drop_lines@toy"),
    }  # fmt: skip
    manifest = json.loads((output / f"annotations/weight@{model.name}/_manifest.json").read_text())
    assert manifest["inputs"]["model"] == model.sha256
    assert manifest["options"] == {"annotator": "weight", "model": model.sha256, "options": {"factor": 0.5}}
    assert str(tmp_path) not in json.dumps(manifest)
    assert main(["validate", str(output)]) == 0


def test_a_finished_editor_is_read_and_not_run_again(pages: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main(["annotate", str(pages), "--annotator", "drop_lines", "--output", str(output)]) == 0
    CALLS.clear()
    assert main(["annotate", str(pages), "--annotator", "length+drop_lines", "--output", str(output)]) == 0
    assert [row["length"] for row in rows(output, "length@toy+drop_lines@toy")][:2] == [8, 0]
    assert CALLS["drop_lines@toy"] == 0


WRONG_CALLS = {
    "unknown option": (["--annotator", "length", "--option", "length.lest=1"], "did you mean 'least'"),
    "wrong type": (["--annotator", "length", "--option", "length.least=x"], "a whole number"),
    "option of no annotator": (["--annotator", "length", "--option", "lenght.least=1"], "did you mean 'length'"),
    "no option": (["--annotator", "length", "--option", "least=1"], "NAME.KEY=VALUE"),
    "bad value": (["--annotator", "length", "--option", "length.least=[1"], "not valid YAML"),
    "no model": (["--annotator", "weight"], "give its file as `model`"),
    "model of no annotator": (["--annotator", "length", "--model", "weight=w.zip"], "belongs to no annotator"),
    "missing model": (["--annotator", "weight", "--model", "weight=no.zip"], "no.zip: no toy model there"),
    "no model at all": (["--annotator", "weight", "--model", "weight=pages.jsonl"], "pages.jsonl: not a model file"),
    "twice": (["--annotator", "length", "--annotator", "length"], "is given twice"),
    "another under its name": (["--annotator", "length", "--option", "length.least=1"], "as: my_length"),
    "unknown editor": (["--annotator", "length+dropp_lines"], "drop_lines@toy"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_a_wrong_call_does_no_work(
    case: str, pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, said = WRONG_CALLS[case]
    assert main(["annotate", str(pages), *words, "--output", "out"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_in_a_notebook(tmp_path: Path) -> None:
    assert quality_signals.annotate("length@toy", "four", least=5)["reason"] == "too_short"
    assert quality_signals.annotate("rpv2@1", "Some text.", language="en")["rps_doc_word_count"][0]["score"] == 2.0
    write_model(tmp_path / "w.zip", "toy", {"number": 2}, {})
    assert quality_signals.annotate("weight", "x", model=str(tmp_path / "w.zip")) == {"weight": 2.0}
    with pytest.raises(TypeError, match="give its file as model="):
        quality_signals.annotate("weight", "x")
    found = quality_signals.annotate("drop_lines@toy", pa.RecordBatch.from_pydict({"text": ["drop"]}), word="x")
    assert found.num_rows == 1
