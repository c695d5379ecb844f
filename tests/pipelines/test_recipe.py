"""Recipes: what is read; every mistake is answered with its place, what is allowed and the near name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import licenses
from eval_models.proxies import PROXIES
from pipelines import annotate, recipe_models
from pipelines.errors import UsageError
from pipelines.readers import KINDS
from pipelines.recipe import (
    STANDARD_ANNOTATORS,
    STANDARD_PROXIES,
    Recipe,
    load_recipe,
    parse_recipe,
    recipe_of,
    recipe_schema,
)
from pipelines.recipe_errors import Problem, RecipeError, dotted, nearest
from pipelines.recipe_models import parse_bytes

QUICKSTART = """\
name: quickstart
output: out/quickstart
engine: {kind: local, workers: 2}
sources:
  web:  {kind: html, input: samples/web/*, exclude: [vendor/*], locators: samples/web-urls.jsonl}
  code: {kind: code, input: [samples/code/*, more/*]}
annotators: [language, rpv2, gopher@datatrove, gopher_repetition@datatrove, code_stats, pii, license, minhash]
dedup: {method: minhash, threshold: 0.8, keep: longest}
pii: {policy: default}
opt_out: recipes/opt-out.yaml
variants:
  baseline: []
  gopher:   [gopher]
  dedup:    [dedup, {column: rpv2/rps_doc_word_count, min: 50, max: 1e5}]
  full:     [gopher@datatrove, dedup, license, {rule: gopher_repetition, allow_empty: true}, code_stats]
  null_gopher: {random_like: gopher}
study: {baseline: baseline, proxies: [mamba-tiny, starcoder-tiny], seeds: 3, budget_bytes: 2MB, held_out: 0.06}
"""

MINIMAL = "name: m\nsources: {s: {kind: jsonl, input: a.jsonl}}\n"


def problems(text: str, *overrides: str) -> list[Problem]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.yaml", overrides)
    return caught.value.problems


def test_the_quickstart_in_full() -> None:
    recipe = parse_recipe(QUICKSTART)
    assert recipe.annotator_names == STANDARD_ANNOTATORS[:5] + ("pii@1", "license@1", "minhash@1")
    assert recipe.sources["web"].input == ("samples/web/*",)
    assert recipe.sources["code"].input == ("samples/code/*", "more/*")
    assert recipe.opt_out == ("recipes/opt-out.yaml",)
    assert [step.rule for step in recipe.variants["full"].steps] == [
        "gopher@datatrove",
        "dedup",
        "license",
        "gopher_repetition@datatrove",
        "code_stats@1",
    ]
    assert recipe.variants["full"].allow_empty == {"gopher_repetition@datatrove"}
    assert recipe.variants["dedup"].steps[1].column == "rpv2@1/rps_doc_word_count"
    assert recipe.variants["dedup"].describe() == ["dedup", "50 <= rpv2@1/rps_doc_word_count <= 100000"]
    assert recipe.variants["null_gopher"].random_like == "gopher"
    assert recipe.study is not None and recipe.study.budget_bytes == 2_000_000
    assert recipe.held_out.fraction == 0.06 and recipe.study.held_out is None
    assert recipe.held_out_grouping("web") == "host" and recipe.held_out_grouping("code") == "repo"


def test_defaults() -> None:
    recipe = parse_recipe(MINIMAL)
    assert recipe.output == "out/m"
    assert recipe.engine == recipe_models.LocalEngine(workers=1)
    assert recipe.error_rate("ingest") == recipe.error_rate("annotate/rpv2@1") == 0.01
    assert recipe.held_out_grouping("s") == "document"
    assert recipe.pii_policy() is None and recipe.dedup is None and recipe.study is None


def test_error_rates_for_all_and_by_stage() -> None:
    assert parse_recipe(MINIMAL + "max_error_rate: 0.5\n").error_rate("curate/x") == 0.5
    recipe = parse_recipe(MINIMAL + "max_error_rate: {ingest: 0.5}\n")
    assert (recipe.error_rate("ingest"), recipe.error_rate("dedup")) == (0.5, 0.01)
    with pytest.raises(ValueError, match="stage 'foo' is unknown"):
        recipe.error_rate("foo")


def test_held_out_groupings() -> None:
    for_all = parse_recipe(MINIMAL + "held_out: {by: cluster}\n")
    assert for_all.held_out_grouping("s") == "cluster"
    named = parse_recipe(MINIMAL + "held_out: {by: {s: directory, '*': host}}\n")
    assert named.held_out_grouping("s") == "directory"


# Each case: what of the quickstart is replaced, by what; then line, column, key path, words, near name.
CASES = {
    "unknown top key": ("annotators:", "anotators:", (7, 1, "anotators", "unknown key", "annotators")),
    "unknown key in a block": (
        "threshold:",
        "treshold:",
        (8, 26, "dedup.treshold", "unknown key", "threshold"),
    ),
    "unknown key in a source": (
        "locators:",
        "locator:",
        (5, 65, "sources.web.locator", "unknown key", "locators"),
    ),
    "unknown key of an engine": (
        "workers: 2}",
        "wrokers: 2}",
        (3, 23, "engine.wrokers", "unknown key", "workers"),
    ),
    "unknown key of a step": (
        "allow_empty: true",
        "alow_empty: true",
        (15, 74, "variants.full[3].alow_empty", "unknown key", "allow_empty"),
    ),
    "unknown source kind": ("kind: html", "kind: htlm", (5, 16, "sources.web.kind", "allowed words", "html")),
    "unknown engine": ("kind: local", "kind: lokal", (3, 16, "engine.kind", "unknown engine", "local")),
    "unknown annotator": (
        "gopher_repetition@datatrove,",
        "gopher_repetition@datatrov,",
        (7, 48, "annotators[3]", "unknown annotator", "gopher_repetition@datatrove"),
    ),
    "annotator listed twice": ("[language, rpv2,", "[rpv2, rpv2@1,", (7, 20, "annotators[1]", "twice", None)),
    "unknown rule": (
        "dedup, license,",
        "dedup, licence,",
        (15, 39, "variants.full[2]", "unknown rule", "license"),
    ),
    "a measure is no rule": (
        "full:     [",
        "full:     [rpv2, ",
        (15, 14, "variants.full[0]", "no verdict", None),
    ),
    "minhash is no rule": (
        "gopher:   [",
        "gopher:   [minhash, ",
        (13, 14, "variants.gopher[0]", "rule dedup", None),
    ),
    "annotator not listed": (
        "rpv2, gopher@datatrove,",
        "rpv2,",
        (13, 14, "variants.gopher[0]", "needs the annotator gopher@datatrove", None),
    ),
    "dedup without its block": (
        "dedup: {method: minhash, threshold: 0.8, keep: longest}",
        "",
        (14, 14, "variants.dedup[0]", "needs a dedup block", None),
    ),
    "opt_out as a step": (
        "dedup, license, {",
        "dedup, opt_out, {",
        (15, 39, "variants.full[2]", "opt_out is no step", None),
    ),
    "dedup without minhash": (", minhash]", "]", (8, 1, "dedup", "needs the annotator minhash@1", None)),
    "pii without its annotator": (
        "pii, license",
        "license",
        (9, 1, "pii", "needs the annotator pii@1", None),
    ),
    "rule and column": (
        "{rule: gopher_repetition,",
        "{rule: gopher_repetition, column: a/b,",
        (15, 48, "variants.full[3]", "either rule or column", None),
    ),
    "column without annotator": (
        "rpv2/rps_doc_word_count",
        "rps_doc_word_count",
        (14, 30, "variants.dedup[1].column", "ANNOTATOR/COLUMN", None),
    ),
    "column without bounds": (
        ", min: 50, max: 1e5",
        "",
        (14, 21, "variants.dedup[1]", "needs min, max or both for a number, any_of for words", None),
    ),
    "empty range": ("min: 50", "min: 1e6", (14, 21, "variants.dedup[1]", "nothing passes", None)),
    "bounds of a rule": (
        "{rule: gopher_repetition,",
        "{rule: gopher_repetition, min: 1,",
        (15, 48, "variants.full[3]", "belong to a column", None),
    ),
    "null of an unknown variant": (
        "random_like: gopher",
        "random_like: gofer",
        (16, 30, "variants.null_gopher.random_like", "unknown variant", "gopher"),
    ),
    "null of itself": (
        "random_like: gopher",
        "random_like: null_gopher",
        (16, 30, "variants.null_gopher.random_like", "not random itself", None),
    ),
    "null with steps": (
        "{random_like: gopher}",
        "{random_like: gopher, steps: [dedup]}",
        (16, 30, "variants.null_gopher.random_like", "not both", None),
    ),
    "unknown baseline": (
        "{baseline: baseline",
        "{baseline: baselin",
        (17, 19, "study.baseline", "unknown variant", "baseline"),
    ),
    "random baseline": (
        "{baseline: baseline",
        "{baseline: null_gopher",
        (17, 19, "study.baseline", "must not be a random_like", None),
    ),
    "unknown proxy": (
        "starcoder-tiny]",
        "starcoder-tny]",
        (17, 51, "study.proxies[1]", "unknown proxy", "starcoder-tiny"),
    ),
    "held_out given twice": (
        "opt_out: rec",
        "held_out: 0.1\nopt_out: rec",
        (18, 97, "study.held_out", "given twice", None),
    ),
    "a name with capitals": ("name: quickstart", "name: Quick Start", (1, 7, "name", "a-z, 0-9", None)),
    "a variant's name": ("  gopher: ", "  Gopher!: ", (13, 3, "variants.Gopher!", "a-z, 0-9", None)),
    "number as text": ("threshold: 0.8", "threshold: '0.8'", (8, 37, "dedup.threshold", "a number", None)),
    "out of range": (
        "threshold: 0.8",
        "threshold: 1.5",
        (8, 37, "dedup.threshold", "less than or equal to 1", None),
    ),
    "broken count": ("seeds: 3", "seeds: 2.5", (17, 75, "study.seeds", "a whole number", None)),
    "no size": ("2MB", "2 QB", (17, 92, "study.budget_bytes", "not a size in bytes", None)),
    "half a byte": ("2MB", "1.5 B", (17, 92, "study.budget_bytes", "whole number of bytes", None)),
    "missing key": ("baseline: baseline, ", "", (17, 1, "study.baseline", "must be given", None)),
    "missing kind": ("kind: html, ", "", (5, 3, "sources.web.kind", "must be given", None)),
    "a list for a mapping": (
        "{policy: default}",
        "[default]",
        (9, 6, "pii", "expected a mapping", None),
    ),
    "a scalar for a step": (
        "gopher:   [gopher]",
        "gopher:   [7]",
        (13, 14, "variants.gopher[0]", "a rule's name", None),
    ),
    "a scalar for a variant": (
        "gopher:   [gopher]",
        "gopher: x",
        (13, 11, "variants.gopher", "a list of rules", None),
    ),
    "truth for a number": ("workers: 2", "workers: true", (3, 32, "engine.workers", "a whole number", None)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_answered_with_its_place_and_the_near_name(case: str) -> None:
    old, new, (line, column, path, words, suggestion) = CASES[case]
    assert QUICKSTART.count(old) >= 1, "the case must change the quickstart"
    found = problems(QUICKSTART.replace(old, new, 1))
    at = [p for p in found if (p.mark.line, p.mark.column, p.path) == (line, column, path)]
    assert at, f"nothing at {line}:{column} {path} in: " + "\n".join(map(str, found))
    assert words in at[0].message
    assert at[0].suggestion == suggestion
    assert str(at[0]).startswith(f"r.yaml:{line}:{column}: {path}: ")


def test_several_problems_at_once_in_the_order_of_the_file() -> None:
    text = QUICKSTART.replace("kind: html", "kind: htm").replace("seeds: 3", "seeds: 0").replace("pii: {", "pi: {")
    found = problems(text)
    assert [p.path for p in found] == ["sources.web.kind", "pi", "study.seeds"]
    with pytest.raises(RecipeError, match="^3 problems in the recipe\nr.yaml:5:16: "):
        parse_recipe(text, "r.yaml")


def test_a_recipe_error_is_a_usage_error() -> None:
    assert issubclass(RecipeError, UsageError)


def test_what_is_allowed_is_said() -> None:
    (problem,) = problems(QUICKSTART.replace("kind: html", "kind: htm"))
    assert str(problem) == (
        "r.yaml:5:16: sources.web.kind: is not one of the allowed words; found 'htm'; did you mean 'html'? "
        f"allowed: {', '.join(KINDS)}"
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", None, None, "empty"),
        ("# nothing\n", None, None, "empty"),
        ("- a\n- b\n", 1, 1, "a mapping of keys"),
        ("just words\n", 1, 1, "a mapping of keys"),
        ("name: a\nname: b\n", 2, 1, "stands twice, first on line 1"),
        ("name: a\nsources:\n  w: {kind: html, kind: code}\n", 3, 19, "stands twice"),
        ("name: a\nsources:\n\tw: 1\n", 3, 1, "indent with spaces"),
        ("name: [a\n", 2, 1, "not valid YAML"),
        ("name: a\n b: c\n", 2, 3, "not valid YAML"),
        ("name: a\x00\n", 1, 8, "not allowed in YAML"),
        ("5: a\n", 1, 1, "a key must be a string"),
        ("true: a\n", 1, 1, "a key must be a string"),
        ("[a, b]: c\n", 1, 1, "a key must be a string"),
        ("name: !!python/object:os.system x\n", 1, 7, "tags are not used"),
        ("name: !!int x\n", 1, 7, "tags are not used"),
        ("name: !x {}\n", 1, 7, "tags are not used"),
        ("name: &a [*a]\n", 1, 7, "without end"),
        ("name: a\n---\nname: b\n", 2, 1, "not valid YAML"),
    ],
)
def test_what_is_no_recipe_at_all(text: str, line: int | None, column: int | None, words: str) -> None:
    found = problems(text)
    assert (found[0].mark.line, found[0].mark.column) == (line, column), str(found[0])
    assert words in found[0].message


def test_aliases_cannot_grow_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "without end" in problems("\n".join(lines))[0].message


def test_scalars_are_those_of_yaml_1_2() -> None:
    (problem,) = problems(MINIMAL + "held_out: no\n")
    assert problem.found == "'no'"
    assert parse_recipe(MINIMAL + "max_error_rate: 1e-2\n").error_rate("ingest") == 0.01
    assert parse_recipe(MINIMAL + "pii: {policy: 'on'}\n").pii == recipe_models.Pii(policy="on")


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(QUICKSTART)
    assert load_recipe(str(tmp_path / "quickstart.yaml")).name == "quickstart"
    with pytest.raises(RecipeError, match=r"no such file; did you mean '.*/quickstart.yaml'\?"):
        load_recipe(str(tmp_path / "quikstart.yaml"))
    with pytest.raises(RecipeError, match="is a directory"):
        load_recipe(str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"name: a\noutput: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"latin.yaml:2:12: a recipe is UTF-8 text; found byte 0xe9"):
        load_recipe(str(tmp_path / "latin.yaml"))
    (tmp_path / "large.yaml").write_text("# " + "x" * 1_000_001)
    with pytest.raises(RecipeError, match="at most 1,000,000 bytes"):
        load_recipe(str(tmp_path / "large.yaml"))
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_recipe(str(tmp_path / "bom.yaml")).name == "m"


def test_overrides() -> None:
    recipe = parse_recipe(
        QUICKSTART,
        overrides=[
            "study.seeds=5",
            "study.budget_bytes=512 KiB",
            "max_error_rate.ingest=0.5",
            "variants.full[3].allow_empty=false",
            "sources.code.input=[x, y]",
        ],
    )
    assert recipe.study is not None and recipe.study.seeds == 5 and recipe.study.budget_bytes == 524_288
    assert recipe.error_rate("ingest") == 0.5
    assert recipe.variants["full"].allow_empty == frozenset()
    assert recipe.sources["code"].input == ("x", "y")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("study.seeds", "KEY.PATH=VALUE"),
        ("=5", "KEY.PATH=VALUE"),
        ("study..seeds=5", "KEY.PATH=VALUE"),
        ("study.seds=5", "unknown key"),
        ("study.seeds=many", "a whole number"),
        ("name.x=5", "has no keys"),
        ("variants.full[9]=x", "is a list of 5"),
        ("study.seeds=[1", "not valid YAML"),
    ],
)
def test_wrong_overrides_are_named(override: str, words: str) -> None:
    (problem,) = problems(QUICKSTART, override)
    assert problem.mark.file == f"--set {override}" and problem.mark.line is None
    assert words in problem.message


def test_an_override_of_a_block_replaces_its_places() -> None:
    (problem,) = problems(QUICKSTART, "dedup={threshold: 2}")
    assert str(problem.mark) == "--set dedup={threshold: 2}"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (7, 7),
        ("7", 7),
        ("7B", 7),
        ("2MB", 2_000_000),
        ("2 mb", 2_000_000),
        ("1.5 kB", 1_500),
        ("512 KiB", 524_288),
        ("0.5 MiB", 524_288),
        ("3GiB", 3 << 30),
        ("1TB", 10**12),
    ],
)
def test_sizes_in_bytes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "2M", "-1", "1e6", "2 MBit", "1 2MB", 1.5, None, True, "1.0001 kB", "2_000"]
)
def test_no_sizes_in_bytes(text: object) -> None:
    with pytest.raises(ValueError, match="bytes"):
        parse_bytes(text)


@given(st.integers(0, 10**15), st.sampled_from(sorted(recipe_models.BYTE_UNITS)))
def test_whole_units_are_exact(number: int, unit: str) -> None:
    assert parse_bytes(f"{number} {unit}") == number * recipe_models.BYTE_UNITS[unit]


def test_recipe_yaml_reads_back_as_the_same_recipe() -> None:
    recipe = parse_recipe(QUICKSTART)
    again = parse_recipe(recipe.resolved_yaml())
    assert again.resolved() == recipe.resolved()
    assert again.resolved_yaml() == recipe.resolved_yaml()


def test_what_does_not_decide_the_data_is_not_in_the_resolved_recipe() -> None:
    recipe = parse_recipe(QUICKSTART)
    elsewhere = parse_recipe(
        QUICKSTART, overrides=["output=/elsewhere", "engine.workers=9", "study.jobs=4", "study.threads=2"]
    )
    assert elsewhere.resolved_yaml() == recipe.resolved_yaml()
    assert parse_recipe(QUICKSTART, overrides=["study.seeds=4"]).resolved() != recipe.resolved()


def test_short_and_long_forms_are_the_same_recipe() -> None:
    long = QUICKSTART.replace("[gopher]", "{steps: [{rule: gopher@datatrove}]}").replace(
        "budget_bytes: 2MB, held_out: 0.06", "budget_bytes: 2000000, held_out: {fraction: 0.06, seed: 0}"
    )
    assert parse_recipe(long).resolved() == parse_recipe(QUICKSTART).resolved()


def test_the_schema_accepts_what_the_models_accept() -> None:
    schema = json.loads(json.dumps(recipe_schema()))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["required"] == ["name", "sources"]
    described = schema["$defs"]["Dedup"]["properties"]["threshold"]
    assert described["maximum"] == 1 and "Jaccard" in described["description"]
    assert {"type": "string"} in schema["$defs"]["Study"]["properties"]["budget_bytes"]["anyOf"]


def test_short_names_that_stand_for_several_must_be_written_in_full() -> None:
    names = (*STANDARD_ANNOTATORS, "gopher@dolma")
    listed = parse_recipe(QUICKSTART, annotators=names).variants["gopher"].steps
    assert [step.rule for step in listed] == ["gopher@datatrove"], "the one that the recipe lists"
    for old, new, path in (
        ("gopher@datatrove, gopher_", "gopher, gopher_", "annotators[2]"),
        ("code_stats, pii", "gopher@dolma, code_stats, pii", "variants.gopher[0]"),
        ("[language, rpv2, gopher@datatrove,", "[language, rpv2,", "variants.gopher[0]"),
    ):
        with pytest.raises(RecipeError) as caught:
            parse_recipe(QUICKSTART.replace(old, new), annotators=names)
        problem = next(each for each in caught.value.problems if each.path == path)
        assert "stands for several" in problem.message and problem.allowed == "gopher@datatrove, gopher@dolma"


def test_columns_are_checked_where_the_annotators_are_given() -> None:
    factories = annotate.factories()
    parse_recipe(QUICKSTART, annotators=factories)
    for wrong, near in (("rps_word_count", "rpv2@1/rps_doc_word_count"), ("zzz", None)):
        with pytest.raises(RecipeError) as caught:
            parse_recipe(QUICKSTART.replace("rps_doc_word_count", wrong), annotators=factories)
        (problem,) = caught.value.problems
        assert problem.path == "variants.dedup[1].column" and problem.mark.line == 14
        assert problem.suggestion == near and "rps_doc_word_count" in str(problem.allowed)
    with pytest.raises(RecipeError, match="language@1 has no number of this name; found 'language'"):
        parse_recipe(QUICKSTART.replace("rpv2/rps_doc_word_count", "language/language"), annotators=factories)


def test_a_condition_on_words() -> None:
    condition = "{column: language/language, any_of: [en, de]}"
    text = QUICKSTART.replace("{column: rpv2/rps_doc_word_count, min: 50, max: 1e5}", condition)
    assert condition in text
    (step,) = [s for v in parse_recipe(text).variants.values() for s in v.steps if s.any_of]
    assert step.column == "language@1/language" and step.any_of == ("en", "de")
    for wrong, said in (("any_of: [en], min: 1", "any_of for words"), ("any_of: []", "any_of for words")):
        with pytest.raises(RecipeError, match=said):
            parse_recipe(text.replace("any_of: [en, de]", wrong))
    with pytest.raises(RecipeError, match="has no words of this name"):
        parse_recipe(text.replace("language/language,", "rpv2/rps_doc_word_count,"), annotators=annotate.factories())


def test_scope_and_sources_of_a_step() -> None:
    scope = "scope:\n  - {column: language/language, any_of: [en], sources: web}\nvariants:"
    recipe = parse_recipe(QUICKSTART.replace("variants:", scope))
    assert recipe.scope[0].column == "language@1/language" and recipe.scope[0].sources == ("web",)
    with pytest.raises(RecipeError, match="unknown source") as caught:
        parse_recipe(QUICKSTART.replace("variants:", scope.replace("sources: web", "sources: wbe")))
    (problem,) = caught.value.problems
    assert problem.path == "scope[0].sources" and problem.suggestion == "web"


def test_the_standard_names_exist() -> None:
    assert set(STANDARD_ANNOTATORS) <= set(annotate.factories())
    assert set(STANDARD_PROXIES) == set(PROXIES)


def test_license_classes_are_those_of_the_detector() -> None:
    assert get_args(recipe_models.LicenseClass) == licenses.CLASSES
    assert recipe_models.License().allowed == licenses.DEFAULT_ALLOWED
    (problem,) = problems(QUICKSTART + "license: {allowed: [permisive]}\n")
    assert problem.suggestion == "permissive" and problem.path == "license.allowed[0]"


@pytest.mark.parametrize(
    ("engine", "path"),
    [
        ("{kind: portable, job_endpoint: 'localhost:1'}", "engine.environment_config"),
        ("{kind: flink, master: 'flink:8081'}", "engine.environment_type"),
        ("{kind: flink, master: 'flink:8081', environment_type: DOCKER}", "engine.environment_config"),
        ("{kind: dataflow, project: p, region: r, temp_location: gs://b/t}", "engine.sdk_container_image"),
        (
            "{kind: dataflow, project: p, region: r, temp_location: /tmp, sdk_container_image: i}",
            "engine.temp_location",
        ),
        (
            "{kind: dataflow, project: p, region: r, temp_location: gs://b/t, sdk_container_image: i, "
            "workers: 9, max_workers: 2}",
            "engine.max_workers",
        ),
    ],
)
def test_engines_ask_for_what_they_need(engine: str, path: str) -> None:
    assert [p.path for p in problems(MINIMAL + f"engine: {engine}\n")] == [path]


def test_engines_with_all_they_need() -> None:
    parse_recipe(MINIMAL + "engine: {kind: flink}\n")
    parse_recipe(MINIMAL + "engine: {kind: portable, job_endpoint: 'h:1', environment_type: LOOPBACK}\n")
    recipe = parse_recipe(MINIMAL + "engine: {extra: {experiments: [a, b], direct_runner_bundle_repeat: 1}}\n")
    assert recipe.engine.extra == {"experiments": ("a", "b"), "direct_runner_bundle_repeat": 1}


def test_limits_are_those_of_the_readers() -> None:
    from pipelines.readers import Limits

    assert set(recipe_models.Limits.model_fields) == {field.name for field in dataclasses.fields(Limits)}
    limits = parse_recipe(MINIMAL + "limits: {max_item_bytes: 1 MiB, max_members: 5}\n").reader_limits()
    assert limits == dataclasses.replace(Limits(), max_item_bytes=1 << 20, max_members=5)


def test_sources_as_the_readers_take_them(tmp_path: Path) -> None:
    (tmp_path / "exclude.txt").write_text("# pages to leave out\nhtml/1.html\n\nhtml/2.html  # twice\n")
    text = QUICKSTART.replace("[vendor/*]", str(tmp_path / "exclude.txt"))
    source = parse_recipe(text).source("web")
    assert source.exclude == ("html/1.html", "html/2.html")
    assert (source.name, source.kind, source.inputs) == ("web", "html", ("samples/web/*",))
    assert parse_recipe(QUICKSTART).source("web").exclude == ("vendor/*",)
    with pytest.raises(UsageError, match=r"sources.web.exclude: none.txt: cannot be read"):
        parse_recipe(QUICKSTART.replace("[vendor/*]", "none.txt")).source("web")


def test_kinds_and_groupings_are_those_of_the_stages() -> None:
    from pipelines import split
    from pipelines.readers import KINDS

    assert set(recipe_models.GROUPINGS) == set(KINDS)
    assert set(recipe_models.GROUPINGS.values()) <= set(split.GROUPINGS)


def test_errors_of_plain_values_name_the_key() -> None:
    with pytest.raises(RecipeError, match=r"^the call: annotators\[0\]: unknown annotator; found 'rpv'; did you mean"):
        recipe_of({"name": "m", "sources": {"s": {"kind": "html", "input": "x"}}, "annotators": ["rpv"]})


@given(st.sampled_from(STANDARD_ANNOTATORS), st.data())
def test_one_letter_wrong_is_near(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
    assert nearest(name[:place] + letter + name[place + 1 :], STANDARD_ANNOTATORS) is not None


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_with_a_recipe_error(text: str) -> None:
    try:
        parse_recipe(text)
    except RecipeError as error:
        assert error.problems


def test_paths_in_messages() -> None:
    assert dotted(("variants", "full", 2, "rule")) == "variants.full[2].rule"
