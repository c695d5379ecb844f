"""Dedup against an index: truth by brute force, both ways, next versions, wrong indexes, the same bytes always."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import given, settings
from hypothesis import strategies as st

import dedup
from dedup.bands import PAIR
from dedup.index import EXACT_TAG, MOST_PAIRED, Records, best_pairs, cross_pairs, similarity
from dedup.jaccard import jaccard
from pipelines import storage
from pipelines.dedup_index import (
    DedupIndexError,
    IndexBuild,
    IndexUnits,
    Opened,
    QueryIndex,
    build_query_index,
    open_index,
    write_index,
)
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.errors import UsageError
from pipelines.manifest import Books, Manifest, stage_manifest
from pipelines.past import build_index
from pipelines.shards import write_shard
from tests.corpus import prose

THRESHOLD = 0.8


def changed(text: str, words: int, seed: int) -> str:
    rng = random.Random(seed)
    parts = text.split(" ")
    for place in rng.sample(range(len(parts)), words):
        parts[place] = f"x{seed}y{place}"
    return " ".join(parts)


OLD = {f"old{i:03d}": prose(i, 30) for i in range(60)} | {"olde1": "", "olde2": "too short"}
OLD |= {"oldcopy": OLD["old005"], "oldnear": changed(OLD["old006"], 2, 1)}
NEW = {f"new{i:03d}": prose(1000 + i, 30) for i in range(30)}
NEW |= {f"near{i:03d}": changed(OLD[f"old{i:03d}"], 1 + i // 2, 50 + i) for i in range(20)}
NEW |= {"same1": OLD["old005"], "same2": "too short", "same3": OLD["old059"], "newempty": "", "twin": NEW["new003"]}


def write_run(output: Path, texts: dict[str, str], shards: int, annotator: str = "minhash@1") -> Path:
    made = dedup.ANNOTATORS[annotator]()
    schema = pa.schema([DOCUMENT_SCHEMA.field("doc_id"), *made.schema])
    rows = [{"doc_id": d, "source": f"s{len(t) % 2}", "kind": "web", "text": t, "meta": []} for d, t in texts.items()]
    for shard in range(shards):
        batch = pa.RecordBatch.from_pylist(rows[shard::shards], schema=DOCUMENT_SCHEMA)
        columns = pa.RecordBatch.from_arrays([batch.column("doc_id"), *made.annotate(batch).columns], schema=schema)
        name = f"part-{shard:05d}.parquet"
        write_shard(str(output / "documents" / name), DOCUMENT_SCHEMA, [batch])
        write_shard(str(output / "annotations" / annotator / name), schema, [columns])
    return output


def build(index: IndexBuild, parent: Opened | None = None) -> Opened:
    records = [record for unit in index.units for record in IndexUnits(index).run(unit)]
    return write_index(index, records, parent)


def query(output: Path, asked: QueryIndex, *arguments: str) -> list[dict[str, Any]]:
    options = PipelineOptions(["--runner=FnApiRunner", *arguments])
    with beam.Pipeline(runner="FnApiRunner", options=options) as pipeline:
        built = build_query_index(pipeline, asked)
        _ = built | "Lines" >> beam.Map(bytes.decode) | "Out" >> beam.io.WriteToText(str(output / "records"))
    lines = []
    for part in sorted(output.glob("records-*")):
        lines += part.read_text().splitlines()
        part.unlink()
    return sorted(map(json.loads, lines), key=lambda record: record.get("path", ""))


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    shards = sorted((output / "annotations" / "past").glob("part-*.parquet"))
    return {row["doc_id"]: row for shard in shards for row in pq.read_table(shard).to_pylist()}


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("old"), OLD, 2)


@pytest.fixture(scope="module")
def index(old: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("index") / "v1")
    assert build(IndexBuild(str(old), 2, folder)).documents == len(OLD)
    return folder


@pytest.fixture(scope="module")
def found(index: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    output = write_run(tmp_path_factory.mktemp("new"), NEW, 3)
    return output, query(output, QueryIndex(str(output), 3, index, name="past"))


def truth() -> dict[str, dict[str, float]]:
    """New document -> documents of the index that are similar enough -> similarity."""
    sets = dict(zip([*OLD, *NEW], dedup.shingle_sets(pa.array([*OLD.values(), *NEW.values()])), strict=True))
    pairs: dict[str, dict[str, float]] = {new: {} for new in NEW}
    for new, known in itertools.product(NEW, OLD):
        measured = 1.0 if NEW[new] == OLD[known] else jaccard(sets[new], sets[known])
        if measured >= THRESHOLD:
            pairs[new][known] = measured
    return pairs


def test_what_the_index_holds_is_found_with_exact_similarity(found: tuple[Path, list[dict[str, Any]]]) -> None:
    rows, true = rows_of(found[0]), truth()
    assert list(NEW) == sorted(rows, key=list(NEW).index) and 15 < sum(map(bool, true.values())) < len(NEW) - 20
    for new, near in true.items():
        row = rows[new]
        assert (row["duplicate_of"] is None) == (not near)
        if near:
            assert row["similarity"] == max(near.values()) == near[row["duplicate_of"]]
            assert row["estimated"] is False and len(row["index"]) == 12
        else:
            assert row["similarity"] is row["estimated"] is row["index"] is None
    assert rows["same1"]["duplicate_of"] == "oldcopy"  # of two equal copies the first in the index
    assert rows["same2"]["duplicate_of"] == "olde2"
    assert rows["newempty"]["duplicate_of"] == "olde1"  # equal texts, though empty
    assert rows["twin"]["duplicate_of"] is None  # duplicates among the new are not this search's


def test_evidence_and_books(found: tuple[Path, list[dict[str, Any]]]) -> None:
    output, records = found
    rows = rows_of(output)
    evidence = pq.read_table(output / "annotations/past/evidence.parquet").to_pylist()
    assert [row["dropped_id"] for row in evidence] == sorted(d for d, row in rows.items() if row["duplicate_of"])
    for row in evidence:
        own = rows[row["dropped_id"]]
        assert (own["duplicate_of"], own["similarity"]) == (row["kept_id"], row["similarity"])
        assert (row["band"] == "exact") == (NEW[row["dropped_id"]] == OLD[row["kept_id"]])
    books = [record["books"] for record in records if "books" in record]
    assert sum(b["read"] for b in books) == len(NEW)
    assert (
        sum(b["dropped"].get("in_index", 0) for b in books) == len(evidence) == len(NEW) - sum(b["kept"] for b in books)
    )
    assert {r["path"] for r in records if "path" in r} == {
        f"annotations/past/{name}" for name in bytes_below(output / "annotations/past")
    }


def test_report_tells_both_ways(found: tuple[Path, list[dict[str, Any]]]) -> None:
    report = json.loads((found[0] / "annotations/past/report.json").read_text())
    true = truth()
    covered = {known for near in true.values() for known in near}
    assert {"oldcopy", "oldnear"} & covered
    new, known = report["new_in_index"], report["index_in_new"]
    assert (new["documents"], new["covered"]) == (len(NEW), sum(map(bool, true.values())))
    assert (known["documents"], known["covered"]) == (len(OLD), len(covered))
    for side, texts, hit in ((new, NEW, {n for n, near in true.items() if near}), (known, OLD, covered)):
        for source in ("s0", "s1"):
            own = {d for d, t in texts.items() if f"s{len(t) % 2}" == source}
            assert side["sources"][source] == {"documents": len(own), "covered": len(own & hit)}
    (summary,) = [record["summary"] for record in found[1] if "summary" in record]
    assert summary == {
        "new": len(NEW),
        "new_in_index": new["covered"],
        "index": len(OLD),
        "index_in_new": known["covered"],
    }


def test_the_texts_of_the_index_are_not_read(
    old: Path, index: str, found: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(index, moved)
    assert open_index(str(moved)).name == open_index(index).name
    output = write_run(tmp_path / "new", NEW, 3)
    query(output, QueryIndex(str(output), 3, str(moved), name="past"))
    assert bytes_below(output / "annotations/past") == bytes_below(found[0] / "annotations/past")


@pytest.mark.parametrize("way", ["memory", "repeat"])
def test_the_same_bytes_on_every_way(
    found: tuple[Path, list[dict[str, Any]]], index: str, tmp_path: Path, way: str
) -> None:
    output = write_run(tmp_path, NEW, 3)
    asked = QueryIndex(str(output), 3, index, name="past", exchange="memory" if way == "memory" else None, workers=4)
    records = query(output, asked, *(["--direct_runner_bundle_repeat=1"] if way == "repeat" else []))
    assert bytes_below(output / "annotations/past") == bytes_below(found[0] / "annotations/past")
    assert records == found[1]


def test_order_and_shards_of_the_new_do_not_matter(
    found: tuple[Path, list[dict[str, Any]]], index: str, tmp_path: Path
) -> None:
    ids = sorted(NEW, key=lambda d: (NEW[d][::-1], d))
    output = write_run(tmp_path, {d: NEW[d] for d in ids}, 5)
    query(output, QueryIndex(str(output), 5, index, name="past"))
    assert rows_of(output) == rows_of(found[0])
    for name in ("evidence.parquet", "report.json"):
        assert (output / "annotations/past" / name).read_bytes() == (found[0] / "annotations/past" / name).read_bytes()


def test_sketches_estimate_and_say_so(old: Path, tmp_path: Path) -> None:
    opened = build(IndexBuild(str(old), 2, str(tmp_path / "index"), proof="sketch"))
    output = write_run(tmp_path / "new", NEW, 3)
    query(output, QueryIndex(str(output), 3, opened.folder, name="past"))
    rows = rows_of(output)
    sets = dict(zip([*OLD, *NEW], dedup.shingle_sets(pa.array([*OLD.values(), *NEW.values()])), strict=True))
    near = {d: row for d, row in rows.items() if row["duplicate_of"] and NEW[d] != OLD[row["duplicate_of"]]}
    assert len(near) > 5 and all(row["estimated"] for row in near.values())
    errors = [row["similarity"] - jaccard(sets[d], sets[row["duplicate_of"]]) for d, row in near.items()]
    assert max(map(abs, errors)) < 4 * np.sqrt(0.8 * 0.2 / 128)
    assert rows["same1"]["estimated"] is False and rows["same1"]["similarity"] == 1.0
    assert json.loads((output / "annotations/past/report.json").read_text())["estimated"] is True


@pytest.mark.parametrize("annotator", ["minhash@datasketch", "minhash@bigcode-v2", "minhash@datatrove", "minhash@rpv2"])
def test_other_signatures(annotator: str, tmp_path: Path) -> None:
    write_run(tmp_path / "old", OLD, 2, annotator)
    opened = build(IndexBuild(str(tmp_path / "old"), 2, str(tmp_path / "index"), annotator))
    output = write_run(tmp_path / "new", NEW, 2, annotator)
    query(output, QueryIndex(str(output), 2, opened.folder, name="past"))
    rows = rows_of(output)
    assert {"same1", "same2", "same3", "newempty", "near000"} <= {d for d, row in rows.items() if row["duplicate_of"]}
    assert not any(rows[d]["duplicate_of"] for d in rows if d.startswith("new0"))


def test_the_next_version(index: str, found: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    parent = open_index(index, verify=True)
    names = []
    for folder in ("v2", "again"):
        asked = IndexBuild(str(found[0]), 3, str(tmp_path / folder), without=("past",), first=parent.shards)
        opened = build(asked, parent)
        names.append(opened.name)
        assert opened.told["parents"] == [parent.name] and opened.shards == 5
    assert bytes_below(tmp_path / "v2") == bytes_below(tmp_path / "again") and names[0] == names[1] != parent.name
    rows = [row for shard in range(5) for row in pq.read_table(opened.part(shard)).to_pylist()]
    dropped = {d for d, row in rows_of(found[0]).items() if row["duplicate_of"]}
    assert sorted(row["doc_id"] for row in rows) == sorted({*OLD, *NEW} - dropped)
    # All of the new is in the next version now.
    output = write_run(tmp_path / "new", NEW, 3)
    query(output, QueryIndex(str(output), 3, str(tmp_path / "v2"), name="past"))
    assert all(row["duplicate_of"] and row["similarity"] >= 0.8 for row in rows_of(output).values())


def test_nothing_against_nothing(index: str, old: Path, tmp_path: Path) -> None:
    records = query(tmp_path, QueryIndex(str(tmp_path), 0, index, name="past"))
    assert {"new": 0, "new_in_index": 0, "index": len(OLD), "index_in_new": 0} in [r.get("summary") for r in records]
    empty = build(IndexBuild(str(old), 0, str(tmp_path / "empty")))
    output = write_run(tmp_path / "new", NEW, 1)
    query(output, QueryIndex(str(output), 1, empty.folder, name="past"))
    assert not any(row["duplicate_of"] for row in rows_of(output).values())


def test_wrong_indexes_are_named(index: str, old: Path, tmp_path: Path) -> None:
    def broken(change: Any) -> str:
        folder = tmp_path / f"i{len(list(tmp_path.iterdir()))}"
        shutil.copytree(index, folder)
        change(folder)
        return str(folder)

    def told(**changes: Any) -> Any:
        def change(folder: Path) -> None:
            path = folder / "index.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

        return change

    cut = broken(lambda f: (f / "part-00001.parquet").write_bytes((f / "part-00001.parquet").read_bytes()[:-1]))
    for folder, message in (
        (str(tmp_path / "none"), "no index there"),
        (broken(lambda f: (f / "index.json").write_text("{")), "is damaged"),
        (broken(lambda f: (f / "index.json").write_text("{}")), "is not the description of an index"),
        (broken(lambda f: (f / "part-00001.parquet").unlink()), r"part-00001.parquet: is missing or not of"),
        (cut, "is missing or not of"),
        (broken(told(version=9)), "version 9, known is 1"),
        (broken(told(probe="0")), "with other probe; build it anew"),
        (broken(told(bands=[1, 2])), "with other bands"),
        (broken(told(annotator="minhash@9")), "annotator is 'minhash@9'"),
    ):
        with pytest.raises(UsageError, match=message):
            QueryIndex(str(tmp_path), 1, folder)
    with pytest.raises(DedupIndexError, match="similarities of 0.8 and more, asked for is 0.7"):
        QueryIndex(str(tmp_path), 1, index, threshold=0.7)
    flipped = broken(
        lambda f: (f / "part-00000.parquet").write_bytes((f / "part-00000.parquet").read_bytes()[:-9] + b"123456789")
    )
    open_index(flipped)
    with pytest.raises(DedupIndexError, match="sha256 is not what"):
        open_index(flipped, verify=True)
    with pytest.raises(DedupIndexError, match="proof is full, the new part has sketch"):
        build(IndexBuild(str(old), 2, str(tmp_path / "v2"), proof="sketch", first=2), open_index(index))
    with pytest.raises(DedupIndexError, match="has 2 parts, the new ones begin at 0"):
        build(IndexBuild(str(old), 2, str(tmp_path / "v2")), open_index(index))
    with pytest.raises(UsageError, match=r"annotations/past/part-00000.parquet does not exist"):
        build(IndexBuild(str(old), 2, str(tmp_path / "v2"), without=("past",)))
    with pytest.raises(UsageError, match="proof is 'some'"):
        IndexBuild(str(old), 2, index, proof="some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threshold is 0.0"):
        QueryIndex(str(tmp_path), 1, index, threshold=0.0)


CHINESE = "今天天气很好，我们去公园散步。孩子们在湖边放风筝，老人们在树下下棋。第"


def write_chinese_run(output: Path, own: str | None, found: str | None) -> Path:
    """Three documents whose language the source calls `own` and an annotator `found`, as a finished run."""
    made = dedup.ANNOTATORS["minhash@datatrove"]()
    rows: list[dict[str, Any]] = [
        {
            "doc_id": f"d{i}",
            "source": "s",
            "kind": "web",
            "text": CHINESE + f"{i}页",
            "meta": [],
            "language": own,
        }
        for i in range(3)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    language = pa.array([own or found] * 3, pa.string())
    signed = made.annotate(pa.record_batch({"text": batch.column("text"), "language": language}))
    folders = {
        "documents": batch,
        "annotations/minhash@datatrove": pa.record_batch(
            [batch.column("doc_id"), *signed.columns], names=["doc_id", *signed.schema.names]
        ),
        "annotations/language@1": pa.record_batch(
            {"doc_id": batch.column("doc_id"), "language": pa.array([found] * 3, pa.string())}
        ),
    }
    for folder, columns in folders.items():
        shard = write_shard(str(output / folder / "part-00000.parquet"), columns.schema, [columns])
        shards = (shard.record(str(output)),)
        stage = Manifest(folder, {}, {}, "", {}, Books(3, 3, {}), shards, {})
        storage.write_bytes(stage_manifest(str(output), folder), storage.canonical_json(stage.to_json()))
    return output


def test_an_index_is_made_in_the_languages_that_were_found(tmp_path: Path) -> None:
    """The shingles of the index are those of the signatures: words are split as the found language splits them."""
    runs = {"known": ("zh", "zh"), "found": (None, "zh"), "none": (None, None)}
    made = {}
    for name, (own, found) in runs.items():
        run = write_chinese_run(tmp_path / name, own, found)
        build_index(
            str(run), str(tmp_path / f"{name}.idx"), PipelineOptions(["--runner=FnApiRunner"]),
            annotator="minhash@datatrove", threshold=0.75,
        )  # fmt: skip
        made[name] = bytes_below(tmp_path / f"{name}.idx")
    assert made["found"] == made["known"] != made["none"]


# -- the pure part -----------------------------------------------------------------------------------------

records = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=25, unique=True)


@settings(deadline=None)
@given(records, records)
def test_cross_pairs_are_all_pairs(new: list[tuple[int, int]], old: list[tuple[int, int]]) -> None:
    before, behind = (
        Records(np.array([k << 8 | 3 for k, _ in side], np.uint64), np.array([a for _, a in side], np.uint64))
        for side in (new, old)
    )
    expected = sorted((a, b) for (k, a), (m, b) in itertools.product(new, old) if k == m)
    for most in (1, 3, 1 << 20):
        arrays = list(cross_pairs(before, behind, bands=True, max_pairs=most))
        found = np.concatenate(arrays) if arrays else np.empty(0, PAIR)
        assert sorted(zip(found["first"].tolist(), found["second"].tolist(), strict=True)) == expected
        assert set(found["tag"].tolist()) <= {3}


def test_boilerplate_gives_few_pairs() -> None:
    many = Records(np.zeros(1000, np.uint64), np.arange(1000, dtype=np.uint64)[::-1].copy())
    (pairs,) = cross_pairs(Records(np.zeros(3, np.uint64), np.arange(3, dtype=np.uint64)), many, bands=False)
    assert pairs.size == 3 * MOST_PAIRED and pairs["second"].max() == MOST_PAIRED - 1
    assert set(pairs["tag"].tolist()) == {EXACT_TAG}


def test_best_pairs() -> None:
    rows = [(1, 9, 2, 0.9), (1, 8, 3, 0.9), (1, 7, 1, 0.8), (2, 5, 1, 1.0), (1, 8, 1, 0.9), (2, 9, EXACT_TAG, 1.0)]
    found = np.array(rows, np.dtype([*PAIR.descr, ("similarity", "<f8")]))
    for order in itertools.permutations(range(6)):
        assert best_pairs(found[list(order)]).tolist() == [(1, 8, 1, 0.9), (2, 9, EXACT_TAG, 1.0)]
    with pytest.raises(ValueError, match="3 and 2 positions"):
        similarity(np.zeros(3, np.uint64), np.zeros(2, np.uint64), "sketch")
