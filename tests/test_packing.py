"""From raw files to shaped documents and packed samples, by recipe and by verb."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_runner import main
from eval_models.packing import PackedSamples, unpacked
from eval_models.vocabulary import FIM_MIDDLE
from tests.corpus import write_corpus

RECIPE = """
name: small
output: {output}
engine: {{kind: local, workers: {workers}}}
sources:
  web: {{kind: html, input: "{root}/web/*.html"}}
  code: {{kind: code, input: "{root}/code/*"}}
held_out: {{fraction: 0.2, by: document}}
max_error_rate: 1.0
variants:
  plain:
    pack: {{length: 256, weights: {{code: 1.5, web: 3}}, epochs: 2}}
"""
SHAPED = """\
  shaped:
    shape: {code: starcoder2_repository, web: starcoder2_documentation@1}
    pack: {length: 512, fim: {rate: 1.0, level: file_sep, sources: [repository]}}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packing")
    write_corpus(root, pages=20, modules=12)
    return root


def run(root: Path, name: str, *arguments: str, workers: int = 1) -> Path:
    output = root / name
    recipe = root / f"{name}.yaml"
    recipe.write_text(RECIPE.format(root=root, output=output, workers=workers) + SHAPED, encoding="utf-8")
    assert main(["run", str(recipe), *arguments]) == 0
    return output


@pytest.fixture(scope="module")
def output(corpus: Path) -> Path:
    return run(corpus, "one")


def training_texts(folder: Path) -> dict[str, str]:
    rows = [row for path in sorted((folder / "data").glob("train-*")) for row in pq.read_table(path).to_pylist()]
    return {row["doc_id"]: row["text"] for row in rows}


def test_samples_hold_the_training_documents_and_nothing_else(output: Path, capsys: pytest.CaptureFixture) -> None:
    texts = training_texts(output / "corpora" / "plain")
    found = unpacked(PackedSamples(output / "packed" / "plain"))
    assert {doc for doc, _ in found} == {*texts}
    for (doc, _), tokens in found.items():
        assert bytes(tokens[:-1].astype("u1")).decode() == texts[doc]
    assert main(["validate", str(output)]) == 0
    assert "hashes and books hold" in capsys.readouterr().out
    manifest = json.loads((output / "manifest.json").read_bytes())["stages"]["pack/plain"]
    assert manifest["books"]["read"] == manifest["books"]["kept"] == len(texts)
    of_source = manifest["summary"]["by_source"]
    assert of_source["web"]["epochs"] == 2 and 1 < of_source["code"]["epochs"] < 2
    assert "samples of 256 tokens" in (output / "packed" / "plain" / "README.md").read_text()
    held_out = pq.read_table(next((output / "corpora" / "plain" / "data").glob("held_out-*")))["doc_id"].to_pylist()
    assert held_out and not {*held_out} & {*texts}


def test_a_variant_is_shaped_and_then_packed(output: Path) -> None:
    stages = json.loads((output / "manifest.json").read_bytes())["stages"]
    shaped = stages["shape/shaped"]
    corpus = stages["curate/shaped"]
    assert shaped["books"]["read"] == corpus["books"]["kept"]
    by_shape = shaped["summary"]["by_shape"]
    assert {*by_shape} == {"starcoder2_repository@1", "starcoder2_documentation@1"}
    assert "starcoder2_repository@1" in (output / "recipe.yaml").read_text()
    # Two packages; each has documents among the held-out ones, too.
    assert by_shape["starcoder2_repository@1"]["kept"] == 4
    assert (
        shaped["summary"]["train"]["documents"] + shaped["summary"]["held_out"]["documents"] == shaped["books"]["kept"]
    )
    members = pq.read_table(output / "shaped" / "shaped" / "members.parquet").to_pylist()
    texts = training_texts(output / "corpora" / "shaped")
    made = training_texts(output / "shaped" / "shaped")
    of_train = [row for row in members if row["shaped_id"] in made]
    assert sorted(row["doc_id"] for row in of_train) == sorted(texts)
    for row in of_train:
        assert texts[row["doc_id"]].strip() in made[row["shaped_id"]]
    found = unpacked(PackedSamples(output / "packed" / "shaped"))
    assert {doc for doc, _ in found} == {*made}
    repositories = [tokens for (doc, _), tokens in found.items() if "<file_sep>" in made[doc]]
    assert len(repositories) == 2 and all((tokens == FIM_MIDDLE).sum() > 3 for tokens in repositories)
    card = (output / "shaped" / "shaped" / "README.md").read_text()
    assert "| starcoder2_repository@1 |" in card and "merged_into" in card


def test_the_verb_shapes_rows_and_corpora(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [
        {"id": f"f{i}", "text": f"x = {i}", "repo": "a/b" if i % 2 else "c/d", "path": f"{i}.py", "kind": "code"}
        for i in range(9)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    call = ["shape", str(tmp_path / "rows.jsonl"), "--shape", "starcoder2_repository", "--json"]
    assert main([*call, "--output", str(tmp_path / "a")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["books"]["kept"] == 2 and told["books"]["dropped"] == {"merged_into": 7}
    assert main(["validate", str(tmp_path / "a")]) == 0
    one = training_texts(tmp_path / "a" / "shaped")
    assert sorted(text.count("<file_sep>") for text in one.values()) == [4, 5]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]))
    assert main([*call[:1], str(tmp_path / "more.jsonl"), *call[2:], "--output", str(tmp_path / "b")]) == 0
    assert training_texts(tmp_path / "b" / "shaped") == one
    corpus = ["shape", str(output / "corpora" / "plain"), "--shape", "code=starcoder_file", "--output"]
    assert main([*corpus, str(tmp_path / "c")]) == 0
    texts = training_texts(tmp_path / "c" / "shaped")
    assert len(texts) == len(training_texts(output / "corpora" / "plain"))
    assert list((tmp_path / "c" / "shaped" / "data").glob("held_out-*"))
    assert main(["validate", str(tmp_path / "c")]) == 0
    capsys.readouterr()
    pack = ["pack", str(tmp_path / "c"), "--length", "64", "--tokenizer", "bytes", "--json", "--output"]
    assert main([*pack, str(tmp_path / "d")]) == 0
    assert json.loads(capsys.readouterr().out)["books"]["read"] == len(texts)


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["--shape", "starcoder2_repositry"], 2, "did you mean 'starcoder2_repository@1'"),
        (["--shape", "code=starcoder_file", "--shape", "code=starcoder_file"], 2, "code is given twice"),
        (["--shape", "nothing=starcoder_file"], 1, "shape of nothing: no document is of such a source or kind"),
        (["--shape", "starcoder_file", "--max-group-bytes", "lots"], 2, "--max-group-bytes lots: not a size in bytes"),
    ],
)
def test_wrong_shapes_are_refused(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], code: int, said: str
) -> None:
    call = ["shape", str(output / "corpora" / "plain"), *arguments, "--output", str(tmp_path)]
    assert main(call) == code
    assert said in capsys.readouterr().err


def test_a_finished_stage_is_not_run_again(corpus: Path, output: Path, capsys: pytest.CaptureFixture) -> None:
    shard = next((output / "packed" / "plain" / "data").glob("*.parquet"))
    before = shard.stat().st_mtime_ns
    run(corpus, "one")
    assert shard.stat().st_mtime_ns == before and "every data stage was done before" in capsys.readouterr().err
    assert main(["run", str(corpus / "one.yaml"), "--set", "variants.plain.pack.length=128"]) == 0
    assert PackedSamples(output / "packed" / "plain").length == 128
    run(corpus, "one")
    assert PackedSamples(output / "packed" / "plain").length == 256


@pytest.mark.slow
@pytest.mark.engine
def test_four_workers_write_the_same_bytes(corpus: Path, output: Path) -> None:
    again = run(corpus, "four", workers=4)
    assert (again / "manifest.json").read_bytes() == (output / "manifest.json").read_bytes()


@pytest.mark.slow
@pytest.mark.engine
def test_four_workers_pack_the_same_bytes(output: Path, tmp_path: Path) -> None:
    for workers in ("1", "4"):
        call = ["pack", str(output / "corpora" / "plain"), "--length", "64", "--tokenizer", "bytes"]
        assert main([*call, "--weight", "web=1.5", "--workers", workers, "--output", str(tmp_path / workers)]) == 0
    one, four = ((tmp_path / workers / "manifest.json").read_bytes() for workers in ("1", "4"))
    assert one == four


def test_bundles_that_run_twice_pack_the_same_bytes(output: Path, tmp_path: Path) -> None:
    call = ["pack", str(output / "corpora" / "plain"), "--length", "64", "--tokenizer", "bytes"]
    assert main([*call, "--output", str(tmp_path / "once")]) == 0
    assert main([*call, "--output", str(tmp_path / "twice"), "--", "--direct_runner_bundle_repeat=1"]) == 0
    once, twice = ((tmp_path / name / "manifest.json").read_bytes() for name in ("once", "twice"))
    assert once == twice


def test_what_is_opted_out_leaves_the_samples(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output, tmp_path / "run")
    gone, *_ = sorted(training_texts(output / "corpora" / "plain"))
    (tmp_path / "list.yaml").write_text(f"entries: [{{id: {gone}, date: 2026-01-15, reason: wish}}]\n")
    assert main(["optout", "apply", str(tmp_path / "run"), str(tmp_path / "list.yaml")]) == 0
    assert main(["validate", str(tmp_path / "run")]) == 0
    before, after = (
        {doc for doc, _ in unpacked(PackedSamples(folder / "packed" / "plain"))}
        for folder in (output, tmp_path / "run")
    )
    assert before - after == {gone} and after < before


def test_the_verb_packs_corpora(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    call = ["pack", str(output / "corpora" / "plain"), "--length", "64", "--tokenizer", "bytes", "--json"]
    assert main([*call, "--output", str(tmp_path / "a"), "--strategy", "concatenate", "--weight", "web=2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["by_source"]["web"]["epochs"] == 2 and told["padding"] < 64
    samples = PackedSamples(tmp_path / "a" / "packed")
    assert len(samples) == told["samples"] and samples.info["strategy"] == "concatenate"
    assert main(["validate", str(tmp_path / "a")]) == 0
    # A run's documents with those that are in its variant already: each is packed once.
    both = ["pack", str(output), str(output / "corpora" / "plain"), *call[2:], "--output", str(tmp_path / "b")]
    capsys.readouterr()
    assert main(both) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["books"]["dropped"] == {"duplicate_id": len(training_texts(output / "corpora" / "plain"))}


@pytest.mark.parametrize(
    "more, code, said",
    [
        (["--length", "1"], 2, "length is 1"),
        (["--length", "8", "--weight", "nowhere=2"], 1, "weight of nowhere: no document is of such a source or kind"),
        (["--length", "8", "--weight", "web=x"], 2, "'x' is no number"),
        (["--length", "8", "--weight", "web=1", "--weight", "web=2"], 2, "web is given twice"),
        (["--length", "8", "--fim-rate", "2"], 2, "fim rate is 2"),
        (["--length", "8", "--tokenizer", "nowhere.json"], 2, "nowhere.json: no such file"),
    ],
)
def test_wrong_calls_are_refused(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], code: int, said: str
) -> None:
    call = ["pack", str(output / "corpora" / "plain"), "--tokenizer", "bytes", *more, "--output", str(tmp_path)]
    assert main(call) == code
    assert said in capsys.readouterr().err


def test_corpora_that_are_not_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        assert main(["pack", str(path), "--length", "8", "--tokenizer", "bytes", "--output", str(tmp_path / "o")]) == 2
        assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "pack, said",
    [
        ("{length: 1}", "variants.plain.pack.length"),
        ("{length: 8, strategy: first_fit}", "variants.plain.pack.strategy"),
        ("{length: 8, tokenizr: bytes}", "did you mean 'tokenizer'"),
        ("{length: 8, tokenizer: nowhere.json}", "variants.plain.pack.tokenizer: nowhere.json: no such file"),
        ("{length: 8, fim: 1.5}", "variants.plain.pack.fim"),
        ("8\n    shape: {code: starcoder2_repositry}", "did you mean 'starcoder2_repository@1'"),
        ("8\n    shape: {by: {code: x}, seed: -1}", "variants.plain.shape.seed"),
    ],
)
def test_wrong_recipes_stop_before_any_work(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture, pack: str, said: str
) -> None:
    text = RECIPE.format(root=corpus, output=tmp_path / "o", workers=1).partition("    pack:")[0]
    (tmp_path / "r.yaml").write_text(f"{text}    pack: {pack}\n", encoding="utf-8")
    assert main(["run", str(tmp_path / "r.yaml")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o" / "documents").exists()
