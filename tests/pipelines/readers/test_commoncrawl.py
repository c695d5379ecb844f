"""Common Crawl by path lists and by its index: each record once, over any file system."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.readers import (
    Document,
    Dropped,
    Item,
    PlanError,
    Rejected,
    Source,
    Unit,
    plan_units,
    read_unit,
)
from pipelines.readers import commoncrawl as module
from pipelines.readers.remote import PACKAGES, check_scheme

fsspec = pytest.importorskip("fsspec")
BODY = b"<html><body><article>" + b"<p>Some words about rivers and old bridges here.</p>" * 9 + b"</article>"
NAME = "crawl-data/CC-MAIN-2024-22/segments/1/warc/CC-MAIN-0000%d.warc.gz"
COUNT = 12


@pytest.fixture
def crawl(hostile: ModuleType, tmp_path: Path) -> Path:
    """Two WARC files of a crawl, their path list and their index."""
    rows = []
    for number in range(2):
        path = tmp_path / (NAME % number)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b""
        for i in range(COUNT):
            page = gzip.compress(hostile.response(BODY, 100 * number + i))
            rows.append({
                "url": f"http://example.org/{100 * number + i}", "url_host_name": "example.org" if i % 3 else "b.org",
                "fetch_status": 200, "content_mime_detected": "text/html" if i % 2 else "application/xhtml+xml",
                "content_languages": ("eng,deu", "deu", None)[i % 3], "warc_filename": NAME % number,
                "warc_record_offset": len(data), "warc_record_length": len(page),
            })  # fmt: skip
            data += page
        path.write_bytes(data)
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress("".join(f"{NAME % n}\n" for n in range(2)).encode()))
    # As in the crawl's own index, neighbours are of different files.
    pq.write_table(pa.Table.from_pylist(rows[::2] + rows[1::2]), tmp_path / "index.parquet", row_group_size=7)
    return tmp_path


def source(crawl: Path, name: str, prefix: str | None = None, **options: Any) -> Source:
    given = {"prefix": str(crawl) if prefix is None else prefix, **options}
    return Source("s", "commoncrawl", (str(crawl / name),), extractor="fast", options=tuple(given.items()))


def items_of(of: Source) -> list[Item]:
    units = [Unit.from_json(unit.to_json()) for unit in plan_units(of)]
    assert len({unit.unit_id for unit in units}) == len(units)
    return [item for unit in units for item in read_unit(unit)]


def whole(crawl: Path) -> dict[str, str]:
    """What the files hold, read as they are."""
    paths = tuple(str(crawl / (NAME % n)) for n in range(2))
    items = items_of(Source("s", "warc", paths, extractor="fast"))
    assert all(isinstance(item, Document) for item in items)
    return {item.url or "": item.text for item in items if isinstance(item, Document)}


@pytest.mark.parametrize("parts", [None, 1, 5])
@pytest.mark.parametrize("remote", [False, True])
def test_a_path_list_gives_every_record_once(crawl: Path, parts: int | None, remote: bool) -> None:
    prefix = _uploaded(crawl) if remote else None
    options = {} if parts is None else {"parts": parts}
    of = source(crawl, "warc.paths.gz", prefix, **options)
    assert len(plan_units(of)) == 2 * (parts or (16 if remote else 1))
    items = items_of(of)
    documents = [item for item in items if isinstance(item, Document)]
    assert {d.url or "": d.text for d in documents} == whole(crawl) and len(items) == 2 * COUNT
    assert documents[0].locator == f"{NAME % 0}#0"


@pytest.mark.parametrize("remote", [False, True])
def test_an_index_gives_the_records_that_it_names(crawl: Path, remote: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNIT_ROWS", 7)
    monkeypatch.setattr(module, "MAX_ROWS", 4)
    of = source(crawl, "index.parquet", _uploaded(crawl) if remote else None)
    assert [(unit.start, unit.stop, unit.part, unit.parts) for unit in plan_units(of)][:3] == [
        (0, 1, 0, 2),
        (0, 1, 1, 2),
        (1, 2, 0, 2),
    ]
    items = items_of(of)
    documents = [item for item in items if isinstance(item, Document)]
    assert len(items) == len(documents) == 2 * COUNT
    assert {d.url or "": d.text for d in documents} == whole(crawl)
    # The same record has the same id by either way.
    listed = items_of(source(crawl, "warc.paths.gz"))
    assert {d.doc_id for d in documents} == {item.doc_id for item in listed if isinstance(item, Document)}


def test_rows_that_are_not_selected_are_counted(crawl: Path) -> None:
    def numbers(**options: Any) -> list[int]:
        items = items_of(source(crawl, "index.parquet", **options))
        assert len(items) == 2 * COUNT
        assert {item.reason for item in items if isinstance(item, Dropped)} <= {"not_selected"}
        return sorted(int((item.url or "").rpartition("/")[2]) for item in items if isinstance(item, Document))

    assert numbers(languages=["eng"]) == [n for n in _all() if n % 100 % 3 == 0]
    assert numbers(mimes=["text/html"]) == [n for n in _all() if n % 100 % 2]
    assert numbers(hosts=["B.org"]) == [n for n in _all() if n % 100 % 3 == 0]
    assert numbers(hosts=["org"]) == _all()
    assert numbers(hosts=["example.org"], mimes=["text/html"]) == [n for n in _all() if n % 100 % 3 and n % 100 % 2]


def _all() -> list[int]:
    return [100 * number + i for number in range(2) for i in range(COUNT)]


def test_neighbours_are_read_at_once(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, int]] = []
    ranged = module._range

    def counted(path: str, start: int, stop: int, files: Any) -> bytes:
        asked.append((path, start, stop))
        return ranged(path, start, stop, files)

    monkeypatch.setattr(module, "_range", counted)
    items_of(source(crawl, "index.parquet"))
    assert len(asked) == 2
    asked.clear()
    monkeypatch.setattr(module, "_GAP_BYTES", -1)
    items_of(source(crawl, "index.parquet"))
    assert len(asked) == 2 * COUNT


def test_wrong_rows_cost_only_themselves(crawl: Path) -> None:
    good = pq.read_table(crawl / "index.parquet").to_pylist()
    changes: list[dict[str, Any]] = [
        {"fetch_status": 404},
        {"fetch_status": 301},
        {"warc_filename": None},
        {"warc_record_length": 0},
        {"warc_record_length": 60},  # a part of the record
        {"warc_record_length": 5000},  # more than the record
        {"warc_record_offset": 3},
        {"warc_record_offset": 10**9},
        {"warc_filename": "gone.warc.gz"},
        {"warc_record_length": 10**12},
        {},
        {"warc_filename": good[10]["warc_filename"], "warc_record_offset": good[10]["warc_record_offset"]},
    ]
    rows = [{**row, **change} for row, change in zip(good, changes, strict=False)]
    rows[-1]["warc_record_length"] = rows[-2]["warc_record_length"]
    pq.write_table(pa.Table.from_pylist(rows), crawl / "index.parquet")
    items = items_of(source(crawl, "index.parquet"))
    assert len(items) == len(rows)
    told = sorted(getattr(item, "error", getattr(item, "reason", "document")) for item in items)
    assert told == sorted([
        "http_status", "redirect", "broken_record", "wrong_length", "truncated", "document", "broken_record",
        "truncated", "unreadable", "too_large", "document", "duplicate_id",
    ])  # fmt: skip


def test_a_file_that_is_missing_or_breaks_off_is_rejected(crawl: Path) -> None:
    (crawl / (NAME % 0)).unlink()
    path = crawl / (NAME % 1)
    path.write_bytes(path.read_bytes()[:-20])
    items = items_of(source(crawl, "warc.paths.gz", parts=3))
    assert [(item.locator, item.error) for item in items if isinstance(item, Rejected)] == [
        (NAME % 0, "unreadable"),
        (items[-1].locator, "truncated"),
    ]
    assert len(items) == 1 + COUNT


@pytest.mark.parametrize("remote", [False, True])
def test_names_that_lead_out_of_the_prefix_are_refused(crawl: Path, remote: bool) -> None:
    prefix = _uploaded(crawl) if remote else str(crawl)
    outside = crawl.parent / "outside.warc"
    outside.write_bytes((crawl / (NAME % 0)).read_bytes())
    names = [str(outside), "../outside.warc", f"memory://other/{NAME % 0}", "crawl-data/../../outside.warc"]
    (crawl / "bad.paths").write_text("".join(f"{name}\n" for name in [*names, NAME % 1]))
    rows = [{"url": "x", "warc_filename": name, "warc_record_offset": 0, "warc_record_length": 300} for name in names]
    pq.write_table(pa.Table.from_pylist(rows), crawl / "bad.parquet")
    for name, documents in (("bad.paths", COUNT), ("bad.parquet", 0)):
        items = items_of(source(crawl, name, prefix))
        assert Counter(getattr(item, "error", "document") for item in items) == Counter(
            path_traversal=len(names), document=documents
        )
    (crawl / "given.paths").write_text(f"{outside}\n{NAME % 1}\n")
    of = Source("s", "commoncrawl", ("given.paths",), extractor="fast", options=(("prefix", ""),))
    assert (
        sum(isinstance(i, Document) for unit in plan_units(of, base=str(crawl)) for i in read_unit(unit)) == 2 * COUNT
    )


def test_lists_and_tables_may_lie_elsewhere(crawl: Path) -> None:
    prefix = _uploaded(crawl)
    for name in ("index.parquet", "warc.paths.gz"):
        of = Source("s", "commoncrawl", (f"{prefix}/{name}",), extractor="fast", options=(("prefix", prefix),))
        assert len(items_of(of)) == 2 * COUNT


def _uploaded(crawl: Path) -> str:
    system = fsspec.filesystem("memory")
    for path in crawl.rglob("*"):
        if path.is_file():
            system.pipe_file(f"/crawl/{path.relative_to(crawl)}", path.read_bytes())
    return "memory://crawl"


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    yield
    system = fsspec.filesystem("memory")
    if system.exists("/crawl"):
        system.rm("/crawl", recursive=True)


def test_lists_of_extracted_texts(crawl: Path, hostile: ModuleType) -> None:
    name = "crawl-data/segments/1/wet/CC-MAIN-0.warc.wet.gz"
    (crawl / name).parent.mkdir(parents=True)
    record = hostile.warc_record("conversion", "http://a.org/", b"plain words", 1, "text/plain")
    (crawl / name).write_bytes(gzip.compress(record))
    (crawl / "wet.paths").write_text(f"# comment\n\n{name}\n")
    (item,) = items_of(source(crawl, "wet.paths"))
    assert isinstance(item, Document) and item.text == "plain words"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gone.paths.gz", {}, "nothing matches .*gone.paths.gz; allowed are"),
        ("crawl-data", {}, "nothing matches"),
        ("warc.paths.gz", {"languages": ["eng"]}, "option languages needs an index .*warc.paths.gz is a list"),
        ("warc.paths.gz", {"parts": 0}, "option parts is 0"),
        ("warc.paths.gz", {"prefix": "s4://bucket"}, "s4:// is not known; known are local paths, https://"),
        ("other.parquet", {}, "other.parquet: no column url"),
        ("broken.parquet", {}, "broken.parquet: parquet"),
        ("broken.paths.gz", {}, "broken.paths.gz: "),
    ],
)
def test_what_cannot_be_planned_is_said(crawl: Path, name: str, options: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table({"x": [1]}), crawl / "other.parquet")
    (crawl / "broken.parquet").write_bytes(b"PAR1 and no more")
    (crawl / "broken.paths.gz").write_bytes(b"\x1f\x8b\x08no")
    with pytest.raises(PlanError, match=message):
        plan_units(source(crawl, name, **options))


@pytest.mark.parametrize("scheme", sorted(PACKAGES))
def test_a_missing_package_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch, crawl: Path) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(PlanError, match=f"{scheme}:// needs {PACKAGES[scheme]}: install gristmill\\[remote\\]"):
        plan_units(source(crawl, "warc.paths.gz", prefix=f"{scheme}://bucket/"))
    check_scheme("/a/folder")
