from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.engines import graph_problems, pipeline_options
from pipelines.errors import UsageError
from pipelines.manifest import Books
from pipelines.parcels import Parcel
from pipelines.recipe_models import LocalEngine
from pipelines.shape_documents import ShapeDocuments, ShapeInput, build_shape_documents, graph, plan, shape_summary
from pipelines.shapes import Dropped, Shaped
from pipelines.shards import row_count, write_shard
from pipelines.stages import run_pipeline
from tests.conftest import document_batch


@dataclasses.dataclass(frozen=True)
class Joined:
    """Files of a repository, in the order of their paths."""

    name: str = "joined@1"

    def key(self, row: Mapping[str, Any]) -> str | None:
        if row["path"] == "bad-key":
            raise KeyError("no key")
        return row["repo"]

    def order(self, row: Mapping[str, Any]) -> Any:
        return (row["path"] or "",)

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Any:
        if any(row["text"] == "refuse" for row in rows):
            return Dropped("short")
        if any(row["text"] == "fail" for row in rows):
            raise ZeroDivisionError("division by zero")
        text = f"{seed}:" + "|".join(row["text"] for row in rows)
        return Shaped(text, {"stars": rows[0]["meta"].get("stars", "0")}, "repository")


@dataclasses.dataclass(frozen=True)
class Loud(Joined):
    """Documents alone, in capitals."""

    name: str = "loud@2"

    def key(self, row: Mapping[str, Any]) -> str | None:
        return None

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Any:
        (row,) = rows
        return Shaped(row["text"].upper(), {}, row["kind"])


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "known_shapes", lambda: {each.name: each for each in (Joined(), Loud())})


def write(folder: Path, rows: Sequence[dict[str, Any]], files: int = 2) -> tuple[str, ...]:
    paths = []
    for number in range(files):
        path = str(folder / f"part-{number}.parquet")
        write_shard(path, DOCUMENT_SCHEMA, [document_batch(*rows[number::files])] if rows[number::files] else [])
        paths.append(path)
    return tuple(paths)


def shaped(output: Path, *inputs: tuple[str, tuple[str, ...]], shapes: Any = None, **asked: Any) -> Any:
    """(records, documents by label, members)."""
    asked["shapes"] = tuple(sorted((shapes or {"*": ("joined@1",)}).items()))
    read = tuple(ShapeInput(label, files, tuple(row_count(f) for f in files)) for label, files in inputs)
    wanted = ShapeDocuments(str(output), str(output / "shaped"), read, **asked)
    wanted.check()
    records = run_pipeline(
        str(output), "shaped", lambda p: build_shape_documents(p, wanted), pipeline_options(LocalEngine())
    )
    rows = {
        label: [row for path in sorted((output / "shaped" / "data").glob(f"{label}-*")) for row in rows_of(path)]
        for label, _ in inputs
    }
    members = [row for path in sorted((output / "shaped" / "members.parquet.parts").iterdir()) for row in rows_of(path)]
    return records, rows, members


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def books(records: list[dict[str, Any]]) -> Books:
    return sum((Books.from_json(record["books"]) for record in records), Books())


def repository(name: str | None, *texts: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"doc_id": f"{name}-{i}", "repo": name, "path": f"{i:02d}.py", "text": text, "kind": "code", **more}
        for i, text in enumerate(texts)
    ]


def test_what_a_shape_needs_is_looked_for_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Needy(Loud):
        def check(self) -> None:
            raise ImportError("needy@1 needs more: install gristmill[more]")

    monkeypatch.setattr(plan, "known_shapes", lambda: {"joined@1": Joined(), "needy@1": Needy("needy@1")})
    files = write(tmp_path, repository("one", "a"))
    with pytest.raises(UsageError, match=r"shape of code: needy@1 needs more: install gristmill\[more\]"):
        shaped(tmp_path, ("train", files), shapes={"code": ("joined@1", "needy")})


def test_documents_that_belong_together_become_one(tmp_path: Path) -> None:
    rows = [
        *repository("one", "a", "b", "c", language="en", meta=[("stars", "7")]),
        *repository("two", "d"),
        *repository(None, "alone"),
    ]
    records, found, members = shaped(tmp_path, ("train", write(tmp_path, rows[::-1])), seed=5)
    texts = {row["text"]: row for row in found["train"]}
    assert {*texts} == {"5:a|b|c", "5:alone", "5:d"}
    one = texts["5:a|b|c"]
    assert one["kind"] == "repository" and one["repo"] == "one" and one["path"] is None and one["language"] == "en"
    assert dict(one["meta"]) == {"shape": "joined@1", "members": "3", "stars": "7"}
    assert texts["5:d"]["path"] == "00.py" and len(one["doc_id"]) == 32
    assert books(records) == Books(5, 3, {"merged_into": 2})
    of_one = [m for m in members if m["shaped_id"] == one["doc_id"]]
    assert [(m["doc_id"], m["place"], m["fate"]) for m in of_one] == [
        ("one-0", 0, "kept"),
        ("one-1", 1, "merged_into"),
        ("one-2", 2, "merged_into"),
    ]
    assert sorted(m["doc_id"] for m in members) == sorted(row["doc_id"] for row in rows)
    summary = shape_summary(records)
    assert summary["train"] == {"documents": 3, "text_bytes": 7 + 7 + 3}
    assert summary["by_shape"] == {"joined@1": {"documents": 5, "kept": 3, "merged_into": 2}}


def test_what_a_shape_drops_or_fails_on_is_in_the_books(tmp_path: Path) -> None:
    rows = [*repository("r", "x", "refuse"), *repository("f", "fail", "y", "z"), *repository("g", "good")]
    rows += [{"doc_id": "k", "path": "bad-key", "text": "t", "kind": "code"}]
    records, found, members = shaped(tmp_path, ("train", write(tmp_path, rows)))
    assert [row["text"] for row in found["train"]] == ["0:good"]
    assert books(records) == Books(7, 1, {"short": 2}, {"ZeroDivisionError": 3, "KeyError": 1})
    (refused,) = [r["path"] for r in records if r["path"].startswith("rejected/")]
    assert refused == "rejected/shaped-part-00000.parquet"
    told = {row["id"]: (row["stage"], row["error"], row["message"]) for row in rows_of(tmp_path / refused)}
    assert told["f-1"] == ("shape/joined@1", "ZeroDivisionError", "division by zero")
    assert told["k"] == ("shape/joined@1", "KeyError", "'no key'") and len(told) == 4
    fates = {m["doc_id"]: (m["fate"], m["shaped_id"]) for m in members}
    assert fates["r-1"] == ("short", None) and fates["f-2"] == ("ZeroDivisionError", None) and len(members) == 7


def test_shapes_are_chosen_by_source_then_kind(tmp_path: Path) -> None:
    rows = [
        *repository("one", "a", "b", source="files"),
        *repository("two", "c", "d", source="others"),
        {
            "doc_id": "w",
            "kind": "web",
            "source": "pages",
            "text": "page",
            "url": "https://a.example",
            "meta": [("k", "v")],
        },
    ]
    shapes = {"files": ("joined",), "code": ("loud@2",)}
    records, found, members = shaped(tmp_path, ("train", write(tmp_path, rows)), shapes=shapes)
    assert sorted(row["text"] for row in found["train"]) == ["0:a|b", "C", "D", "page"]
    (page,) = [row for row in found["train"] if row["text"] == "page"]
    assert page["doc_id"] == "w" and page["url"] == "https://a.example" and dict(page["meta"]) == {"k": "v"}
    assert [m["shape"] for m in members if m["doc_id"] == "w"] == [None]
    summary = shape_summary(records)
    assert summary["asked"] == {"": 1, "code": 2, "files": 2}
    assert summary["by_shape"]["loud@2"] == {"documents": 2, "kept": 2}


def test_the_first_shape_that_has_a_key_takes_a_document(tmp_path: Path) -> None:
    rows = [*repository("one", "a", "b"), *repository(None, "c")]
    _, found, _ = shaped(tmp_path, ("train", write(tmp_path, rows)), shapes={"*": ("loud", "joined")})
    assert sorted(row["text"] for row in found["train"]) == ["0:a|b", "0:c"]
    _, found, _ = shaped(tmp_path, ("train", write(tmp_path, rows)), shapes={"*": ("joined", "loud")})
    assert sorted(row["text"] for row in found["train"]) == ["0:a|b", "C"]


def test_what_is_held_out_never_meets_what_is_trained_on(tmp_path: Path) -> None:
    train = write(tmp_path / "t", repository("one", "a", "b"))
    held_out = write(tmp_path / "h", [{**row, "doc_id": f"h{i}"} for i, row in enumerate(repository("one", "c"))])
    records, found, _ = shaped(tmp_path, ("train", train), ("held_out", held_out))
    assert [row["text"] for row in found["train"]] == ["0:a|b"]
    assert [row["text"] for row in found["held_out"]] == ["0:c"]
    assert found["train"][0]["doc_id"] != found["held_out"][0]["doc_id"]
    assert shape_summary(records)["held_out"] == {"documents": 1, "text_bytes": 3}


def test_a_large_group_is_cut_between_documents(tmp_path: Path) -> None:
    rows = repository("one", "aaaa", "bbb", "cccccccccc", "d", "e")
    records, found, members = shaped(tmp_path, ("train", write(tmp_path, rows)), max_group_bytes=7)
    pieces = {dict(row["meta"]).get("piece", "0"): row for row in found["train"]}
    assert [pieces[str(i)]["text"] for i in range(3)] == ["0:aaaa|bbb", "0:cccccccccc", "0:d|e"]
    assert len({row["doc_id"] for row in found["train"]}) == 3
    assert books(records) == Books(5, 3, {"merged_into": 2})
    assert [m["place"] for m in members] == [0, 1, 0, 0, 1]


def test_licenses_of_members_are_kept(tmp_path: Path) -> None:
    import pyarrow as pa

    batch = document_batch(*repository("one", "a", "b", "c"))
    batch = batch.append_column("license", pa.array(["MIT", None, "Apache-2.0"], pa.string()))
    write_shard(str(tmp_path / "c.parquet"), batch.schema, [batch])
    _, found, _ = shaped(tmp_path, ("train", (str(tmp_path / "c.parquet"),)))
    assert json.loads(dict(found["train"][0]["meta"])["licenses"]) == ["Apache-2.0", "MIT"]


def test_a_repeated_id_alone_is_dropped_once(tmp_path: Path) -> None:
    rows = [{"doc_id": "w", "kind": "web", "text": text} for text in ("page", "page")]
    records, found, members = shaped(tmp_path, ("train", write(tmp_path, rows)), shapes={"code": ("loud",)})
    assert len(found["train"]) == 1 and books(records) == Books(2, 1, {"duplicate_id": 1}) and len(members) == 2


def test_a_place_of_a_million_characters_is_rejected(tmp_path: Path) -> None:
    rows = repository("one", "a", "b")
    rows[1]["path"] = "x" * (1 << 20)
    records, found, _ = shaped(tmp_path, ("train", write(tmp_path, rows)))
    assert [row["text"] for row in found["train"]] == ["0:a"]
    assert books(records) == Books(2, 1, {}, {"ValueError": 1})


def test_a_great_document_passes_whole(tmp_path: Path) -> None:
    rows = repository("one", "é" * (5 << 20), "end")
    _, found, _ = shaped(tmp_path, ("train", write(tmp_path, rows)))
    assert [len(row["text"]) for row in found["train"]] == [2 + (5 << 20) + 1 + 3]


def data_of(folder: Path) -> dict[str, bytes]:
    paths = [p for p in (folder / "shaped").rglob("*.parquet") if p.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def test_the_bytes_do_not_depend_on_how_the_input_lies_or_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.packing.plan.DOCUMENTS_PER_SHARD", 16)
    rng = random.Random(0)
    rows = [
        row
        for i in range(20)
        for row in repository(f"r{i}" if i % 3 else None, *(f"{rng.random()}" * rng.randint(1, 9) for _ in range(4)))
    ]
    rows = [{**row, "doc_id": f"d{i}"} for i, row in enumerate(rows)]
    more = [{**row, "doc_id": f"h{i}", "text": f"{i}"} for i, row in enumerate(rows[:20])]
    held = ("held_out", write(tmp_path / "held", more))
    shaped(tmp_path / "one", ("train", write(tmp_path / "a", rows)), held, max_group_bytes=150)
    first = data_of(tmp_path / "one")
    assert len([name for name in first if "data/train-" in name]) == 8
    rng.shuffle(rows)
    files = write(tmp_path / "b", rows, 5)
    shaped(tmp_path / "two", ("train", files), held, max_group_bytes=150, exchange="memory")
    assert data_of(tmp_path / "two") == first
    plain = graph.in_order
    monkeypatch.setattr(graph, "in_order", lambda values, rank: plain(values, rank, 200))
    shaped(tmp_path / "passes", ("train", files), held, max_group_bytes=150)
    assert data_of(tmp_path / "passes") == first
    assert not (tmp_path / "one" / "shaped" / "spill").exists()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=30), st.integers(1, 20))
def test_groups_are_cut_only_where_the_rule_says(given: list[tuple[str, int]], limit: int) -> None:
    given.sort()
    parcels = []
    for i, (group, size) in enumerate(given):
        head = json.dumps([json.dumps(["shape", group]), "shape", i, f"d{i:02d}", None, ""]).encode()
        parcels.append(Parcel(0, i, head, json.dumps({"doc_id": f"d{i:02d}", "text": "x" * size}).encode()))
    from collections import Counter

    found = list(graph._groups(parcels, limit, Counter()))
    assert [row["doc_id"] for each in found for row in each.rows] == [f"d{i:02d}" for i in range(len(given))]
    for each, behind in zip(found, found[1:], strict=False):
        assert len(each.rows) == 1 or each.bytes <= limit
        if each.key == behind.key:
            assert behind.piece == each.piece + 1
            assert each.bytes + len(behind.rows[0]["text"]) > limit
        else:
            assert behind.piece == 0


def test_wrong_shapes_and_files_are_named(tmp_path: Path) -> None:
    files = write(tmp_path, [])
    with pytest.raises(UsageError, match="unknown shape 'joind'; did you mean 'joined@1'"):
        shaped(tmp_path, ("train", files), shapes={"*": ("joind",)})
    with pytest.raises(ValueError, match="max_group_bytes is 0"):
        shaped(tmp_path, ("train", files), max_group_bytes=0)
    with pytest.raises(ValueError, match="exchange is 'post'"):
        shaped(tmp_path, ("train", files), exchange="post")
    import pyarrow as pa

    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "plain.parquet")
    with pytest.raises(UsageError, match="plain.parquet: has no column doc_id, source, kind, url"):
        shaped(tmp_path, ("train", (str(tmp_path / "plain.parquet"),)))


def test_the_graph_runs_on_every_engine(tmp_path: Path) -> None:
    files = write(tmp_path, [])
    for mode in ("memory", "files"):
        pipeline = beam.Pipeline(options=pipeline_options(LocalEngine()))
        asked = ShapeDocuments("/o", "/o/s", (ShapeInput("train", files, (0, 0)),), (), exchange=mode)  # type: ignore[arg-type]
        build_shape_documents(pipeline, asked)
        assert graph_problems(pipeline) == []
