"""JSON lines and Parquet."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import DOCUMENT_SCHEMA, doc_id
from pipelines.readers import Document, Limits, Rejected, Source, plan_units, read_unit
from pipelines.readers.records import Refused
from pipelines.readers.rows import document_from_row

ROWS: list[dict[str, Any]] = [
    {"id": "a-1", "text": "one text", "url": "http://a.org/", "stars": 5, "topics": ["x", "y"], "none": None},
    {"doc_id": "given", "id": "other", "text": "two\n", "kind": "prose", "meta": {"k": "v", "n": 1}},
    {"text": "three", "language": "en", "timestamp": "2020-01-01"},
    {"id": 7, "text": "four", "path": "a/b.py", "programming_language": "Python", "source": "theirs"},
]

STRINGS = pa.map_(pa.string(), pa.string())


def check(documents: list[Document]) -> None:
    first, second, third, fourth = documents
    assert (first.doc_id, first.url, first.kind) == ("a-1", "http://a.org/", "web")
    assert first.meta == {"stars": "5", "topics": '["x", "y"]'}
    assert (second.doc_id, second.kind, second.text) == ("given", "prose", "two\n")
    assert second.meta == {"id": "other", "k": "v", "n": "1"}
    assert third.doc_id == doc_id("s", third.locator)
    assert (third.language, third.timestamp) == ("en", "2020-01-01")
    assert (fourth.doc_id, fourth.path, fourth.programming_language) == ("7", "a/b.py", "Python")
    assert fourth.source == "s" and fourth.meta == {"source": "theirs"}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".json.gz"])
def test_jsonl(tmp_path: Path, read_all: Any, suffix: str) -> None:
    data = "\ufeff".encode() + "".join(json.dumps(row) + "\n\n" for row in ROWS).encode()
    if suffix.endswith("gz"):  # two members, as `cat a.gz b.gz` makes
        data = gzip.compress(data[:100]) + gzip.compress(data[100:])
    elif suffix.endswith("zst"):
        compress = zstandard.ZstdCompressor().compress
        data = compress(data[:100]) + compress(data[100:])
    (tmp_path / f"rows{suffix}").write_bytes(data)
    documents = read_all(tmp_path, "jsonl")
    check(documents)
    assert [d.locator for d in documents] == [f"rows{suffix}#{line}" for line in (1, 3, 5, 7)]


def test_parquet(tmp_path: Path, read_all: Any) -> None:
    columns = {key for row in ROWS for key in row} - {"id", "meta"}
    table = pa.table(
        {key: [row.get(key) for row in ROWS] for key in sorted(columns)}
        | {"id": [None if row.get("id") is None else str(row["id"]) for row in ROWS]}
        | {"meta": pa.array([[("k", "v"), ("n", "1")] if r.get("meta") else [] for r in ROWS], STRINGS)}
    )
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    check(read_all(tmp_path, "parquet"))


def test_a_document_shard_is_read_back_as_it_was(tmp_path: Path, read_all: Any) -> None:
    row = {name: f"value of {name}" for name in DOCUMENT_SCHEMA.names} | {"meta": {"a": "b"}}
    pq.write_table(pa.Table.from_pylist([row], DOCUMENT_SCHEMA), tmp_path / "part-00000.parquet")
    (document,) = read_all(tmp_path, "parquet")
    for name in set(DOCUMENT_SCHEMA.names) - {"source", "meta"}:
        assert getattr(document, name) == row[name]
    assert document.meta == {"a": "b", "source": "value of source"}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"text": "cut', "bad_json"),
        (b"[1]", "bad_json"),
        (b"7", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "bad_json"),
        (b"\0\0\0", "bad_json"),
        (b'{"id": "x"}', "missing_text"),
        (b'{"text": null}', "missing_text"),
        (b'{"text": ["a"]}', "missing_text"),
        (b'{"text": "\xff"}', "undecodable"),
        (b'{"text": "a", "id": ""}', "invalid_id"),
        (b'{"text": "a", "id": true}', "invalid_id"),
        (b'{"text": "a", "id": 1.5}', "invalid_id"),
        (b'{"text": "a", "id": "\\ud800"}', "invalid_id"),
        (b'{"text": "a", "id": "' + b"x" * 2000 + b'"}', "invalid_id"),
    ],
)
def test_a_bad_line_is_one_item(tmp_path: Path, outcomes: Any, line: bytes, error: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n' + line + b'\n{"text": "good"}')
    assert outcomes(tmp_path, "jsonl") == {"a.jsonl#1": "web", "a.jsonl#2": error, "a.jsonl#3": "web"}


def test_a_text_with_a_lone_surrogate_is_refused_and_one_with_nul_is_kept_as_it_is(
    tmp_path: Path, read_all: Any, outcomes: Any
) -> None:
    lines = '{"text": "a\\ud800b"}\n{"text": "a\\u0000b \\ud83d\\ude00", "x\\udfff": "\\ud800"}\n'
    (tmp_path / "a.jsonl").write_text(lines)
    assert outcomes(tmp_path, "jsonl") == {"a.jsonl#1": "undecodable", "a.jsonl#2": "web"}
    document = read_all(tmp_path, "jsonl")[1]
    assert document.text == "a\0b \U0001f600"
    assert document.meta == {"x\ufffd": "\ufffd"}


def test_an_empty_text_is_a_document(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "x", "text": ""}\n{"id": "y", "text": "  "}\n')
    assert [(d.doc_id, d.text) for d in read_all(tmp_path, "jsonl")] == [("x", ""), ("y", "  ")]


def test_the_kind_of_the_row_wins_over_that_of_the_source(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "kind": "code"}\n{"text": "b"}\n')
    assert [d.kind for d in read_all(tmp_path, "jsonl", document_kind="conversation")] == [
        "code",
        "conversation",
    ]


def test_duplicate_ids(tmp_path: Path, outcomes: Any) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "x", "text": "a"}\n{"id": "x", "text": "b"}\n{"id": "y", "text": "a"}\n')
    assert outcomes(tmp_path, "jsonl") == {
        "a.jsonl#1": "web",
        "a.jsonl#2": "duplicate_id",
        "a.jsonl#3": "web",
    }


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2", "xz"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.999])
def test_a_cut_compressed_file_says_so(tmp_path: Path, read_all: Any, kind: str, keep: float) -> None:
    import bz2
    import lzma

    data = "".join(json.dumps({"text": f"line {i} {hash_text(i)}"}) + "\n" for i in range(3000)).encode()
    compress = {
        "gz": gzip.compress,
        "zst": zstandard.ZstdCompressor().compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }
    packed = compress[kind](data)
    (tmp_path / f"a.jsonl.{kind}").write_bytes(packed[: int(len(packed) * keep)])
    *documents, last = read_all(tmp_path, "jsonl")
    assert isinstance(last, Rejected) and last.error == "truncated"
    assert [d.locator for d in documents] == [f"a.jsonl.{kind}#{i + 1}" for i in range(len(documents))]
    if keep > 0.9 and kind != "bz2":
        assert len(documents) > 1400  # zstd decodes whole blocks of 128 KiB


def hash_text(number: int) -> str:
    import hashlib

    return hashlib.sha256(str(number).encode()).hexdigest()


def test_a_line_over_the_limit_costs_only_itself(tmp_path: Path, outcomes: Any) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "' + "b" * 5000 + '"}\n{"text": "c"}\n')
    assert outcomes(tmp_path, "jsonl", Limits(max_item_bytes=1000)) == {
        "a.jsonl#1": "web",
        "a.jsonl#2": "too_large",
        "a.jsonl#3": "web",
    }


def test_parquet_damage(tmp_path: Path, outcomes: Any) -> None:
    table = pa.table({"text": [f"{i} {hash_text(i)}" for i in range(3000)]})
    pq.write_table(table, tmp_path / "good.parquet", row_group_size=1000, write_page_checksum=True)
    good = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "good.parquet").unlink()
    second = pq.ParquetFile(pa.BufferReader(good)).metadata.row_group(1).column(0).data_page_offset
    damaged = bytearray(good)
    damaged[second + 1000 : second + 1100] = b"\xff" * 100
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    found = outcomes(tmp_path / "damaged.parquet", "parquet")
    assert found["damaged.parquet#1000"] == "broken_record"  # the rest of row group 1
    assert sum(value == "web" for value in found.values()) == 2000
    (tmp_path / "cut.parquet").write_bytes(good[:-50])
    assert outcomes(tmp_path / "cut.parquet", "parquet") == {"cut.parquet": "truncated"}
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "body.parquet")
    assert outcomes(tmp_path / "body.parquet", "parquet") == {"body.parquet": "missing_text"}


def test_row_groups_of_a_large_file_are_read_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(
        pa.table({"text": [f"{i} {hash_text(i)}" for i in range(1000)]}),
        tmp_path / "a.parquet",
        row_group_size=70,
    )
    source = Source("s", "parquet", (str(tmp_path),))
    whole = [item for unit in plan_units(source) for item in read_unit(unit)]
    monkeypatch.setattr("pipelines.readers.parquet.RANGE_BYTES", 20_000)
    units = plan_units(source)
    assert len(units) > 3
    assert [item for unit in units for item in read_unit(unit)] == whole
    assert len(whole) == 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "id", "doc_id", "kind", "meta", "url", "path", "x", "\ud800"]), JSON))
def test_any_row_is_a_document_or_refused(row: dict[str, Any]) -> None:
    try:
        document = document_from_row(row, "a#1", "s", None)
    except Refused:
        return
    except Exception as error:
        assert type(error).__name__ == "Skipped"
        return
    columns = {name: getattr(document, name) for name in DOCUMENT_SCHEMA.names if name != "meta"}
    pa.RecordBatch.from_pylist([columns | {"meta": list(document.meta.items())}], schema=DOCUMENT_SCHEMA)
