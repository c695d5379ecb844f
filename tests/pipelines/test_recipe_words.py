"""Mistakes in what a recipe says of sources, shapes, samples and languages: found before any work, with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_runner import main
from pipelines.annotators import factories
from pipelines.recipe import Recipe, parse_recipe
from pipelines.recipe_errors import Problem, RecipeError
from pipelines.recipe_models import GROUPINGS
from pipelines.recipe_words import KINDS, kinds_of, words_of
from pipelines.shapes import SHAPES
from quality_signals.ccnet import CUTOFFS, CcNet
from quality_signals.language import identify, known_languages

RECIPE = """\
name: m
sources:
  web: {kind: commoncrawl, input: warc.paths, options: {host_files: true}}
  code: {kind: code, input: src, options: {notebook: json}}
  wiki: {kind: wikipedia, input: dump.xml, options: {namespaces: ["0"], tables: text}}
annotators: [language, license]
variants:
  all:
    steps:
      - {column: language/language, any_of: [en]}
      - {column: license/license_class, any_of: [permissive]}
    shape: {code: starcoder2_repository, wiki: starcoder2_documentation}
    pack:
      length: 128
      fim: {rate: 0.5, level: file_sep, file_rate: 0.5, sources: [repository]}
      weights: {wiki: 2, '*': 1}
"""


def checked(text: str) -> Recipe:
    return parse_recipe(text, "r.yaml", annotators=factories())


def test_the_recipe_of_the_cases_is_right() -> None:
    checked(RECIPE)


# Each case: what is replaced, by what; then line, column, key path, words of the message, near name.
CASES = {
    "option of no kind": ("host_files:", "host_file:", (3, 57, "sources.web.options.host_file", "unknown option of kind"
                          " commoncrawl", "host_files")),
    "option of another kind": ("host_files:", "notebook:", (3, 57, "sources.web.options.notebook", "unknown option",
                               None)),
    "option of another type": ("host_files: true", "host_files: 3", (3, 69, "sources.web.options.host_files",
                               "3 is no true or false", None)),
    "text for a list": ('["0"]', "7", (5, 66, "sources.wiki.options.namespaces", "7 is no list of strings", None)),
    "word of an option": ("tables: text", "tables: txt", (5, 81, "sources.wiki.options.tables", "allowed words",
                          "text")),
    "language": ("[en]", "[klingon]", (10, 46, "variants.all.steps[0].any_of[0]",
                 "language@1/language is never that", None)),
    "licence class": ("[permissive]", "[permisive]", (11, 50, "variants.all.steps[1].any_of[0]", "is never that",
                      "permissive")),
    "source of a shape": ("{code: star", "{codde: star", (12, 5, "variants.all.shape.by.codde",
                          "no source and no kind", "code")),
    "shape": ("starcoder2_repository", "starcoder2_repo", (12, 12, "variants.all.shape.by.code", "unknown shape",
              "starcoder2_repository@1")),
    "source of fill-in-the-middle": ("[repository]", "[repositry]", (15, 67, "variants.all.pack.fim.sources[0]",
                                     "no source and no kind", "repository")),
    "rate of files without files": ("level: file_sep, ", "", (15, 24, "variants.all.pack.fim.file_rate",
                                    "belongs to level: file_sep", None)),
    "source of a weight": ("{wiki: 2", "{wikki: 2", (16, 17, "variants.all.pack.weights.wikki", "no source and no kind",
                           "wiki")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_has_its_place(name: str) -> None:
    old, new, (line, column, path, words, near) = CASES[name]
    assert RECIPE.count(old) == 1
    with pytest.raises(RecipeError) as caught:
        checked(RECIPE.replace(old, new))
    (found,) = caught.value.problems
    assert isinstance(found, Problem) and words in found.message
    assert (found.mark.file, found.mark.line, found.path) == ("r.yaml", line, path)
    assert found.mark.column == column and found.suggestion == near
    assert "\n" not in str(caught.value)


def test_rows_that_say_their_kind_themselves_may_say_any() -> None:
    given = RECIPE.replace("{kind: code, input: src, options: {notebook: json}}", "{kind: jsonl, input: a.jsonl}")
    checked(given.replace("{wiki: 2", "{letters: 2"))


def test_a_kind_that_the_recipe_gives_is_known() -> None:
    given = RECIPE.replace("input: src, ", "input: src, document_kind: snippet, ")
    checked(given.replace("{wiki: 2", "{snippet: 2"))
    with pytest.raises(RecipeError, match="did you mean 'snippet'"):
        checked(given.replace("{wiki: 2", "{snipet: 2"))


def test_the_kinds_of_shapes_are_known() -> None:
    made = {kind for shape in SHAPES.values() if isinstance(kind := getattr(shape, "kind", None), str)}
    assert made == {"documentation"} and made <= set(KINDS)
    assert set(kinds_of(checked(RECIPE).sources.values()) or ()) == set(KINDS)
    assert {"warc", "code", "gharchive"} <= GROUPINGS.keys()


def test_known_languages_are_those_of_the_model() -> None:
    known = known_languages()
    # https://fasttext.cc/docs/en/language-identification.html: 176 languages.
    assert len(known) == 176
    assert {identify("This is a plain English sentence.")[0], *CUTOFFS} <= known
    assert words_of("ccnet@1", "language") == words_of("language@1", "language") == sorted(known)
    assert words_of("code@1", "programming_language") is None


def test_a_model_of_a_language_that_is_never_found_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'klingon' is no language that is identified"):
        CcNet(model={"klingon": str(tmp_path / "missing.zip")})
    with pytest.raises(ValueError, match="'xx' is no language"):
        CcNet(limits={"xx": (1.0, 2.0)})
    CcNet(limits={"en": (1.0, 2.0)})
    CcNet(limits={"xx": (1.0, 2.0)}, identify=False)


FILES = """\
name: m
sources: {{s: {{kind: code, input: src{source}}}}}
variants: {{all: {{steps: []{last}}}}}
{top}
"""


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"source": ", locators: none.jsonl"}, "sources.s.locators: none.jsonl: no such file"),
        ({"source": ", exclude: none.txt"}, "sources.s.exclude: none.txt: cannot be read"),
        ({"top": "opt_out: none.csv"}, "opt_out: none.csv: no such file"),
        ({"last": ", pack: {length: 9, tokenizer: none.json}"}, "variants.all.pack.tokenizer: none.json: no such file"),
        ({"last": ", pack: {length: 9, tokenizer: src/a.py}"}, "variants.all.pack: tokenizer src/a.py: "),
        ({"top": "", "source": "h"}, "source s: nothing matches srch"),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_file_that_is_missing_is_said_before_any_work(
    verb: str,
    keys: dict[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text("x = 1\n")
    (tmp_path / "r.yaml").write_text(FILES.format(**{"source": "", "last": "", "top": "", **keys}))
    assert main([verb, "r.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"gristmill: r.yaml: {said}") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "option"), [("swh", "contents"), ("gharchive", "clones")])
def test_folders_that_options_name_must_be_there(
    kind: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(f"name: m\nsources: {{s: {{kind: {kind}, input: x, options: {{{option}: y}}}}}}\n")
    assert main(["run", "r.yaml"]) == 2
    assert capsys.readouterr().err == f"gristmill: r.yaml: sources.s.options.{option}: y: no such folder\n"
