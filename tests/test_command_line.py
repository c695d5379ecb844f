"""Each verb alone on plain files, as a user calls it; what a wrong call says; exit codes."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_runner import main
from tests.corpus import prose, write_corpus, write_recipe


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """JSONL with given ids: prose, its copy, a near-copy, and a line with personal data."""
    rows = [
        {"id": "a", "text": prose(1), "language": "en"},
        {"id": "b", "text": prose(1), "language": "en", "url": "https://example.org/b", "stars": 7},
        {"id": "c", "text": prose(1).replace("river", "stream", 1), "language": "en"},
        {"id": "d", "text": "Écris à jean.dupont@exemple.fr, dit-elle. " + prose(2), "language": "fr"},
        {"doc_id": "e", "text": "short"},
    ]
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def column(folder: Path, name: str) -> dict[str, object]:
    table = pq.read_table(sorted(folder.glob("part-*.parquet")))
    return dict(zip(table["doc_id"].to_pylist(), table[name].to_pylist(), strict=True))


def test_annotate_keeps_given_ids_and_writes_a_folder_an_annotator(pages: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    call = ["annotate", str(pages), "--annotator", "rpv2", "--annotator", "gopher@datatrove", "--output", str(output)]
    assert main(call) == 0
    words = column(output / "annotations/rpv2@1", "rps_doc_word_count")
    assert set(words) == {"a", "b", "c", "d", "e"} and words["e"][0]["score"] == 1  # type: ignore[index]
    keep = column(output / "annotations/gopher@datatrove", "keep")
    assert keep["a"] is True and keep["e"] is False
    assert main(["validate", str(output)]) == 0


def test_the_order_and_the_number_of_calls_change_no_column(pages: Path, tmp_path: Path) -> None:
    pages.write_text(pages.read_text(encoding="utf-8").replace('"language": "fr"', '"stars": 1'), encoding="utf-8")

    def stop_words(*calls: list[str]) -> dict[str, object]:
        output = tmp_path / "-".join(name for names in calls for name in names)
        for names in calls:
            chosen = [word for name in names for word in ("--annotator", name)]
            assert main(["annotate", str(pages), *chosen, "--output", str(output)]) == 0
        return column(output / "annotations/rpv2@1", "rps_doc_stop_word_fraction")

    together = stop_words(["language", "rpv2"])
    assert stop_words(["rpv2", "language"]) == together
    assert stop_words(["language"], ["rpv2", "language"]) == together


def test_dedup_names_the_kept_document_and_the_similarity(pages: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main(["dedup", str(pages), "--method", "minhash", "--threshold", "0.8", "--output", str(output)]) == 0
    duplicate_of = column(output / "annotations/dedup", "duplicate_of")
    kept = {"a", "b", "c"} - {i for i, other in duplicate_of.items() if other}
    assert len(kept) == 1 and duplicate_of["d"] is duplicate_of["e"] is None
    evidence = pq.read_table(output / "annotations/dedup/evidence.parquet").to_pylist()
    assert {row["kept_id"] for row in evidence} == kept and len(evidence) == 2
    assert sorted(row["similarity"] for row in evidence)[-1] <= 1.0
    assert all(row["similarity"] >= 0.8 for row in evidence)


def test_what_stays_is_the_users_choice_and_a_wrong_one_is_named(
    pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    call = ["dedup", str(pages), "--output", str(output), "--clusters", "star"]
    assert main([*call, "--keep", "meta.stars desc", "--keep", "url"]) == 0
    duplicate_of = column(output / "annotations/dedup", "duplicate_of")
    assert {i: kept for i, kept in duplicate_of.items() if kept} == {"a": "b", "c": "b"}
    largest = json.loads((output / "annotations/dedup/clusters.json").read_text())["largest"]
    assert [cluster["size"] for cluster in largest] == [3]
    assert main(["validate", str(output)]) == 0
    capsys.readouterr()
    for wrong, said in (
        (["--keep", "longst"], "keep is 'longst', allowed are longest, smallest_id, stack_v2, c4_url"),
        (["--method", "exact_url"], "key is 'url', allowed are text, text@plain"),
        (["--signatures", "minhash@rpv2", "--threshold", "0.75"], "thresholds 0.7, 0.8, 0.9, 1.0, not 0.75"),
        (["--signatures", "minhash@2"], "did you mean 'minhash@1'"),
        (["--keep", "colours.red desc"], "needs the annotator colours"),
    ):
        assert main([*call, *wrong]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "duplicates"),
    [
        (["--method", "exact_text@plain"], {"b": "a"}),
        (["--method", "exact_column:language", "--keep", "smallest_id"], {"b": "a", "c": "a"}),
        (["--signatures", "minhash@datatrove", "--keep", "smallest_id"], {"b": "a", "c": "a"}),
        (["--signatures", "minhash@bigcode-v2", "--keep", "smallest_id"], {"b": "a", "c": "a"}),
    ],
)
def test_keys_and_signatures_by_name(
    pages: Path, tmp_path: Path, options: list[str], duplicates: dict[str, str]
) -> None:
    output = tmp_path / "out"
    assert main(["dedup", str(pages), *options, "--output", str(output)]) == 0
    found = column(output / "annotations/dedup", "duplicate_of")
    assert {document: kept for document, kept in found.items() if kept} == duplicates


def test_exact_dedup_leaves_near_copies(pages: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main(["dedup", str(pages), "--method", "exact", "--output", str(output)]) == 0
    assert {i: o for i, o in column(output / "annotations/dedup", "duplicate_of").items() if o} == {"b": "a"}


def test_redact_replaces_in_the_text_and_keeps_the_spans(pages: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main(["redact", str(pages), "--output", str(output)]) == 0
    text = column(output / "documents", "text")
    assert str(text["d"]).startswith("Écris à <EMAIL>, dit-elle.")
    assert text["a"] == prose(1)
    spans = column(output / "documents", "pii")["d"]
    assert [(s["start"], s["end"], s["kind"]) for s in spans] == [(8, 30, "EMAIL")]  # type: ignore[attr-defined]
    assert not any("exemple.fr" in f.read_bytes().decode("latin-1") for f in output.rglob("*.parquet"))
    assert main(["validate", str(output)]) == 0


def test_compressed_jsonl_parquet_and_folders_give_the_same(pages: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    lines = pages.read_text(encoding="utf-8").splitlines(keepends=True)
    with gzip.open(folder / "first.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(lines[:3])
    rows = [json.loads(line) for line in lines[3:]]
    table = pa.table({"id": [r.get("id") or r["doc_id"] for r in rows], "text": [r["text"] for r in rows]})
    pq.write_table(table, folder / "rest.parquet")
    for name, source in (("one", pages), ("two", folder)):
        assert main(["annotate", str(source), "--annotator", "minhash", "--output", str(tmp_path / name)]) == 0
    one, two = (column(tmp_path / name / "annotations/minhash@1", "signature") for name in ("one", "two"))
    assert one == two


def test_licenses_prints_one_line_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text("# SPDX-License-Identifier: Apache-2.0 OR MIT\nx = 1\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    assert main(["licenses", str(tmp_path), "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [f["path"].rpartition("/")[2] for f in found] == ["a.py", "b.py"]
    assert found[0]["expression"] == "Apache-2.0 OR MIT" and found[0]["class"] == "permissive"
    assert found[1]["expression"] is None and found[1]["spans"] == []

    assert main(["licenses", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "class" and lines[1].split()[0] == "permissive" and lines[1].endswith("a.py")
    assert lines[3:] == ["permissive 1, no_license 1"]


def test_curate_makes_one_variant_of_a_recipe_from_plain_files(pages: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write_corpus(root, pages=2, modules=1)
    recipe = write_recipe(root, tmp_path / "unused")
    output = tmp_path / "out"
    call = ["curate", str(pages), "--variant", "dedup", "--recipe", str(recipe), "--output", str(output)]
    assert main(call) == 0
    verdicts = pq.read_table(output / "corpora/dedup/waterfall.parquet").to_pylist()
    rules = {row["doc_id"]: row["rule"] for row in verdicts}
    assert rules["d"] is None and rules["e"] is None
    assert sorted(str(rules[i]) for i in "abc").count("dedup") == 2


def test_the_schema_and_the_plan_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe-schema"]) == 0
    assert "sources" in json.loads(capsys.readouterr().out)["properties"]
    write_corpus(tmp_path / "corpus", pages=3, modules=2)
    assert main(["plan", str(write_recipe(tmp_path / "corpus", tmp_path / "out")), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["sources"]["web"]["files"] == 5 and plan["runs"] == 0
    assert not (tmp_path / "out").exists(), "a plan writes nothing"


WRONG_CALLS = {
    "no such input": (["annotate", "nowhere.jsonl", "--annotator", "rpv2", "--output", "out"], "nowhere.jsonl"),
    "unknown annotator": (["annotate", "{pages}", "--annotator", "rvp2", "--output", "out"], "rpv2@1"),
    "no such recipe": (["run", "nowhere.yaml"], "nowhere.yaml"),
    "no run there": (["validate", "{folder}"], "no finished run"),
    "not a shard": (["inspect", "{pages}"], "not a .parquet shard"),
    "nothing matches": (["ingest", "{folder}/*.html", "--kind", "html", "--output", "out"], "nothing matches"),
    "no such policy": (
        ["redact", "{pages}", "--policy", "gone.yaml", "--output", "out"],
        ": --policy: gone.yaml: no such",
    ),
    "unknown Beam flag": (
        ["annotate", "{pages}", "--annotator", "rpv2", "--output", "out", "--", "--no_such_flag=1"],
        "no_such_flag",
    ),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_ends_with_2_and_says_what_is_wrong(
    name: str, pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, said = WRONG_CALLS[name]
    assert main([word.format(pages=pages, folder=tmp_path) for word in call]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "nothing was begun"


def test_a_rule_that_drops_nothing_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text("".join(f'{{"id": "{i}", "text": "words of {i}"}}\n' for i in range(30)))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\noutput: {tmp_path}/out\nsources: {{x: {{kind: jsonl, input: {tmp_path}/x.jsonl}}}}\n"
        "annotators: [rpv2]\nheld_out: 0.2\nvariants:\n"
        "  long: [{column: rpv2@1/rps_doc_word_count, min: 1}]\n"
    )
    assert main(["run", str(recipe)]) == 1
    assert "allow_empty: true" in capsys.readouterr().err


def test_an_input_without_a_document_fails_and_is_not_taken_for_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jsonl").write_text("not json\n")
    call = ["annotate", str(tmp_path / "x.jsonl"), "--annotator", "rpv2", "--output", str(tmp_path / "out")]
    shard = tmp_path / "out/rejected/part-00000.parquet"
    for _ in range(2):
        assert main(call) == 1
        said = capsys.readouterr().err
        assert "stage ingest: read 1 = kept 0 + dropped (none) + rejected (1 bad_json): no document is left" in said
        assert "the first: x.jsonl#1: Expecting value" in said and f"`gristmill inspect {shard}` shows all" in said
    assert main(["inspect", str(shard)]) == 0
    assert "bad_json" in capsys.readouterr().out


def test_an_input_of_which_all_is_dropped_says_by_which_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.html").write_text("<html><body></body></html>")
    (tmp_path / "in/b.css").write_text("p {}")
    (tmp_path / "in/c.js").write_text("x")
    assert main(["ingest", str(tmp_path / "in"), "--kind", "html", "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "read 3 = kept 0 + dropped (1 no_main_text, 2 not_a_page) + rejected (none): no document is left" in said
    assert "gristmill inspect" not in said


def test_a_full_disk_is_said_in_one_line(
    pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    call = ["annotate", str(pages), "--annotator", "rpv2", "--output", str(tmp_path / "out")]
    with monkeypatch.context() as patched:  # of a worker
        patched.setattr("pipelines.shards.ShardWriter.write", full)
        assert main(call) == 1
    said = capsys.readouterr().err
    assert f"documents: no space left on the device of {tmp_path}/out or of the temporary files in " in said
    with monkeypatch.context() as patched:  # of the driver
        patched.setattr("pipelines.storage.os.fsync", full)
        assert main(call) == 1
    assert capsys.readouterr().err == "gristmill: No space left on device (-v shows where)\n"
    assert main(call) == 0


def test_two_runs_do_not_write_to_one_folder(pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    output = tmp_path / "out"
    output.mkdir()
    with open(output / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["annotate", str(pages), "--annotator", "rpv2", "--output", str(output)]) == 1
    assert "another run is writing there" in capsys.readouterr().err


def test_validate_finds_a_changed_byte(pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main(["annotate", str(pages), "--annotator", "rpv2", "--output", str(output)]) == 0
    shard = output / "documents/part-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    capsys.readouterr()
    assert main(["validate", str(output), "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert len(problems) == 1 and "part-00000.parquet" in problems[0] and "sha256" in problems[0]
