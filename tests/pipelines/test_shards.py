from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import shards
from pipelines.shards import ShardWriter, read_aligned, read_batches, split_by_bytes, write_shard

SCHEMA = pa.schema([("doc_id", pa.string()), ("text", pa.large_string())])


def batch(first: int, rows: int, chars: int = 10) -> pa.RecordBatch:
    ids = [f"d{i}" for i in range(first, first + rows)]
    return pa.RecordBatch.from_arrays([pa.array(ids), pa.array(["x" * chars] * rows, pa.large_string())], schema=SCHEMA)


def test_the_record_tells_what_lies_on_the_disk(tmp_path: Path) -> None:
    shard = write_shard(f"{tmp_path}/out/part-00000.parquet", SCHEMA, [batch(0, 7), batch(7, 5)])
    raw = Path(shard.path).read_bytes()
    assert (shard.rows, shard.bytes, shard.sha256) == (12, len(raw), hashlib.sha256(raw).hexdigest())
    assert shard.record(f"{tmp_path}/out")["path"] == "part-00000.parquet"


def test_equal_rows_give_equal_bytes_however_they_are_batched(tmp_path: Path) -> None:
    one = write_shard(f"{tmp_path}/a.parquet", SCHEMA, [batch(0, 3000)])
    many = write_shard(f"{tmp_path}/b.parquet", SCHEMA, [batch(i * 100, 100) for i in range(30)])
    assert one.sha256 == many.sha256


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        with ShardWriter(f"{tmp_path}/a.parquet", SCHEMA) as writer:
            writer.write(batch(0, 10))
            raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_another_schema_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.parquet"):
        write_shard(f"{tmp_path}/a.parquet", SCHEMA, [pa.record_batch({"doc_id": ["x"]})])


def test_an_empty_shard_is_a_shard(tmp_path: Path) -> None:
    shard = write_shard(f"{tmp_path}/a.parquet", SCHEMA, [])
    assert shard.rows == 0 and list(read_batches(shard.path)) == []
    assert pq.read_table(shard.path).schema.names == SCHEMA.names


def test_row_groups_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 10_000)
    shard = write_shard(f"{tmp_path}/a.parquet", SCHEMA, [batch(i * 10, 10, 1000) for i in range(10)])
    assert pq.ParquetFile(shard.path).metadata.num_row_groups > 5


@given(rows=st.integers(0, 60), chars=st.integers(0, 300), limit=st.integers(1, 4000))
def test_split_by_bytes_keeps_all_rows_in_order(rows: int, chars: int, limit: int) -> None:
    whole = batch(0, rows, chars)
    parts = list(split_by_bytes(whole, limit))
    assert [i for part in parts for i in part.column("doc_id").to_pylist()] == whole.column("doc_id").to_pylist()
    assert all(part.nbytes <= limit or part.num_rows == 1 for part in parts)


def test_read_aligned_joins_rows_across_different_batch_borders(tmp_path: Path) -> None:
    documents = write_shard(f"{tmp_path}/d.parquet", SCHEMA, [batch(0, 2500, 2000)])
    notes = pa.schema([("doc_id", pa.string()), ("n", pa.int64())])
    rows = pa.RecordBatch.from_arrays([[f"d{i}" for i in range(2500)], list(range(2500))], schema=notes)
    annotation = write_shard(f"{tmp_path}/n.parquet", notes, [rows])
    seen = []
    for document, known in read_aligned(documents.path, {"n": annotation.path}):
        assert document.num_rows == known["n"].num_rows
        seen += known["n"].column("n").to_pylist()
    assert seen == list(range(2500))


@pytest.mark.parametrize("rows, message", [(3, "too early"), (5, "more rows")])
def test_read_aligned_refuses_another_number_of_rows(tmp_path: Path, rows: int, message: str) -> None:
    documents = write_shard(f"{tmp_path}/d.parquet", SCHEMA, [batch(0, 4)])
    annotation = write_shard(f"{tmp_path}/n.parquet", SCHEMA, [batch(0, rows)])
    with pytest.raises(ValueError, match=message):
        list(read_aligned(documents.path, {"n": annotation.path}))


def test_read_aligned_refuses_rows_of_other_documents(tmp_path: Path) -> None:
    documents = write_shard(f"{tmp_path}/d.parquet", SCHEMA, [batch(0, 4)])
    annotation = write_shard(f"{tmp_path}/n.parquet", SCHEMA, [batch(1, 4)])
    with pytest.raises(ValueError, match="do not belong"):
        list(read_aligned(documents.path, {"n": annotation.path}))
