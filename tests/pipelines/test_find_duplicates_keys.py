"""Which copy stays, what counts as an exact copy, whose signatures are read, and what a past dump has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedup.bands import Bands
from dedup.bloom import BloomFileError, BloomFilter
from pipelines.find_duplicates import FindDuplicates, build_find_duplicates
from pipelines.find_duplicates.candidates import signature_rows
from pipelines.find_duplicates.filters import BuildFilter, MarkSeen
from tests.pipelines.duplicates_fixture import search, write_columns

LONG = " ".join(f"w{i}" for i in range(60))


@pytest.mark.parametrize(
    "keep,kept",
    [
        ("longest", "a"),
        ("smallest_id", "a"),
        (["meta.stars desc"], "c"),
        ([{"column": "source", "values": ["books", "wiki"]}, "meta.stars desc"], "d"),
        (["timestamp desc"], "b"),
        (["score@1.score desc"], "d"),
        (["score@1.score asc"], "a"),
        (["url"], "b"),
        (["length", "meta.stars"], "b"),
    ],
)
def test_which_copy_stays(keep: Any, kept: str, tmp_path: Path) -> None:
    rows = [
        {"doc_id": "a", "source": "web", "meta": [("stars", "9")], "timestamp": "2020-01-01", "url": "z", "score": 0.1},
        {"doc_id": "b", "source": "web", "meta": [("stars", "2")], "timestamp": "2021-01-01", "url": "x", "score": 0.2},
        {"doc_id": "c", "source": "web", "meta": [("stars", "10")], "timestamp": None, "url": None, "score": 0.3},
        {"doc_id": "d", "source": "books", "meta": [], "timestamp": "x", "url": "y", "score": 0.4},
    ]
    write_columns(tmp_path, [{**row, "text": LONG} for row in rows])
    method = "minhash" if isinstance(keep, str) or len(keep) > 1 else "exact"
    result = search(tmp_path, FindDuplicates(str(tmp_path), 2, method=method, keep=keep))
    assert {row["kept_id"] for row in result.evidence} == {kept} and len(result.evidence) == 3


def test_the_longest_is_known_from_the_measured_pairs(tmp_path: Path) -> None:
    """Also of a copy of the longest text, of which only the first was measured."""
    rows = [("d", LONG), ("c", LONG + " and more"), ("b", LONG + " and more"), ("e", LONG + " x")]
    write_columns(tmp_path, [{"doc_id": d, "text": text} for d, text in rows])
    result = search(tmp_path, FindDuplicates(str(tmp_path), 2))
    assert {row["kept_id"] for row in result.evidence} == {"b"}


KEYED = [
    {"doc_id": "a", "text": LONG, "url": "https://www.x.org/p/", "content_sha256": "1", "repo": "r"},
    {"doc_id": "b", "text": LONG.upper().replace(" ", "  "), "url": "http://x.org/p?ref=z", "content_sha256": "2"},
    {"doc_id": "c", "text": "other", "url": "http://x.org/p", "content_sha256": "1"},
    {"doc_id": "d", "text": LONG, "url": None, "content_sha256": None, "repo": "r"},
    {"doc_id": "e", "text": "x", "url": None, "content_sha256": None, "meta": [("k", "7")]},
    {"doc_id": "f", "text": "y", "meta": [("k", "7")]},
]


@pytest.mark.parametrize(
    "method,clusters,similarities",
    [
        ("exact", ["ad"], {"d": 1.0}),
        ("exact_text", ["ad"], {"d": 1.0}),
        ("exact_text@plain", ["abd"], {"b": 1.0, "d": 1.0}),
        ("exact_url@tfds", ["abc"], {"b": 1.0, "c": 0.0}),
        ("exact_content", ["ac"], {"c": 0.0}),
        ("exact_column:repo", ["ad"], {"d": 1.0}),
        ("exact_column:meta.k", ["ef"], {"f": 0.0}),
        ("exact_column:score@1.score", ["abcdef"], {"b": 1.0, "c": 0.0, "d": 1.0, "e": 0.0, "f": 0.0}),
    ],
)
def test_keys(method: str, clusters: list[str], similarities: dict[str, float], tmp_path: Path) -> None:
    write_columns(tmp_path, KEYED)
    result = search(tmp_path, FindDuplicates(str(tmp_path), 2, method=method, keep="smallest_id"))
    assert result.clusters == {frozenset(c) for c in clusters}
    assert {row["dropped_id"]: row["similarity"] for row in result.evidence} == similarities
    label = "exact" if method in ("exact", "exact_text") else method.removeprefix("exact_")
    assert {row["band"] for row in result.evidence} == {label}
    dropped = sum(books["dropped"].get("exact_duplicate", 0) for books in result.books.values())
    assert dropped == len(similarities) == result.summary["exact_copies"]


@pytest.mark.parametrize(
    "options,message",
    [
        ({"keep": ["meta.stars desc", "nothing@1.x"]}, r"column nothing@1\.x is asked for, but .* does not exist"),
        ({"keep": ["stars"]}, r"column stars is asked for; .*part-00000.parquet has doc_id, source"),
        ({"method": "exact_column:score@1.nothing"}, r"column score@1\.nothing is asked for; .* has doc_id, score"),
    ],
)
def test_columns_that_do_not_exist_stop_before_any_work(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_columns(tmp_path, KEYED)
    with pytest.raises(ValueError, match=message):
        build_find_duplicates(beam.Pipeline("FnApiRunner"), FindDuplicates(str(tmp_path), 2, **options))


@pytest.mark.parametrize(
    "options,message",
    [
        ({"method": "exact_words"}, "key is 'words'"),
        ({"method": "minhash_text"}, "method is 'minhash_text'"),
        ({"method": "minhash", "key": "content"}, "for the method exact"),
        ({"method": "exact_content", "key": "url@tfds"}, "one of them is enough"),
        ({"clusters": "cliques"}, "allowed are components, star"),
        ({"guard": "ask"}, "allowed are refuse, report, allow"),
        ({"guard_similarity": 0.9}, "allowed is 0 to the threshold"),
        ({"annotator": "minhash@rpv2", "threshold": 0.75}, "has signatures for the thresholds"),
        ({"bands_and_rows": (0, 4)}, "both must be 1 or more"),
    ],
)
def test_more_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FindDuplicates("out", 1, **options)


def big_endian(*values: int) -> list[bytes]:
    """Two bands of two positions as RedPajama stores them."""
    data = np.array(values, ">u4").tobytes()
    return [data[:8], data[8:]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1, 2, 3, 4], None, [5, 6, 7, 8], [2**32 - 1] * 4], pa.list_(pa.uint32())),
        pa.array([[1, 2, 3, 4], None, [5, 6, 7, 8], [2**32 - 1] * 4], pa.list_(pa.uint64())),
        pa.array([[[1, 2], [3, 4]], None, [[5, 6], [7, 8]], [[2**32 - 1] * 2] * 2], pa.list_(pa.list_(pa.uint64()))),
        pa.array([big_endian(1, 2, 3, 4), None, big_endian(5, 6, 7, 8), [b"\xff" * 8] * 2]),
    ],
)  # fmt: skip
def test_signatures_of_every_kind(column: pa.Array) -> None:
    for part, start in ((column, 0), (column.slice(1), 1)):
        rows, positions = signature_rows(part, Bands(2, 2))
        assert (rows + start).tolist() == [0, 2][start:]
        assert positions.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]][start:]


def test_signatures_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="unequal length"):
        signature_rows(pa.array([[1, 2], [3]]), Bands(1, 1))
    with pytest.raises(ValueError, match="2 values long"):
        signature_rows(pa.array([[1, 2]]), Bands(2, 2))


# -- filters of what was seen before -------------------------------------------------------------------------


def run_shards(transform: beam.PTransform, output: Path, shards: int) -> list[dict[str, Any]]:
    with beam.Pipeline("FnApiRunner") as pipeline:
        (
            pipeline
            | beam.Create(list(range(shards)), reshuffle=False).with_output_types(int)
            | transform
            | beam.Map(bytes.decode)
            | beam.io.WriteToText(str(output / "seen.jsonl"), num_shards=1, shard_name_template="")
        )
    return [json.loads(line) for line in (output / "seen.jsonl").read_text().splitlines()]


def test_documents_of_a_past_dump_are_marked(tmp_path: Path) -> None:
    past, new = tmp_path / "past", tmp_path / "new"
    write_columns(past, KEYED)
    write_columns(new, [{"doc_id": "p", "text": "fresh"}, {"doc_id": "q", "text": LONG}, {"doc_id": "r", "text": "x"}])
    path = str(tmp_path / "past.bloom")
    (record,) = run_shards(BuildFilter(str(past), path, 1000, 0.0001), past, 2)
    assert record["summary"]["keys_seen"] == 6
    once = (tmp_path / "past.bloom").read_bytes()
    run_shards(BuildFilter(str(past), path, 1000, 0.0001, spill_dir=str(tmp_path / "spill")), past, 2)
    assert (tmp_path / "past.bloom").read_bytes() == once
    records = run_shards(MarkSeen(str(new), path), new, 2)
    seen = [
        row
        for shard in sorted((new / "annotations" / "seen").glob("*.parquet"))
        for row in pq.read_table(shard).to_pylist()
    ]
    assert {row["doc_id"]: row["seen"] for row in seen} == {"p": False, "q": True, "r": True}
    assert sum(r["books"]["dropped"].get("seen_before", 0) for r in records) == 2
    assert {r["path"] for r in records} == {f"annotations/seen/part-0000{i}.parquet" for i in range(2)}
    run_shards(BuildFilter(str(new), str(tmp_path / "both.bloom"), 1000, 0.0001, earlier=path), new, 2)
    assert BloomFilter.load(tmp_path / "both.bloom").seen == 9


def test_documents_without_a_key_are_not_marked(tmp_path: Path) -> None:
    write_columns(tmp_path, KEYED, shards=1)
    path = str(tmp_path / "urls.bloom")
    run_shards(BuildFilter(str(tmp_path), path, 100, 0.001, key="url@tfds"), tmp_path, 1)
    run_shards(MarkSeen(str(tmp_path), path, key="url@tfds"), tmp_path, 1)
    rows = pq.read_table(tmp_path / "annotations" / "seen" / "part-00000.parquet").to_pylist()
    assert [row["seen"] for row in rows] == [True, True, True, None, None, None]


def test_a_damaged_filter_stops_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "past.bloom").write_bytes(b"nonsense")
    with pytest.raises(BloomFileError, match=r"past\.bloom is no Bloom filter"):
        run_shards(MarkSeen(str(tmp_path), str(tmp_path / "past.bloom")), tmp_path, 1)
