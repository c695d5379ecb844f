"""Opt-out lists and corpora whose run is not there: what is missing, what the lists name, and nothing changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from beam_runner import main
from pipelines.curate import CORPUS_SCHEMA
from pipelines.opt_out import RUN_PARTS, corpora_below, missing_parts
from pipelines.shards import write_shard

LIST = "field,value,date,reason\ndomain,a.example,2026-02-01,asked\nowner,jane,2026-02-01,asked\n"


def rows(first: int, urls: list[str | None], repos: list[str | None]) -> pa.RecordBatch:
    made = [
        {
            "doc_id": f"{first + at:032x}",
            "source": "s",
            "kind": "web",
            "text": "x",
            "url": url,
            "repo": repo,
            "meta": [],
        }
        for at, (url, repo) in enumerate(zip(urls, repos, strict=True))
    ]
    return pa.RecordBatch.from_pylist(made, schema=CORPUS_SCHEMA)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A run's output of which only the corpora were copied."""
    for name, shards in {
        "baseline": [rows(0, ["https://a.example/1", "https://b.example/2"], [None, None]), rows(9, [None], ["joe/x"])],
        "strict": [rows(0, ["https://b.example/2", None], [None, "Jane/x"])],
        "clean": [rows(3, [None], [None])],
    }.items():
        folder = tmp_path / "run" / "corpora" / name / "data"
        folder.mkdir(parents=True)
        for place, batch in enumerate(shards):
            write_shard(str(folder / f"train-{place:05}-of-{len(shards):05}.parquet"), CORPUS_SCHEMA, [batch])
    (tmp_path / "list.csv").write_text(LIST)
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copied_corpora_folder(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(copied)
    assert main(["optout", "apply", str(copied), str(copied.parent / "list.csv")]) == 2
    said = capsys.readouterr().err
    assert "missing there: recipe.yaml, manifest.json, documents/, annotations/" in said
    assert "baseline: the lists name 1 document, in train-00000-of-00002.parquet (1)" in said
    assert "strict: the lists name 1 document, in train-00000-of-00001.parquet (1)" in said
    assert "clean: the lists name none of its documents" in said and "Nothing was changed" in said
    assert contents(copied) == before


def test_one_variant_alone(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = Path(shutil.copytree(copied / "corpora" / "strict", tmp_path / "alone"))
    assert list(corpora_below(str(alone))) == [str(alone)]
    assert main(["optout", "apply", str(alone), str(copied.parent / "list.csv")]) == 2
    assert "alone: the lists name 1 document," in capsys.readouterr().err


def test_a_run_without_its_documents(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left is no reason to read the sources again."""
    for name in ("recipe.yaml", "manifest.json"):
        (copied / name).write_text('{"stages": {"a": {"shards": [{"path": "annotations/x/part-00000.parquet"}]}}}')
    assert missing_parts(str(copied)) == ["documents/", "annotations/"]
    assert main(["optout", "apply", str(copied), str(copied.parent / "list.csv")]) == 2
    assert "missing there: documents/, annotations/" in capsys.readouterr().err


def test_a_wrong_list_is_told_first(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "list.csv").write_text("nonsense\n")
    assert main(["optout", "apply", str(copied), str(copied / "list.csv")]) == 2
    assert "list.csv:1: the first line must name the columns" in capsys.readouterr().err


def test_a_whole_run_lacks_nothing(tmp_path: Path) -> None:
    for name in RUN_PARTS:
        (tmp_path / name).mkdir()
    (tmp_path / "annotations").rmdir()
    (tmp_path / "manifest.json").rmdir()
    (tmp_path / "manifest.json").write_text('{"stages": {}}')  # a run without annotators
    assert missing_parts(str(tmp_path)) == [] and corpora_below(str(tmp_path)) == {}
