"""Verbs that compare documents with others: evaluation sets, filters of what was seen, indexes of finished corpora."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_runner import main
from tests.corpus import prose


def write(path: Path, texts: dict[str, str]) -> Path:
    rows = [{"id": name, "text": text, "url": f"http://www.x.org/{name}?utm_source=y"} for name, text in texts.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def past(tmp_path: Path) -> Path:
    return write(tmp_path / "past.jsonl", {"a": prose(1), "b": prose(2), "c": prose(2), "d": "short"})


@pytest.fixture
def new(tmp_path: Path) -> Path:
    near = prose(1).replace("river", "stream", 1)
    return write(tmp_path / "new.jsonl", {"a": near, "p": prose(2), "q": prose(3), "r": "short", "s": "brief"})


def column(folder: Path, name: str) -> dict[str, object]:
    table = pq.read_table(sorted(folder.glob("part-*.parquet")))
    return dict(zip(table["doc_id"].to_pylist(), table[name].to_pylist(), strict=True))


# -- filters -----------------------------------------------------------------------------------------------


def test_a_filter_marks_what_was_seen_before(
    past: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["filter", "build", str(past), "--capacity", "1000", "--output", str(tmp_path / "past.bloom")]
    assert main([*call, "--rate", "1e-6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["keys_seen"] == 4 and told["key"] == "text" and told["stated_rate"] == 1e-6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.jsonl", "past.bloom", "past.jsonl"]
    output = tmp_path / "out"
    seen = ["annotate", str(new), "--annotator", "seen", "--model", f"seen={tmp_path / 'past.bloom'}"]
    assert main([*seen, "--output", str(output)]) == 0
    assert column(output / "annotations" / told["name"], "seen") == {
        "a": False, "p": True, "q": False, "r": True, "s": False,
    }  # fmt: skip
    assert "2 seen_before" in capsys.readouterr().out
    assert main(["validate", str(output)]) == 0
    # A run's documents give the same filter; a later dump is added to it.
    assert main(["annotate", str(past), "--annotator", "rpv2", "--output", str(tmp_path / "run")]) == 0
    call[2], call[-1] = str(tmp_path / "run"), str(tmp_path / "again.bloom")
    assert main([*call, "--rate", "1e-6"]) == 0
    assert (tmp_path / "again.bloom").read_bytes() == (tmp_path / "past.bloom").read_bytes()
    later = ["filter", "build", str(new), "--earlier", str(tmp_path / "past.bloom"), "--output"]
    capsys.readouterr()
    assert main([*later, str(tmp_path / "both.bloom")]) == 0
    assert "9 keys of text, room for 1,000" in capsys.readouterr().out
    call[call.index("--capacity") + 1], call[-1] = "3", str(tmp_path / "small.bloom")
    assert main(call) == 0
    assert "more keys than it has room for" in capsys.readouterr().err


def test_a_filter_as_a_rule(past: Path, new: Path, tmp_path: Path) -> None:
    bloom = tmp_path / "urls.bloom"
    build = ["filter", "build", str(past), "--key", "url@tfds", "--capacity", "100", "--rate", "1e-6"]
    assert main([*build, "--output", str(bloom)]) == 0
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\noutput: {tmp_path}/out\nsources: {{s: {{kind: jsonl, input: {new}}}}}\nheld_out: 0.01\n"
        f"annotators: [{{name: seen, model: {bloom}}}]\nvariants: {{fresh: [seen]}}\n"
    )
    assert main(["run", str(recipe)]) == 0
    rows = pq.read_table(tmp_path / "out/corpora/fresh/waterfall.parquet").to_pylist()
    assert {row["doc_id"]: str(row["rule"]).partition("@")[0] for row in rows if row["rule"]} == {"a": "seen"}
    # The run's own recipe names the filter by its hash, and does not take another one for it.
    write(past, {"z": "other"})
    assert main([*build, "--output", str(bloom)]) == 0
    assert main(["run", str(tmp_path / "out/recipe.yaml"), "--set", f"output={tmp_path}/out"]) == 2


# -- indexes -----------------------------------------------------------------------------------------------


def test_an_index_says_what_a_new_dump_has_in_common(
    past: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, index, output = tmp_path / "run", tmp_path / "index", tmp_path / "out"
    assert main(["dedup", str(past), "--output", str(run)]) == 0
    capsys.readouterr()
    assert main(["index", "build", str(run), "--output", str(index), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["documents"] == 3, "the run's own duplicates stay out" and told["parents"] == []
    assert main(["index", "match", str(new), "--index", str(index), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "of new: 3 of 5 documents are in the index" in said
    assert "of the index: 3 of 3 documents are in new" in said
    assert main(["validate", str(output)]) == 0
    found = column(output / "annotations" / told["name"], "duplicate_of")
    assert found["a"] == "a" and found["p"] in ("b", "c") and found["r"] == "d" and found["q"] is found["s"] is None
    # As a rule, with its twin in the waterfall; then the next version.
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\noutput: {tmp_path}/r\nsources: {{s: {{kind: jsonl, input: {new}}}}}\nheld_out: 0.01\ndedup: {{}}\n"
        f"annotators: [minhash, {{name: index, model: {index}}}]\nvariants: {{fresh: [index]}}\n"
    )
    assert main(["run", str(recipe)]) == 0
    rows = {row["doc_id"]: row for row in pq.read_table(tmp_path / "r/corpora/fresh/waterfall.parquet").to_pylist()}
    assert {name for name, row in rows.items() if row["verdict"] == "dropped"} == {"a", "p", "r"}
    assert rows["a"]["duplicate_of"] == "a" and 0.8 <= rows["a"]["similarity"] < 1 and rows["a"]["threshold"] == 0.8
    capsys.readouterr()
    extended = ["index", "build", str(tmp_path / "r"), "--extend", str(index), "--output", str(tmp_path / "next")]
    assert main([*extended, "--without", told["name"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parents"] == [told["name"].partition("@")[2]]


# -- evaluation sets ---------------------------------------------------------------------------------------


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "one", "text": prose(3)[:300]}) + "\n")
    path = tmp_path / "sets.yaml"
    path.write_text("sets: {own: {path: items.jsonl, id: id, fields: [text]}}\n")
    return path


def test_decontaminate_prints_its_report(
    new: Path, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    call = ["decontaminate", str(new), "--sets", str(sets), "--output", str(output)]
    assert main([*call, "--method", "substring@starcoder2", "--method", "ngram10@cosmopedia"]) == 0
    said = capsys.readouterr().out
    assert "Of 5 documents 1 hold items of evaluation sets; 1 are dropped." in said
    assert "| substring@starcoder2 | own | 1 | 1 | 1 |" in said
    assert main(["validate", str(output)]) == 0
    # The same index once and for all.
    index = tmp_path / "evals.index"
    assert main(["fit", "contamination", "--sets", str(sets), "--output", str(index)]) == 0
    capsys.readouterr()
    other = ["decontaminate", str(new), "--index", str(index), "--output", str(tmp_path / "two"), "--json"]
    assert main(other) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["documents"] == {"read": 5, "hit": 1, "dropped": 0} and list(report["methods"]) == ["ngram13@gpt3"]
    (folder,) = (tmp_path / "two/annotations").glob("contamination@*")
    assert (output / "annotations" / folder.name).is_dir(), "equal sets have an equal name"
    edits = column(folder, "edits")
    assert edits["q"] and not edits["p"]


WRONG_CALLS = {
    "filter of nothing": (["filter"], "filter what? allowed: build"),
    "index of nothing": (["index"], "index what? allowed: build, match"),
    "no capacity": (["filter", "build", "{past}", "--output", "{out}"], "give --capacity"),
    "no such key": (
        ["filter", "build", "{past}", "--key", "txt", "--capacity", "9", "--output", "{out}"],
        "key is 'txt', allowed are text",
    ),
    "no such rate": (
        ["filter", "build", "{past}", "--capacity", "9", "--rate", "2", "--output", "{out}"],
        "the false-positive rate is 2.0",
    ),
    "capacity of nothing": (["filter", "build", "{past}", "--capacity", "0", "--output", "{out}"], "capacity is 0"),
    "no such column": (
        ["filter", "build", "{past}", "--key", "column:isbn", "--capacity", "9", "--output", "{out}"],
        "column isbn is asked for",
    ),
    "no earlier filter": (
        ["filter", "build", "{past}", "--earlier", "{past}", "--output", "{out}"],
        "past.jsonl is no Bloom filter",
    ),
    "no run": (["index", "build", "{past}", "--output", "{out}"], "no finished run lies there"),
    "no index": (["index", "match", "{past}", "--index", "{past}", "--output", "{out}"], "no index there"),
    "no sets": (["decontaminate", "{past}", "--output", "{out}"], "give --sets FILE"),
    "no such set": (["decontaminate", "{past}", "--set", "mmlu", "--output", "{out}"], "'mmlu' is not described"),
    "no file of the set": (
        ["decontaminate", "{past}", "--set", "gsm8k", "--folder", "{past}.d", "--output", "{out}"],
        "gsm8k_test.jsonl",
    ),
    "no such method": (
        ["decontaminate", "{past}", "--sets", "{sets}", "--method", "ngram7", "--output", "{out}"],
        "method is 'ngram7', known are ngram13@gpt3",
    ),
    "sets twice": (
        ["decontaminate", "{past}", "--sets", "{sets}", "--index", "{past}", "--output", "{out}"],
        "either --index or --sets",
    ),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_ends_with_2_and_says_what_is_wrong(
    name: str, past: Path, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call, said = WRONG_CALLS[name]
    out = tmp_path / "out"
    assert main([word.format(past=past, sets=sets, out=out) for word in call]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists(), "nothing was begun"


def test_an_index_is_not_overwritten_and_needs_its_signatures(
    past: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", str(past), "--annotator", "rpv2", "--output", str(tmp_path / "plain")]) == 0
    build = ["index", "build", str(tmp_path / "plain"), "--output", str(tmp_path / "index")]
    assert main(build) == 2
    assert "has no annotations minhash@1" in capsys.readouterr().err
    assert main(["dedup", str(past), "--output", str(tmp_path / "run")]) == 0
    build[2] = str(tmp_path / "run")
    assert main(build) == 0 and main(build) == 2
    assert "an index lies there already" in capsys.readouterr().err
    extended = [*build[:3], "--output", str(tmp_path / "b"), "--extend", str(tmp_path / "index"), "--threshold", "0.9"]
    assert main(extended) == 2
    assert "its threshold is 0.8, asked for is 0.9" in capsys.readouterr().err
    match = ["index", "match", str(past), "--index", str(tmp_path / "index"), "--output", str(tmp_path / "m")]
    assert main([*match, "--threshold", "0.5"]) == 2
    assert "made for similarities of 0.8 and more" in capsys.readouterr().err


# -- a run as the input ------------------------------------------------------------------------------------


def test_the_documents_of_a_run_are_an_input(past: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, output = tmp_path / "run", tmp_path / "run" / "again"
    assert main(["annotate", str(past), "--annotator", "rpv2", "--output", str(run)]) == 0
    call = ["dedup", str(run), "--method", "exact", "--output", str(output)]
    for _ in range(2):  # what lies below the output is no input the second time either
        assert main(call) == 0
        assert column(output / "annotations/dedup", "duplicate_of") == {"a": None, "b": None, "c": "b", "d": None}
    assert column(output / "documents", "text") == column(run / "documents", "text")
    assert column(output / "documents", "url") == column(run / "documents", "url")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    for same in (str(run), f"{run}/"):
        assert main(["dedup", same, "--method", "exact", "--output", str(run)]) == 2
        assert "is the input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
