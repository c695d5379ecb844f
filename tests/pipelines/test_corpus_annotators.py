"""Annotators of the whole corpus in a recipe: what may be said, in which order they run, and what a run gives."""

from __future__ import annotations

import json
import math
import pickle
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_runner import main
from dedup.bloom import BloomFilter
from pipelines.annotators import OfCorpus, build_annotators, described, factories
from pipelines.fit import fit_contamination_index
from pipelines.recipe import parse_recipe
from pipelines.recipe_errors import RecipeError
from quality_signals.batches import batch_of
from quality_signals.edits import apply_edits
from tests.corpus import prose

MINIMAL = "name: m\nsources: {s: {kind: jsonl, input: a.jsonl}}\n"
SHARED = "This paragraph of the terms of service stands below many pages of this site."
ITEM = "A train leaves the old station at nine and travels for three hours; how far does it come at eighty an hour?"


def listed(annotators: str, more: str = "") -> Any:
    return parse_recipe(f"{MINIMAL}annotators: {annotators}\n{more}", "r.yaml", annotators=factories())


@pytest.fixture
def sets(tmp_path: Path) -> str:
    """An index of one evaluation item."""
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "train", "text": ITEM}) + "\n")
    (tmp_path / "sets.yaml").write_text("sets: {own: {path: items.jsonl, id: id, fields: [text]}}\n")
    return fit_contamination_index(str(tmp_path / "sets.index"), str(tmp_path / "sets.yaml")).path


# -- what a recipe may say ---------------------------------------------------------------------------------


def test_names_options_and_what_comes_before() -> None:
    recipe = listed(
        "[paragraphs, {name: sentences@datatrove, options: {n_sentences: 2}, as: pairs}, substrings, gopher@datatrove,"
        " c4_fineweb@datatrove, lines@tfds+c4_fineweb@datatrove, fineweb@datatrove+paragraphs@ccnet,"
        " {name: paragraphs, after: [c4_fineweb@datatrove, gopher@datatrove], as: clean_paragraphs}]"
    )
    assert set(recipe.annotator_names) == {
        "paragraphs@ccnet", "pairs", "substrings@1", "gopher@datatrove", "c4_fineweb@datatrove",
        "lines@tfds+c4_fineweb@datatrove", "fineweb@datatrove+paragraphs@ccnet", "clean_paragraphs",
    }  # fmt: skip
    assert recipe.specs["clean_paragraphs"].after == ("gopher@datatrove", "c4_fineweb@datatrove"), "the editor last"
    assert parse_recipe(recipe.resolved_yaml(), annotators=factories()).annotators == recipe.annotators
    built = build_annotators(recipe.annotators)
    corpus_wide = {name for name, each in built.items() if isinstance(each, OfCorpus)}
    assert set(built) - corpus_wide == {
        "gopher@datatrove",
        "c4_fineweb@datatrove",
        "fineweb@datatrove+paragraphs@ccnet",
    }
    assert pickle.loads(pickle.dumps(built["pairs"])) == built["pairs"]
    assert described(recipe.specs, "pairs") == {"annotator": "sentences@datatrove", "options": {"n_sentences": 2}}
    with pytest.raises(LookupError, match="pairs looks at the whole corpus"):
        built["pairs"].annotate(batch_of(["x"]))


WRONG = {
    "unknown option": ("[{name: paragraphs, options: {kep: none}}]", "did you mean 'keep'"),
    "wrong value": ("[{name: paragraphs, options: {keep: last}}]", "allowed: first, none"),
    "another thing": ("[{name: paragraphs, options: {keep: none}}]", "as: my_paragraphs"),
    "wrong number": ("[{name: substrings, options: {min_bytes: 1}, as: s}]", "min_bytes is 1, allowed are 2 to"),
    "takes nothing before it": ("[c4@tfds, {name: seen, model: x, after: [c4@tfds]}]", "looks at the documents as"),
    "after dedup without dedup": ("[paragraphs+dedup]", "the recipe has no block dedup"),
    "no vectors": ("[{name: semantic, options: {column: rpv2, cells: 3}, as: s}]", "allowed are meta.KEY"),
    "no annotator of vectors": (
        "[{name: semantic, options: {column: e5@1.vector}, as: s}]",
        "needs the annotator e5@1",
    ),
    "no folder of vectors": ("[{name: semantic, options: {folder: nowhere}}]", "nowhere: no such folder of embeddings"),
    "after what decides nothing": ("[rpv2, paragraphs+rpv2]", "rpv2@1 neither drops documents nor edits them"),
    "after several": (
        "[gopher@datatrove, c4@datatrove, {name: paragraphs, after: [gopher@datatrove, c4@datatrove]}]",
        "needs a name of its own",
    ),
    "after editors that do not follow": (
        "[c4@datatrove, c4@tfds, {name: paragraphs, after: [c4@tfds, c4@datatrove], as: x}]",
        "edits the text after no other",
    ),
    "no model": ("[contamination]", "runs a fitted model"),
    "no such index": ("[{name: index, model: nowhere}]", "no index there"),
    "no such filter": ("[{name: seen, model: nowhere}]", "nowhere"),
    "no such sets": ("[{name: contamination, model: nowhere}]", "no contamination model there"),
    "each other's editor": (
        "[{name: paragraphs, after: [lines], as: a}, {name: lines, after: [a], as: b}]", "wait for one another",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_a_recipe_may_not_say(name: str) -> None:
    annotators, said = WRONG[name]
    with pytest.raises(RecipeError) as caught:
        listed(annotators)
    assert said in str(caught.value)


def test_dedup_may_come_before_them_but_not_wait_for_them() -> None:
    recipe = listed("[minhash, paragraphs+dedup, {name: substrings, after: [dedup], as: own}]", "dedup: {}\n")
    assert {name: spec.after for name, spec in recipe.specs.items()} == {
        "minhash@1": (), "paragraphs@ccnet+dedup": ("dedup",), "own": ("dedup",),
    }  # fmt: skip
    assert parse_recipe(recipe.resolved_yaml(), annotators=factories()).annotators == recipe.annotators
    assert described(recipe.specs, "own") == {"annotator": "substrings@1", "after": ["dedup"]}
    waits = "dedup: {keep: [s.to_centre asc]}\n"
    vectors = "{name: semantic, options: {column: paragraphs@ccnet+dedup.vector}, as: s}"
    with pytest.raises(RecipeError, match=r"dedup reads s, which comes after dedup"):
        listed(f"[minhash, paragraphs+dedup, {vectors}]", waits)
    with pytest.raises(RecipeError, match="dedup edits nothing"):
        listed("[minhash, rpv2+dedup]", "dedup: {}\n")


def test_steps_on_them_are_checked(sets: str) -> None:
    index = f"{{name: contamination, model: {sets}}}"
    recipe = listed(
        f"[paragraphs, substrings, {index}]", "variants: {v: [paragraphs, contamination, {edit: substrings}]}\n"
    )
    assert [step.name for step in recipe.variants["v"].steps][1].startswith("contamination@")
    (spec,) = listed("[{name: paragraphs, options: {evidence: false}}]").annotators
    assert spec.written == "paragraphs@ccnet", "without its proof it says the same"
    for steps, said in (
        ("[substrings]", "measures and has no verdict of its own"),
        ("[{edit: paragraphs}, {edit: substrings}]", "this variant applies paragraphs@ccnet first"),
        ("[{column: substrings/words, min: 1}]", "substrings@1 has no number of this name"),
        ("[seen]", "needs the annotator seen"),
    ):
        with pytest.raises(RecipeError) as caught:
            listed(f"[paragraphs, substrings, {index}]", f"variants: {{v: {steps}}}\n")
        assert said in str(caught.value)


def test_options_of_decontamination(sets: str) -> None:
    several = f"[{{name: contamination, model: {sets}, options: {{methods: [substring@starcoder, minhash@bigcode]}}}}]"
    (spec,) = listed(several).annotators
    assert (
        spec.as_ == f"contamination@{Path(sets).name and described({spec.written: spec}, spec.written)['model'][:12]}"
    )
    with pytest.raises(RecipeError, match=r"method is 'ngram9', known are ngram13@gpt3"):
        listed(f"[{{name: contamination, model: {sets}, options: {{methods: [ngram9]}}}}]")


def test_a_filter_is_asked_for_the_keys_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "urls.bloom"
    BloomFilter(100, 0.01, key="url@tfds").save(path)
    (spec,) = listed(f"[{{name: seen, model: {path}}}]").annotators
    assert spec.written.startswith("seen@") and len(spec.written) == len("seen@") + 12
    with pytest.raises(RecipeError, match=r"its keys are made of url@tfds, asked for is text"):
        listed(f"[{{name: seen, model: {path}, options: {{key: text}}}}]")
    BloomFilter(100, 0.01, key="column:rpv2@1.ccnet_length").save(path)
    with pytest.raises(RecipeError, match="needs the annotator rpv2@1"):
        listed(f"[{{name: seen, model: {path}}}]")


# -- as a run ----------------------------------------------------------------------------------------------


def write_pages(path: Path) -> None:
    """300 pages: every tenth copies the one before, some end with SHARED, every 25th holds ITEM, some are spam."""
    rng = random.Random(0)
    rows = []
    for i in range(300):
        text = prose(i)
        if i % 10 == 9:
            text = prose(i - 1).replace("river", "stream", 1)
        if i % 50 == 20:
            text = f"buy {i} now " * 60
        if i % 7 == 3:
            text += "\n" + SHARED
        if i % 25 == 12:
            text += "\n" + ITEM
        row = {"id": f"p{i:03d}", "text": text, "language": "en", "url": f"https://h{i % 30}.org/{i}"}
        rows.append({**row, "stars": f"{i:05d}"})
    rng.shuffle(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


RECIPE = """\
name: r
output: {output}
engine: {{kind: local, workers: {workers}}}
sources: {{s: {{kind: jsonl, input: {pages}}}}}
annotators:
  - gopher@datatrove
  - minhash
  - {{name: contamination, model: {sets}, options: {{methods: [ngram10@cosmopedia, substring@starcoder2]}}}}
  - paragraphs@ccnet
  - rpv2+paragraphs@ccnet
  - {{name: sentences@datatrove, after: gopher}}
  - {{name: substrings, options: {{at_lines: true}}, as: repeated_lines}}
  - lines@tfds+repeated_lines
dedup: {{clusters: star, keep: [meta.stars desc, {{column: source, values: s}}]}}
held_out: 0.1
variants:
  cleaned:
    - dedup
    - contamination
    - {{rule: paragraphs, allow_empty: true}}
    - {{edit: paragraphs}}
    - {{column: rpv2@1+paragraphs@ccnet/rps_doc_word_count, min: 20, allow_empty: true}}
  cut: [{{edit: repeated_lines}}, {{edit: lines@tfds+repeated_lines, allow_empty: true}}]
"""


def run(folder: Path, sets: str, workers: int) -> Path:
    pages, output, path = folder / "pages.jsonl", folder / f"out{workers}", folder / f"{workers}.yaml"
    write_pages(pages)
    path.write_text(RECIPE.format(output=output, workers=workers, pages=pages, sets=sets))
    assert main(["run", str(path)]) == 0
    assert main(["validate", str(output)]) == 0
    return output


@pytest.mark.slow
@pytest.mark.engine
def test_all_of_them_give_the_same_on_one_worker_and_on_two(tmp_path: Path, sets: str) -> None:
    one, two = (run(tmp_path, sets, workers) for workers in (1, 2))
    assert (one / "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()


def test_a_recipe_with_all_of_them(tmp_path: Path, sets: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = run(tmp_path, sets, 1)
    capsys.readouterr()
    assert main(["run", str(tmp_path / "1.yaml")]) == 0
    assert "every data stage was done before" in capsys.readouterr().err
    assert not list(output.rglob("spill"))
    rows = {row["doc_id"]: row for row in pq.read_table(output / "corpora/cleaned/waterfall.parquet").to_pylist()}
    dropped = {name: row for name, row in rows.items() if row["verdict"] == "dropped"}
    contaminated = {name for name, row in dropped.items() if str(row["rule"]).startswith("contamination@")}
    assert contaminated <= {f"p{i:03d}" for i in range(300) if i % 25 == 12} and len(contaminated) > 5
    for name, row in dropped.items():
        if row["rule"] == "dedup":
            assert row["duplicate_of"] == f"p{int(name[1:]) + 1:03d}" and row["similarity"] >= 0.8, "more stars stay"
    shards = sorted((output / "corpora/cleaned/data").glob("train-*.parquet"))
    texts = {row["doc_id"]: row["text"] for shard in shards for row in pq.read_table(shard).to_pylist()}
    assert sum(SHARED in text for text in texts.values()) <= 1, "one copy of a paragraph stays"
    # The words were counted in what the edits leave.
    whole = {row["doc_id"]: row["text"] for row in pq.read_table(output / "documents").to_pylist()}
    edits = {
        row["doc_id"]: row["edits"]
        for row in pq.read_table(output / "annotations/paragraphs@ccnet/part-00000.parquet").to_pylist()
    }
    for row in pq.read_table(output / "annotations/rpv2@1+paragraphs@ccnet/part-00000.parquet").to_pylist():
        left = apply_edits(whole[row["doc_id"]], edits[row["doc_id"]])
        assert row["ccnet_length"][0]["end"] == len(left), row["doc_id"]
        if row["doc_id"] in texts:
            assert texts[row["doc_id"]] == left
    # The edits of the lines lead from the extracted text to what both leave.
    shards = sorted((output / "corpora/cut/data").glob("train-*.parquet"))
    lines = [line for shard in shards for row in pq.read_table(shard).to_pylist() for line in row["text"].split("\n")]
    assert lines and len(set(lines)) == len(lines)
    # Documents that Gopher's rules drop took no part in the search for sentences.
    keep = pq.read_table(output / "annotations/gopher@datatrove/part-00000.parquet")
    sentences = pq.read_table(output / "annotations/sentences@datatrove+gopher@datatrove/part-00000.parquet")
    passages = dict(zip(sentences["doc_id"].to_pylist(), sentences["passages"].to_pylist(), strict=True))
    dropped_before = {d for d, k in zip(keep["doc_id"].to_pylist(), keep["keep"].to_pylist(), strict=True) if not k}
    assert len(dropped_before) == 6
    assert all((passages[doc_id] is None) == (doc_id in dropped_before) for doc_id in passages)


AFTER = """\
name: r
output: {output}
engine: {{kind: local, workers: 1}}
sources: {{s: {{kind: jsonl, input: {pages}}}}}
annotators:
  - language
  - minhash@datatrove
  - {{name: semantic, options: {{threshold: 0.9}}, after: [dedup], as: meaning}}
  - c4@tfds
  - paragraphs@ccnet+dedup
  - {{name: sentences@datatrove, after: [dedup, meaning], as: spans}}
  - substrings+c4@tfds
  - {{name: contamination, model: {sets}, options: {{methods: [ngram13@gpt3]}}, after: [c4@tfds], as: cuts}}
dedup: {{signatures: minhash@datatrove, threshold: 0.75}}
held_out: 0.1
variants:
  meant: [{{rule: meaning, allow_empty: true}}, dedup, {{edit: paragraphs@ccnet+dedup, allow_empty: true}}]
  cut: [{{edit: c4@tfds}}, {{edit: substrings@1+c4@tfds, allow_empty: true}}]
  clean: [{{rule: cuts, allow_empty: true}}, {{edit: c4@tfds}}, {{edit: cuts, allow_empty: true}}]
"""


def test_what_comes_after_dedup_after_edits_and_by_meaning(
    tmp_path: Path, sets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pages, output = tmp_path / "pages.jsonl", tmp_path / "out"
    rows = []
    for i in range(60):
        text = prose(i) + ("\n" + SHARED if i % 7 == 3 else "")
        if i % 10 == 9:
            text = rows[i - 1]["text"].replace("river", "stream", 1)
        if i % 25 == 12:
            text += "\n" + ITEM
        if i % 3 == 0:
            text += "\nHome"
        angle = i // 2 + (i % 2) / 50
        rows.append({"id": f"p{i:02d}", "text": text, "embedding": [math.cos(angle), math.sin(angle)]})
    rows[40]["embedding"] = [1.0]
    pages.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.yaml").write_text(AFTER.format(output=output, pages=pages, sets=sets))
    assert main(["run", str(tmp_path / "r.yaml"), "--set", "max_error_rate.annotate=0.05"]) == 0
    order = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines() if ": kept" in line]
    assert order.index("dedup") < min(order.index(f"annotate/{n}") for n in ("paragraphs@ccnet+dedup", "meaning"))
    assert main(["validate", str(output)]) == 0

    def of(name: str) -> dict[str, dict[str, Any]]:
        return {
            row["doc_id"]: row
            for row in pq.read_table(output / "annotations" / name / "part-00000.parquet").to_pylist()
        }

    duplicates = {name for name, row in of("dedup").items() if row["duplicate_of"]}
    meaning = {name for name, row in of("meaning").items() if row["duplicate_of"]}
    assert len(duplicates) >= 6 and len(meaning) > 20 and not duplicates & meaning
    assert {name for name, row in of("meaning").items() if row["cell"] is None} == duplicates | {"p40"}
    assert not duplicates & {row["duplicate_of"] for row in of("meaning").values()}, "what is named stays"
    assert of("meaning")["p40"]["cell"] is None, "its vector has another width than the others"
    assert {name for name, row in of("paragraphs@ccnet+dedup").items() if row["passages"] is None} == duplicates
    assert {name for name, row in of("spans").items() if row["passages"] is None} == duplicates | meaning
    # The languages were found before, so what signatures and the measured sets are of is the same.
    assert all(row["duplicate_of"] is None or row["similarity"] >= 0.75 for row in of("dedup").values())
    # Edits after edits lead from the extracted text to what both leave.
    texts = {row["doc_id"]: row["text"] for row in pq.read_table(output / "documents").to_pylist()}
    first, both, cuts = of("c4@tfds"), of("substrings@1+c4@tfds"), of("cuts")
    changed = 0
    for name, text in texts.items():
        after = apply_edits(text, first[name]["edits"])
        left = apply_edits(text, both[name]["edits"])
        changed += left != after
        assert len(left) == len(after) - both[name]["removed_characters"] if first[name]["keep"] else True
        takes_part = first[name]["keep"]
        assert takes_part or (not both[name]["repeated"] and cuts[name]["keep"] and cuts[name]["hits"] is None)
        if takes_part and cuts[name]["keep"]:
            assert (ITEM not in after) == (apply_edits(text, cuts[name]["edits"]) == after)
    assert changed
    assert sum(bool(row["hits"]) for row in cuts.values()) >= 1


def test_a_changed_document_makes_what_depends_on_it_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = tmp_path / "pages.jsonl"
    rows = [{"id": str(i), "text": f"{prose(i)}\n{SHARED}"} for i in range(3)]

    def ran() -> set[str]:
        pages.write_text("".join(json.dumps(row) + "\n" for row in rows))
        capsys.readouterr()
        names = ["paragraphs@ccnet", "rpv2+paragraphs@ccnet"]
        call = [word for name in names for word in ("--annotator", name)]
        assert main(["annotate", str(pages), *call, "--output", str(tmp_path / "out")]) == 0
        return {line.partition(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("annotate")}

    everything = {"annotate/paragraphs@ccnet", "annotate/rpv2@1+paragraphs@ccnet"}
    assert ran() == everything
    assert ran() == set()
    rows[1]["text"] = prose(9)
    assert ran() == everything
