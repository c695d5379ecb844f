from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import REJECTED_SCHEMA
from pipelines.ingest import rejected_batch
from pipelines.manifest import Books, code_fingerprint, digest, shards_of
from pipelines.shards import write_shard
from pipelines.stages import Stage, StageError

counts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))
books = st.builds(Books, st.integers(0, 99), st.integers(0, 99), counts, counts)


@given(books, books, books)
def test_adding_books_is_a_sum_of_counts(a: Books, b: Books, c: Books) -> None:
    total = (a + b) + c
    assert total.to_json() == (c + (b + a)).to_json()
    assert total.read == a.read + b.read + c.read
    assert Books.from_json(total.to_json()).to_json() == total.to_json()


def test_books_balance_only_when_every_item_has_one_end() -> None:
    assert Books(6, 3, {"empty": 2}, {"truncated": 1}).balanced
    assert not Books(6, 3, {"empty": 2}, {}).balanced


def record(path: str = "documents/part-00000.parquet", sha256: str = "0", **books_: int) -> dict[str, object]:
    books_json = Books(books_.get("read", 1), books_.get("kept", 1), {}, {}).to_json()
    return {"path": path, "rows": 1, "bytes": 1, "sha256": sha256, "books": books_json}


def test_a_shard_that_a_retry_wrote_again_counts_once() -> None:
    assert len(shards_of([record(), record()])) == 1


def test_two_contents_under_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="written twice"):
        shards_of([record(), record(sha256="1")])


def stage(**changes: object) -> Stage:
    fields: dict[str, object] = {
        "name": "ingest",
        "directory": "documents",
        "inputs": {"web": "1"},
        "options": {"limits": [1, 2]},
        "modules": ("pipelines.documents",),
    }
    return Stage(**{**fields, **changes})  # type: ignore[arg-type]


def finish(output: Path, one: Stage) -> None:
    (output / "documents").mkdir(exist_ok=True)
    (output / "documents/part-00000.parquet").write_bytes(b"x")
    one.finish(str(output), [record()], {})


def test_a_stage_is_done_iff_inputs_options_and_code_are_the_same(tmp_path: Path) -> None:
    finish(tmp_path, stage())
    assert stage().finished(str(tmp_path)) is not None
    assert stage(inputs={"web": "2"}).finished(str(tmp_path)) is None
    assert stage(options={"limits": [1, 3]}).finished(str(tmp_path)) is None
    assert stage(modules=("pipelines.shards",)).finished(str(tmp_path)) is None


def test_a_stage_is_not_done_where_a_shard_is_gone_or_cut(tmp_path: Path) -> None:
    finish(tmp_path, stage())
    (tmp_path / "documents/part-00000.parquet").write_bytes(b"")
    assert stage().finished(str(tmp_path)) is None


def test_books_that_do_not_balance_write_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="do not balance"):
        stage().finish(str(tmp_path), [record(read=2)], {})
    assert not (tmp_path / "documents/_manifest.json").exists()


def test_too_many_errors_fail_the_stage_and_name_each(tmp_path: Path) -> None:
    bad = {**record(), "books": Books(10, 7, {}, {"truncated": 2, "binary": 1}).to_json()}
    refused = {"path": "rejected/part-00000.parquet"}
    (tmp_path / "rejected").mkdir()
    rows = [("a.gz", "s", "ingest", "truncated", "gzip: is cut off"), ("b", "s", "ingest", "binary", "NUL")]
    write_shard(str(tmp_path / refused["path"]), REJECTED_SCHEMA, [rejected_batch(rows)])
    told = (
        r"30\.00%.*rejected \(1 binary, 2 truncated\); the first: a.gz: gzip: is cut off; `gristmill inspect .*` shows"
    )
    with pytest.raises(StageError, match=told):
        stage(max_error_rate=0.1).finish(str(tmp_path), [bad, refused], {})


def test_the_fingerprint_changes_with_the_files_of_a_package() -> None:
    assert code_fingerprint("pipelines.documents") != code_fingerprint("pipelines.shards")
    assert code_fingerprint("pipelines.documents", "pipelines.shards") == code_fingerprint(
        "pipelines.shards", "pipelines.documents"
    )


def test_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
