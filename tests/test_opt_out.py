"""A wish carried out in finished corpora: the same bytes as a full run with the list, and only what it touches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_runner import main
from tests.corpus import write_corpus, write_recipe

LIST = """\
field,value,date,reason
domain,site5.example.com,2026-02-01,asked by letter
domain,site7.example.com,2026-02-02,asked by letter
"""
MORE = "shard_bytes: 6kB\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(inputs, the output of a run with many small shards)."""
    root = tmp_path_factory.mktemp("opt-out")
    write_corpus(root)
    (root / "more.csv").write_text(LIST)
    output = root / "first"
    assert main(["run", str(write_recipe(root, output, more=MORE))]) == 0
    return root, output


@pytest.fixture
def output(finished: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[1], tmp_path / "run"))


def files(output: Path) -> dict[str, bytes]:
    corpora = output / "corpora"
    found = {str(path.relative_to(corpora)): path.read_bytes() for path in corpora.rglob("*") if path.is_file()}
    return {**found, "manifest.json": (output / "manifest.json").read_bytes()}


def ids_of(output: Path, variant: str) -> set[str]:
    shards = (output / "corpora" / variant / "data").glob("*.parquet")
    return {doc_id for shard in shards for doc_id in pq.read_table(shard, columns=["doc_id"])["doc_id"].to_pylist()}


def test_the_corpora_are_those_of_a_full_run_with_the_list(finished: tuple[Path, Path], output: Path) -> None:
    root, _ = finished
    assert main(["optout", "apply", str(output), str(root / "more.csv")]) == 0
    whole = root / "whole"
    recipe = write_recipe(root, whole, more=MORE)
    lists = f"opt_out: [{root}/opt-out.yaml, {root}/more.csv]"
    recipe.write_text(recipe.read_text().replace(f"opt_out: {root}/opt-out.yaml", lists))
    assert main(["run", str(recipe)]) == 0
    applied, expected = files(output), files(whole)
    assert applied.keys() == expected.keys()
    assert [name for name in applied if applied[name] != expected[name]] == []
    assert main(["validate", str(output)]) == 0


def test_only_shards_that_hold_a_named_document_are_written(
    finished: tuple[Path, Path], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, first = finished
    (root / "one.csv").write_text(f"field,value,date,reason\nid,{min(ids_of(output, 'baseline'))},2026-02-01,r\n")
    before = {path: path.stat().st_ino for path in output.glob("corpora/baseline/data/*.parquet")}
    assert main(["optout", "apply", str(output), str(root / "one.csv"), "--json"]) == 0
    told = {each["variant"]: each for each in json.loads(capsys.readouterr().out)}
    written = [path for path, inode in before.items() if path.stat().st_ino != inode]
    assert len(before) == 4 and len(written) == 2, "the train and the held-out shard of one unit"
    assert told["baseline"]["shards_rewritten"] == 1
    assert told["baseline"]["documents"] == told["baseline"]["documents_before"] - 1
    assert ids_of(output, "baseline") == ids_of(first, "baseline") - {min(ids_of(first, "baseline"))}


def test_a_variant_of_another_version_is_made_as_a_whole_and_the_call_says_so(
    finished: tuple[Path, Path], output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (output / "one.csv").write_text(f"field,value,date,reason\nid,{min(ids_of(output, 'baseline'))},2026-02-01,r\n")
    monkeypatch.setattr("pipelines.manifest.library_versions", lambda: {"pyarrow": "of another time"})
    assert main(["optout", "apply", str(output), str(output / "one.csv")]) == 0
    said = capsys.readouterr().out
    assert "1 of 4 data shards changed, all made again: another version" in said


def test_a_wish_that_names_no_document_is_told(
    finished: tuple[Path, Path], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = min(ids_of(output, "baseline"))
    rows = f"id,{some},2026-02-01,r\nid,nobody,2026-02-01,r\ndomain,site5.exmaple.com,2026-02-01,r\n"
    (output / "one.csv").write_text(f"field,value,date,reason\n{rows}")
    assert main(["optout", "apply", str(output), str(output / "one.csv")]) == 0
    assert "2 entries name no document here: domain site5.exmaple.com, id nobody\n" in capsys.readouterr().out
    (output / "one.csv").write_text(f"field,value,date,reason\nid,{some},2026-02-01,r\n")
    assert main(["optout", "apply", str(output), str(output / "one.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["entries_without_document"] == []


def test_a_list_of_the_run_that_is_gone_is_named_with_the_file_that_names_it(
    finished: tuple[Path, Path], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = f"field,value,date,reason\nid,{min(ids_of(output, 'baseline'))},2026-02-01,r\n"
    (output / "one.csv").write_text(row)
    assert main(["optout", "apply", str(output), str(output / "one.csv")]) == 0
    (output / "one.csv").rename(output / "two.csv")
    assert main(["optout", "apply", str(output), str(output / "two.csv")]) == 2
    assert f"{output}/recipe.yaml: opt_out: {output}/one.csv: cannot be read" in capsys.readouterr().err


def test_a_wish_taken_back_brings_the_documents_back(finished: tuple[Path, Path], output: Path) -> None:
    root, first = finished
    assert main(["optout", "apply", str(output), str(root / "more.csv")]) == 0
    assert ids_of(output, "full") < ids_of(first, "full")
    recipe = write_recipe(root, output, more=MORE)
    assert main(["run", str(recipe)]) == 0
    assert files(output) == files(first)


def test_tombstones_name_the_wish_and_nobody(finished: tuple[Path, Path], output: Path) -> None:
    root, first = finished
    assert main(["optout", "apply", str(output), str(root / "more.csv")]) == 0
    stones = pq.read_table(output / "corpora/full/tombstones.parquet").to_pylist()
    gone = ids_of(first, "baseline") - ids_of(output, "baseline")
    assert gone and not gone & {stone["id_sha256"] for stone in stones}
    assert {stone["date"] for stone in stones} == {"2026-01-15", "2026-02-01", "2026-02-02"}
    assert "site" not in str(stones)


@pytest.mark.parametrize(
    "content, message",
    [
        ("field,value,date,reason\nhost,a.b,2026-02-01,r\n", "list.csv:2: field 'host' is unknown"),
        ("name,value\n", "list.csv:1: the first line must name the columns field, value, date, reason"),
        ("field,value,date,reason\ndomain,a.example,1.2.2026,r\n", "list.csv:2: date must be YYYY-MM-DD"),
        ("field,value,date,reason\ndomain,a.example\n", "list.csv:2: 2 values for 4 columns"),
        (None, "list.csv: cannot be read"),
    ],
)
def test_a_wrong_list_is_named_and_nothing_changes(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "list.csv").write_text(content)
    before = files(output)
    assert main(["optout", "apply", str(output), str(tmp_path / "list.csv")]) == 2
    assert message in capsys.readouterr().err
    assert files(output) == before


def test_no_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["optout", "apply", str(tmp_path), str(tmp_path / "list.csv")]) == 2
    assert "takes the output folder of a finished run" in capsys.readouterr().err
