"""`gristmill fit`: from files to a model file that annotate runs; what wrong calls say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_runner import main
from pipelines.errors import UsageError
from pipelines.fit import TextFiles, fit_options, training_files
from tests.corpus import prose


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """good.jsonl.gz, bad.parquet and a folder of text files."""
    with gzip.open(tmp_path / "good.jsonl.gz", "wt", encoding="utf-8") as file:
        for i in range(60):
            file.write(json.dumps({"id": f"g{i}", "text": prose(i, 4)}) + "\n")
        file.write('{"id": "none"}\nnot json\n')
    bad = [f"buy cheap pills now {i % 9} click here win {i % 7} casino bonus" for i in range(60)]
    pq.write_table(pa.table({"text": [*bad, None], "n": range(61)}), tmp_path / "bad.parquet")
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text(prose(1) + "\n\n" + prose(2), encoding="utf-8")
    (tmp_path / "books" / "two.txt").write_text(prose(3), encoding="utf-8")
    (tmp_path / "books" / "cover.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_texts_of_files(corpora: Path) -> None:
    texts = TextFiles([str(corpora / "good.jsonl.gz"), str(corpora / "bad.parquet"), str(corpora / "books")])
    found = list(texts)
    assert len(found) == 122 and found[0] == prose(0, 4) and found[-1] == prose(3)
    assert texts.skipped == {"missing_text": 2, "bad_json": 1} and texts.read == 122
    names = ["good.jsonl.gz", "bad.parquet", "books/one.txt", "books/two.txt"]
    assert list(texts.inputs) == names and len(set(texts.inputs.values())) == 4
    again = TextFiles([str(corpora / "bad.parquet"), str(corpora / "books" / ".." / "bad.parquet")])
    assert list(again.inputs) == ["bad.parquet", "bad.parquet (2)"]
    lines = list(TextFiles([str(corpora / "books")], lines=True))
    assert lines == [line for seed in (1, 2, 3) for line in prose(seed).splitlines()]


def test_of_a_run_only_its_documents_and_of_a_corpus_what_it_trains_on(tmp_path: Path) -> None:
    for name in ("documents/part-00000.parquet", "annotations/rpv2@1/part-00000.parquet", "manifest.json",
                 "corpora/v/data/train-00000-of-00001.parquet", "corpora/v/data/held_out-00000-of-00001.parquet",
                 "corpora/v/waterfall.parquet", "corpora/v/manifest.json"):  # fmt: skip
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert list(training_files(str(tmp_path / "out"))) == [f"{tmp_path}/out/documents/part-00000.parquet"]
    train = f"{tmp_path}/out/corpora/v/data/train-00000-of-00001.parquet"
    assert list(training_files(str(tmp_path / "out/corpora/v"))) == [train]
    assert list(training_files(str(tmp_path / "out/corpora/v/data"))) == [train]


def test_a_classifier_is_fitted_measured_and_run(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = corpora / "m" / "edu.zip"
    call = ["fit", "classifier", "--positive", str(corpora / "good.jsonl.gz"), "--negative",
            str(corpora / "bad.parquet"), "--output", str(model), "--option", "dim=4", "--option", "buckets=100",
            "--option", "held_out=0.3", "--option", "epochs=20"]  # fmt: skip
    assert main(call) == 0
    said = capsys.readouterr()
    assert "AUC" in said.out or "auc" in said.out
    assert "positive: 60 texts of 1 files; 2 rows were left out: 1 bad_json, 1 missing_text" in said.err
    first = model.read_bytes()
    assert main([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert model.read_bytes() == first, "the same texts and options give the same file"
    assert told["kind"] == "classifier" and told["path"] == str(model)
    assert {name.split("/")[0] for name in told["trained_on"]["inputs"]} == {"positive", "negative"}
    assert 0.5 < told["held_out"]["auc"] <= 1
    (corpora / "p.jsonl").write_text(json.dumps({"id": "p", "text": prose(77)}) + "\n")
    output = corpora / "out"
    call = ["annotate", str(corpora / "p.jsonl"), "--annotator", "classifier", "--model", f"classifier={model}"]
    assert main([*call, "--output", str(output)]) == 0
    (folder,) = (output / "annotations").iterdir()
    assert folder.name == told["name"]
    assert pq.read_table(folder / "part-00000.parquet")["score"][0].as_py() > 0.5


def test_importance_weights_are_fitted(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = corpora / "wiki.zip"
    call = ["fit", "dsir", "--target", str(corpora / "books"), "--source", str(corpora / "bad.parquet"),
            "--output", str(model), "--lines", "--option", "language=en"]  # fmt: skip
    assert main(call) == 0
    assert "dsir@" in capsys.readouterr().out and model.exists()
    output = corpora / "out"
    call = ["annotate", str(corpora / "good.jsonl.gz"), "--annotator", "dsir", "--model", f"dsir={model}",
            "--annotator", "rps_importance", "--option", f"rps_importance@1.wikipedia={model}"]  # fmt: skip
    assert main([*call, "--output", str(output)]) == 0
    names = sorted(folder.name for folder in (output / "annotations").iterdir())
    assert names[0].startswith("dsir@") and names[1] == "rps_importance@1"


def test_an_ngram_model_is_fitted(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = corpora / "ngram.zip"
    call = ["fit", "ngram", str(corpora / "books"), "--output", str(model), "--option", "order=3",
            "--option", "held_out=0", "--cutoff", str(corpora / "good.jsonl.gz")]  # fmt: skip
    assert main(call) == 0
    assert "ngram@" in capsys.readouterr().out
    output = corpora / "out"
    call = ["annotate", str(corpora / "good.jsonl.gz"), "--annotator", "perplexity", "--model", f"perplexity={model}"]
    assert main([*call, "--output", str(output)]) == 0
    (folder,) = (output / "annotations").iterdir()
    assert folder.name.startswith("perplexity@")


WRONG = {
    "no model": (["fit"], "allowed: classifier, dsir, ngram"),
    "no such file": (["ngram", "nowhere.jsonl", "--output", "m.zip"], "nowhere.jsonl: no such file or folder"),
    "another kind of file": (["ngram", "books/cover.png", "--output", "m.zip"], "books/cover.png: is no file of texts"),
    "an empty folder": (["ngram", "empty", "--output", "m.zip"], "empty: no file with texts there"),
    "no column": (["ngram", "other.parquet", "--output", "m.zip"], "other.parquet: has no column text; it has n"),
    "no Parquet": (["ngram", "broken.parquet", "--output", "m.zip"], "broken.parquet: cannot be read"),
    "no UTF-8": (["ngram", "latin.txt", "--output", "m.zip"], "latin.txt: is not UTF-8"),
    "no text": (["ngram", "blank.txt", "--output", "m.zip"], "no token"),
    "unknown option": (["ngram", "books", "--output", "m.zip", "--option", "ordr=3"], "did you mean 'order'"),
    "wrong type": (["ngram", "books", "--output", "m.zip", "--option", "order=x"], "a whole number"),
    "no option": (["ngram", "books", "--output", "m.zip", "--option", "order"], "KEY=VALUE"),
    "wrong value": (["ngram", "books", "--output", "m.zip", "--option", "order=0"], "order"),
    "a class without text": (
        ["classifier", "--positive", "books", "--negative", "blank.txt", "--output", "m.zip"],
        "no text with a word to learn of the class",
    ),
    "features that do not exist": (
        ["dsir", "--target", "books", "--source", "books", "--output", "m.zip", "--option", "features=x"],
        "allowed: rpv2, dsir",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_says_what_is_wrong(
    case: str, corpora: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpora)
    (corpora / "empty").mkdir()
    pq.write_table(pa.table({"n": [1]}), "other.parquet")
    (corpora / "broken.parquet").write_bytes(b"PAR1 no")
    (corpora / "latin.txt").write_bytes("é".encode("latin-1"))
    (corpora / "blank.txt").write_text(" \n")
    words, said = WRONG[case]
    assert main(words if words[0] == "fit" else ["fit", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (corpora / "m.zip").exists()


def test_options_are_those_of_the_fit() -> None:
    def fit(path: str, *, order: int = 5, names: tuple[str, ...] = (), inputs: None = None) -> None: ...

    assert fit_options(fit, ["order=3", "names=[a, b]"]) == {"order": 3, "names": ("a", "b")}
    with pytest.raises(UsageError, match="known: order, names"):
        fit_options(fit, ["inputs=1"])
