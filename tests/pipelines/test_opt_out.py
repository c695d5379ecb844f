"""Which shards a changed list touches, and what a document's going leaves behind."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from licenses import OptOut
from licenses.opt_out import Entry
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.ingest import document_shard
from pipelines.opt_out import OptedOut, Tombstone, id_sha256, read_tombstones, tombstone_batch, touched_shards
from pipelines.shards import equal_batches, write_shard
from tests.conftest import document_batch

DAY = datetime.date(2026, 1, 2)


def entries(field: str, *values: str, date: datetime.date = DAY) -> OptOut:
    return OptOut(tuple(Entry(field, value, date, "r", line) for line, value in enumerate(values)))


def write(output: Path, shards: int, documents: int) -> None:
    for index in range(shards):
        rows = [{"doc_id": f"{index}-{row}", "text": "a"} for row in range(documents)]
        write_shard(document_shard(str(output), index), DOCUMENT_SCHEMA, [document_batch(*rows)])


def test_a_thousand_ids_touch_the_shards_that_hold_them(tmp_path: Path) -> None:
    write(tmp_path, 100, 40)
    wanted = {7, 8, 55}
    named = entries("id", *(f"{index}-{row}" for index in wanted for row in range(40)), *(f"x{i}" for i in range(880)))
    assert len(named.entries) == 1_000
    assert touched_shards(str(tmp_path), range(100), named, {}) == wanted


def test_a_wish_that_was_carried_out_touches_nothing_and_one_taken_back_its_shard(tmp_path: Path) -> None:
    write(tmp_path, 3, 4)
    stones: dict[str, Tombstone] = {}
    for index in range(3):
        batch = document_batch(*[{"doc_id": f"{index}-{row}", "text": "a"} for row in range(4)])
        stones |= OptedOut.of(entries("id", "1-2", "2-0"), batch).tombstones(batch.column("doc_id"))
    assert list(stones) == [id_sha256("1-2"), id_sha256("2-0")]
    write_shard(str(tmp_path / "t.parquet"), tombstone_batch(stones).schema, [tombstone_batch(stones)])
    stones = read_tombstones(str(tmp_path / "t.parquet"))
    shards = range(3)
    assert touched_shards(str(tmp_path), shards, entries("id", "1-2", "2-0"), stones) == set()
    assert touched_shards(str(tmp_path), shards, entries("id", "1-2"), stones) == {2}
    assert touched_shards(str(tmp_path), shards, None, stones) == {1, 2}
    another_day = entries("id", "1-2", "2-0", date=datetime.date(2026, 5, 5))
    assert touched_shards(str(tmp_path), shards, another_day, stones) == {1, 2}, "a tombstone names the day"


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(1, 9))
def test_equal_batches_depend_on_the_rows_alone(sizes: list[int], rows: int) -> None:
    whole = pa.record_batch({"n": pa.array(range(sum(sizes)), pa.int64())})
    given_batches = [whole.slice(sum(sizes[:i]), size) for i, size in enumerate(sizes)]
    found = list(equal_batches(given_batches, rows))
    assert [n for batch in found for n in batch["n"].to_pylist()] == list(range(sum(sizes)))
    assert all(batch.num_rows == rows for batch in found[:-1])
    assert found == list(equal_batches([whole], rows))
