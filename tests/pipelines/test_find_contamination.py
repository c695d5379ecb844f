"""Decontamination end to end: what is planted is found, the books balance, the same bytes on every way."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from dedup.contamination import COSMOPEDIA, GPT3, STARCODER2, Contamination, build_contamination_index
from dedup.contamination_sets import read_sets
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.find_contamination import FindContamination, build_find_contamination
from pipelines.shards import write_shard
from quality_signals.model_files import ModelFileError
from tests.corpus import prose

ITEMS = [" ".join(prose(900 + i, 3).split()) for i in range(6)]
METHODS = (STARCODER2, GPT3, COSMOPEDIA)
# Item 0 stands in 12 documents, beyond what counts as a leak; item 1 in 2.
PLANTED = {**{3 * i: 0 for i in range(12)}, 40: 1, 41: 1, 42: 2}


def write_documents(output: Path, shards: int = 3) -> None:
    rng = random.Random(5)
    rows = []
    for i in range(60):
        text = prose(i, 40)
        if i in PLANTED:
            item = ITEMS[PLANTED[i]]
            text = text[:1200] + " " + (item if i % 2 else item.replace(" ", "\n")) + " " + text[1200:]
        rows.append({"doc_id": f"d{i:03d}", "source": f"s{i % 2}", "kind": "web", "text": text, "meta": []})
    rng.shuffle(rows)
    for shard in range(shards):
        batch = pa.RecordBatch.from_pylist(rows[shard::shards], schema=DOCUMENT_SCHEMA)
        write_shard(str(output / "documents" / f"part-{shard:05d}.parquet"), DOCUMENT_SCHEMA, [batch])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sets")
    (folder / "items.jsonl").write_text("".join(json.dumps({"t": item}) + "\n" for item in ITEMS))
    (folder / "sets.yaml").write_text("sets:\n  planted: {path: items.jsonl, fields: [t]}\n")
    build_contamination_index(folder / "index.zip", read_sets(None, str(folder / "sets.yaml"), str(folder)))
    return str(folder / "index.zip")


def run(output: Path, find: FindContamination, *arguments: str) -> list[dict[str, Any]]:
    records: list[bytes] = []
    path = output / "records"
    options = PipelineOptions(["--runner=FnApiRunner", *arguments])
    with beam.Pipeline(runner="FnApiRunner", options=options) as pipeline:
        built = build_find_contamination(pipeline, find)
        _ = built | "Lines" >> beam.Map(bytes.decode) | "Out" >> beam.io.WriteToText(str(path))
    for part in sorted(output.glob("records-*")):
        records += part.read_bytes().splitlines()
        part.unlink()
    return sorted(map(json.loads, records), key=lambda record: record.get("path", ""))


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def found(index: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    output = tmp_path_factory.mktemp("found")
    write_documents(output)
    return output, run(output, FindContamination(str(output), 3, index, METHODS, "evals"))


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    shards = sorted((output / "annotations" / "evals").glob("part-*.parquet"))
    return {row["doc_id"]: row for shard in shards for row in pq.read_table(shard).to_pylist()}


def test_planted_items_are_found(found: tuple[Path, list[dict[str, Any]]]) -> None:
    rows = rows_of(found[0])
    assert len(rows) == 60
    for i in range(60):
        row = rows[f"d{i:03d}"]
        assert row["keep"] == (i not in PLANTED) and (row["items"] > 0) == (i in PLANTED)
        if i in PLANTED:
            assert {(hit["set"], hit["item"]) for hit in row["hits"]} == {("planted", str(PLANTED[i]))}
            assert row["rule"] == STARCODER2
            told = {hit["method"] for hit in row["hits"]}
            # 13-grams in more than 10 documents are no leak to GPT-3's method, and others do not care.
            assert told == ({STARCODER2, COSMOPEDIA} if PLANTED[i] == 0 else set(METHODS))


def test_without_a_limit_common_runs_count(index: str, tmp_path: Path) -> None:
    write_documents(tmp_path)
    run(tmp_path, FindContamination(str(tmp_path), 3, index, (GPT3,), "evals", common_documents=None))
    rows = rows_of(tmp_path)
    assert {i for i in range(60) if rows[f"d{i:03d}"]["items"]} == set(PLANTED)
    assert all(row["keep"] for row in rows.values())  # they only lose what stands around
    assert {i for i in range(60) if rows[f"d{i:03d}"]["edits"]} == set(PLANTED)


def test_books_and_report(found: tuple[Path, list[dict[str, Any]]]) -> None:
    output, records = found
    books = [record["books"] for record in records if "books" in record]
    assert sum(b["read"] for b in books) == 60 and sum(b["kept"] for b in books) == 60 - len(PLANTED)
    assert sum(b["dropped"].get(STARCODER2, 0) for b in books) == len(PLANTED)
    report = json.loads((output / "annotations/evals/report.json").read_text())
    (summary,) = [record["summary"] for record in records if "summary" in record]
    assert summary == report["documents"] == {"read": 60, "hit": len(PLANTED), "dropped": len(PLANTED)}
    hits = report["methods"][STARCODER2]["sets"]["planted"]["hits"]
    assert hits == {"0": {"s0": 6, "s1": 6}, "1": {"s0": 1, "s1": 1}, "2": {"s0": 1}}
    assert set(report["common_grams"].values()) == {12} and len(report["common_grams"]) > 5
    assert "planted" in (output / "annotations/evals/report.md").read_text()
    names = {record["path"] for record in records if "path" in record}
    assert names == {f"annotations/evals/{name}" for name in bytes_below(output / "annotations/evals")}


def test_the_rows_are_those_of_the_annotator(found: tuple[Path, list[dict[str, Any]]], index: str) -> None:
    output = found[0]
    documents = pq.read_table(output / "documents/part-00001.parquet").combine_chunks().to_batches()[0]
    common = tuple(json.loads((output / "annotations/evals/report.json").read_text())["common_grams"])
    expected = Contamination(index, METHODS, common).annotate(documents)
    written = pq.read_table(output / "annotations/evals/part-00001.parquet").drop_columns("doc_id").to_pylist()
    assert written == expected.to_pylist()


@pytest.mark.parametrize("way", ["memory", "repeat"])
def test_the_same_bytes_on_every_way(
    found: tuple[Path, list[dict[str, Any]]], index: str, tmp_path: Path, way: str
) -> None:
    write_documents(tmp_path)
    find = FindContamination(str(tmp_path), 3, index, METHODS, "evals", exchange="memory" if way != "repeat" else None)
    records = run(tmp_path, find, *(["--direct_runner_bundle_repeat=1"] if way == "repeat" else []))
    assert bytes_below(tmp_path / "annotations") == bytes_below(found[0] / "annotations")
    assert {json.dumps(r, sort_keys=True) for r in records} == {json.dumps(r, sort_keys=True) for r in found[1]}


def test_no_documents(index: str, tmp_path: Path) -> None:
    records = run(tmp_path, FindContamination(str(tmp_path), 0, index, (GPT3,)))
    assert {"read": 0, "hit": 0, "dropped": 0} in [record.get("summary") for record in records]
    (folder,) = (tmp_path / "annotations").iterdir()
    assert folder.name.startswith("contamination@")


def test_wrong_options(index: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        FindContamination(str(tmp_path), 1, str(tmp_path / "none.zip"))
    for options, message in (
        ({"methods": ("x",)}, "method is 'x'"),
        ({"common_documents": -1}, "common_documents is -1"),
        ({"exchange": "disk"}, "exchange is 'disk'"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"workers": 0}, "workers is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            FindContamination(str(tmp_path), 1, index, **options)
