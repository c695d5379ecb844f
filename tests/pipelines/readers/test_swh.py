"""Exports of Software Heritage: columns, contents beside them, and what may be wrong with either."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import orc

from pipelines.readers import Document, Dropped, Limits, Rejected, Source, plan_units, read_unit
from pipelines.readers.reading import Reading
from pipelines.readers.records import Refused, Skipped
from pipelines.readers.swh import LAYOUTS, document_of
from pipelines.readers.units import Unit, UnitFile

WHEN = datetime.datetime(2023, 9, 6, 1, 2, 3)
LATIN = "naïve = 'é'\n"
NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": "a = 1", "outputs": []}], "metadata": {}})


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def git_name(data: bytes) -> str:
    return sha1(b"blob %d\0" % len(data) + data)


def row(path: str, data: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "blob_id": sha1(data), "directory_id": "d" * 40, "path": path, "content_id": git_name(data),
        "detected_licenses": ["MIT"], "license_type": "permissive", "repo_name": "own/name", "snapshot_id": "e" * 40,
        "revision_id": "f" * 40, "branch_name": "refs/heads/main", "visit_date": WHEN, "revision_date": WHEN,
        "committer_date": WHEN, "github_id": 12, "star_events_count": 5, "fork_events_count": 2,
        "gha_license_id": "MIT",
        "src_encoding": "UTF-8", "language": "Python", "is_vendor": False, "is_generated": True,
        "length_bytes": len(data), "extension": path.rpartition(".")[2], **changes,
    }  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    table = pa.Table.from_pylist(rows)
    (orc.write_table if path.suffix == ".orc" else pq.write_table)(table, path)
    return path


def store(folder: Path, *contents: bytes, layout: str = "{0}", packed: bool = True) -> Path:
    for data in contents:
        name = sha1(data)
        path = folder / layout.format(name, name[2:], name[4:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if packed else data)
    return folder


def read(path: Path, contents: Path | None = None, limits: Limits | None = None, **options: str) -> list[Any]:
    given = {**options, **({"contents": str(contents)} if contents else {})}
    units = plan_units(Source("s", "swh", (str(path),), options=tuple(given.items())))
    return [item for unit in units for item in read_unit(unit, limits or Limits())]


@pytest.mark.parametrize("suffix", ["parquet", "orc"])
def test_columns(tmp_path: Path, suffix: str) -> None:
    data = b"print(1)\r\n"
    (item,) = read(write(tmp_path / f"a.{suffix}", [row("/src/a.py", data)]), store(tmp_path / "contents", data))
    assert item.locator == f"a.{suffix}#0" and item.text == "print(1)\r\n" and item.kind == "code"
    assert (item.repo, item.path, item.commit) == ("own/name", "src/a.py", "f" * 40)
    assert item.timestamp == "2023-09-06T01:02:03Z" and item.programming_language == "Python"
    assert item.swhid == f"swh:1:cnt:{git_name(data)}" and item.content_sha256 == hashlib.sha256(data).hexdigest()
    assert item.meta.items() >= {
        "blob_id": sha1(data), "detected_licenses": "MIT", "license": "MIT", "license_type": "permissive",
        "stars": "5", "star_events_count": "5", "forks": "2", "is_vendor": "false", "is_generated": "true",
        "visit_date": "2023-09-06T01:02:03Z", "snapshot_id": "e" * 40, "directory_id": "d" * 40, "github_id": "12",
        "src_encoding": "UTF-8", "extension": "py", "length_bytes": str(len(data)), "gha_license_id": "MIT",
        "branch_name": "refs/heads/main", "language": "Python",
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("detected", "stated", "want"),
    [
        (["MIT", "Apache-2.0"], None, ("permissive", ["Apache-2.0", "MIT"])),
        (["MIT", "GPL-3.0-only"], None, ("non_permissive", ["GPL-3.0-only", "MIT"])),
        ([], None, ("no_license", [])),
        (["GPL-3.0-only"], "MIT", ("permissive", ["GPL-3.0-only"])),
    ],
)
def test_the_licence_rule_reads_them(
    tmp_path: Path, detected: list[str], stated: str | None, want: tuple[str, list[str]]
) -> None:
    from licenses.stack_v2 import StackV2Licenses

    table = pa.Table.from_pylist(
        [row("a.py", b"x", content="x", detected_licenses=detected, gha_license_id=stated)],
        schema=pa.schema([
            ("path", pa.string()), ("content", pa.string()), ("detected_licenses", pa.list_(pa.string())),
            ("gha_license_id", pa.string()),
        ]),
    )  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    (item,) = read(tmp_path / "a.parquet")
    batch = pa.RecordBatch.from_arrays(
        [pa.array([item.kind]), pa.array([list(item.meta.items())], pa.map_(pa.string(), pa.string()))],
        ["kind", "meta"],
    )
    judged = StackV2Licenses().annotate(batch).to_pylist()[0]
    assert (judged["license_type"], judged["detected_licenses"]) == want


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("packed", [True, False])
def test_layouts_of_a_store(tmp_path: Path, layout: str, packed: bool) -> None:
    contents = [b"a = 1\n", b"b = 2\n", gzip.compress(b"inner")]  # the last is gzip by itself, and binary
    path = write(tmp_path / "a.parquet", [row("a.py", data) for data in contents])
    items = read(path, store(tmp_path / "contents", *contents, layout=layout, packed=packed))
    assert [item.text for item in items[:2]] == ["a = 1\n", "b = 2\n"]
    assert isinstance(items[2], Rejected) and items[2].error in ("binary", "undecodable")


def test_content_in_the_row(tmp_path: Path) -> None:
    utf8, latin = b"a = 1\n", LATIN.encode("latin-1")
    rows = [
        row("a.py", utf8, content=utf8.decode()),
        row("b.py", latin, content=LATIN, src_encoding="ISO-8859-1"),
        row("c.py", b"\xef\xbb\xbfx", content="x"),
        row("d.py", b"other", content="changed"),
        row("e.py", b"\xff", content="\ufffd", src_encoding="EUC-JP"),
    ]
    items = read(write(tmp_path / "a.parquet", rows))
    assert [getattr(item, "error", "") for item in items] == ["", "", "", "broken_record", ""]
    assert items[1].swhid == f"swh:1:cnt:{git_name(latin)}" and items[1].text == LATIN
    assert items[2].content_sha256 == hashlib.sha256(b"\xef\xbb\xbfx").hexdigest()
    assert items[4].swhid is None and items[4].content_sha256 is None  # the bytes are gone
    table = pa.Table.from_pylist(
        [row("a.py", latin, content=latin, src_encoding="ISO-8859-1"), row("a.py", utf8, content=b"no")]
    )
    pq.write_table(table, tmp_path / "b.parquet")
    items = read(tmp_path / "b.parquet")
    assert items[0].text == LATIN and items[1].error == "broken_record"


def test_what_is_wrong(tmp_path: Path) -> None:
    data = b"a = 1\n"
    contents = store(tmp_path / "contents", data, b"", b"x" * 5000, NOTEBOOK.encode(), b"{no")
    wrong = "9" * 40
    (contents / wrong).write_bytes(gzip.compress(b"another"))
    cut = "8" * 40
    (contents / cut).write_bytes(gzip.compress(b"another" * 100)[:-9])
    bomb = "7" * 40
    (contents / bomb).write_bytes(gzip.compress(b"\0" * 30_000_000))
    (tmp_path / "secret").write_bytes(b"secret")
    (contents / sha1(b"secret")).symlink_to(tmp_path / "secret")
    rows = [
        row("a.py", data), row("gone.py", b"gone"), row("w.py", data, blob_id=wrong), row("c.py", data, blob_id=cut),
        row("b.py", data, blob_id=bomb), row("l.py", b"secret"), row("e.py", b""), row("x.py", b"x" * 5000),
        row("y.py", data, length_bytes=7), row("z.py", data, blob_id="no name", content_id=None), row("i.png", data),
        row("../a.py", data), row("n.ipynb", NOTEBOOK.encode()), row("m.ipynb", b"{no"),
        row("v.py", data, length_bytes=10**9),
    ]  # fmt: skip
    path = write(tmp_path / "a.parquet", rows)
    items = read(path, contents, Limits(max_code_bytes=1000))
    found = [
        item.error if isinstance(item, Rejected) else item.reason if isinstance(item, Dropped) else "" for item in items
    ]
    assert found == [
        "", "missing_content", "broken_record", "truncated", "too_large", "unsafe_link", "empty", "too_large",
        "wrong_length", "missing_content", "asset", "path_traversal", "", "bad_json", "too_large",
    ]  # fmt: skip
    assert items[12].text == "a = 1" and items[12].kind == "notebook"
    (book,) = [i for i in read(path, contents, notebook="json") if isinstance(i, Document) and i.kind == "notebook"]
    assert book.text == NOTEBOOK
    assert Counter(getattr(item, "error", "") for item in read(path))["missing_content"] == 12


@pytest.mark.parametrize("suffix", ["parquet", "orc"])
def test_broken_files(tmp_path: Path, suffix: str) -> None:
    data = write(tmp_path / f"a.{suffix}", [row("a.py", b"x", content="x")] * 50).read_bytes()
    for broken, error in ((data[:-30], "truncated"), (b"nothing at all", "broken_record")):
        (tmp_path / f"b.{suffix}").write_bytes(broken)
        (item,) = read(tmp_path / f"b.{suffix}")
        assert isinstance(item, Rejected) and item.error == error
    spoilt = bytearray(data)
    spoilt[8:200] = b"\xaa" * 192
    (tmp_path / f"c.{suffix}").write_bytes(spoilt)
    assert all(isinstance(item, Document | Rejected) for item in read(tmp_path / f"c.{suffix}"))
    write(tmp_path / f"d.{suffix}", [{"a": 1}])
    (item,) = read(tmp_path / f"d.{suffix}")
    assert item.error == "missing_content"


def test_row_groups_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"{i}.py", b"x%d" % i, content=f"x{i}") for i in range(100)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)
    whole = read(path)
    monkeypatch.setattr("pipelines.readers.parquet.RANGE_BYTES", 4)
    assert len(plan_units(Source("s", "swh", (str(path),)))) == 10
    assert read(path) == whole


def test_rows_of_an_orc_file_are_read_in_order_over_its_stripes(tmp_path: Path) -> None:
    rows = [row(f"{i}.py", b"x%d" % i, content=f"x{i}") for i in range(1000)]
    writer = orc.ORCWriter(str(tmp_path / "a.orc"), stripe_size=1024, batch_size=64)
    for at in range(0, 1000, 50):
        writer.write(pa.Table.from_pylist(rows[at : at + 50]))
    writer.close()
    assert orc.ORCFile(tmp_path / "a.orc").nstripes > 1
    items = read(tmp_path / "a.orc")
    assert [(item.locator, item.text) for item in items] == [(f"a.orc#{i}", f"x{i}") for i in range(1000)]


def test_an_orc_bomb_is_stopped(tmp_path: Path) -> None:
    with orc.ORCWriter(str(tmp_path / "a.orc"), compression="zlib") as writer:
        for _ in range(40):
            writer.write(pa.table({"path": ["a.txt"], "content": ["a" * 1_000_000]}))
    assert (tmp_path / "a.orc").stat().st_size < 1_000_000
    items = read(tmp_path / "a.orc", limits=Limits(ratio_floor_bytes=10_000_000, max_ratio=1))
    assert items[-1].error == "zip_bomb" and 0 < len(items) - 1 < 12
    assert items[-1].locator == f"a.orc#{len(items) - 1}"


CELL = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
    | st.lists(st.text(max_size=3), max_size=2) | st.datetimes()
    | st.sampled_from(["a.py", "n.ipynb", "UTF-8", "7" * 40])
)  # fmt: skip
COLUMNS = st.sampled_from(
    "path content text blob_id content_id src_encoding length_bytes detected_licenses repo_name revision_id "
    "committer_date language star_events_count x".split()
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(COLUMNS, CELL))
def test_any_row_is_a_document_dropped_or_refused(values: dict[str, Any]) -> None:
    file = UnitFile("a.parquet", "a.parquet", 1)
    reading = Reading(Unit("s", "swh", (file,)))
    try:
        document = document_of(values, "a.parquet#0", reading, None)
    except (Refused, Skipped):
        return
    for text in (document.text, document.repo, document.path, document.commit, document.timestamp):
        (text or "").encode()
    assert all(isinstance(each, str) and each.encode() for each in document.meta.values())
    assert document.programming_language is None or isinstance(document.programming_language, str)
