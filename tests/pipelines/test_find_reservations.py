"""Reservations of a corpus end to end: host files meet the pages of their hosts, the same bytes on every way."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from licenses.reservations import Reading
from pipelines import ingest
from pipelines.annotators import factories, of_corpus, read_options
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.find_reservations import FindReservations, RespectReservations, build_find_reservations
from pipelines.host_files import NoHostFiles
from pipelines.readers import Document, Rejected, Source, plan_units, read_unit
from pipelines.rules import FamilyRule, decide, rule_of
from pipelines.shards import write_shard
from tests.conftest import document_batch, module_from

TDM = '[{"location": "/a", "tdm-reservation": 1, "tdm-policy": "https://t.org/p"}]'
FILES = {
    "https://robots.org/robots.txt": "User-agent: GPTBot\nDisallow: /a",
    "https://all.org/robots.txt": "User-agent: *\nDisallow: /",
    "http://tdm.org/.well-known/tdmrep.json": TDM,
    "https://ai.org/ai.txt": "User-Agent: *\nDisallow: *.html",
    "https://open.org/robots.txt": "User-agent: *\nAllow: /",
    "https://port.org:8080/robots.txt": "User-agent: *\nDisallow: /",
}
PAGES: dict[str, tuple[dict[str, str], str | None]] = {
    "http://robots.org/a/page": ({}, "robots.txt"),
    "https://robots.org/b": ({}, None),
    "https://www.robots.org/a": ({}, None),  # another host
    "https://all.org/": ({}, "robots.txt"),
    "https://tdm.org/a": ({}, "tdm"),
    "https://tdm.org/b": ({}, None),
    "https://tdm.org/a/free": ({"tdm_reservation": "0"}, None),
    "https://ai.org/x": ({}, "ai.txt"),
    "https://open.org/x": ({}, None),
    "https://open.org/y": ({"robots_meta": "robots: noai"}, "meta"),
    "https://open.org/z": ({"x_robots_tag": "noai", "robots_meta": "robots: noai"}, "header"),
    "https://port.org/x": ({}, None),
    "https://port.org:8080/x": ({}, "robots.txt"),
    "https://unknown.org/x": ({"tdm_reservation": "1"}, "tdm"),
    "none": ({}, None),
}


def write_documents(output: Path, shards: int = 3) -> None:
    rows: list[dict[str, Any]] = [
        {"doc_id": f"f{i}", "source": "s", "kind": "reservation", "text": text, "url": url, "meta": []}
        for i, (url, text) in enumerate(FILES.items())
    ]
    rows += [
        {"doc_id": url, "source": "s", "kind": "web", "text": "words", "url": url, "meta": sorted(meta.items())}
        for url, (meta, _) in PAGES.items()
    ]
    rows[-1]["url"] = None
    # An older robots.txt of the same host, which does not count.
    older = {**rows[4], "doc_id": "f9", "text": "User-agent: *\nDisallow: /", "timestamp": "2020-01-01T00:00:00Z"}
    rows[4]["timestamp"] = "2024-01-01T00:00:00Z"
    rows.append(older)
    for shard in range(shards):
        batch = pa.RecordBatch.from_pylist(rows[shard::shards], schema=DOCUMENT_SCHEMA)
        write_shard(str(output / "documents" / f"part-{shard:05d}.parquet"), DOCUMENT_SCHEMA, [batch])


def run(output: Path, find: FindReservations, *arguments: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    path = output / "records"
    options = PipelineOptions(["--runner=FnApiRunner", *arguments])
    with beam.Pipeline(runner="FnApiRunner", options=options) as pipeline:
        built = build_find_reservations(pipeline, find)
        _ = built | "Lines" >> beam.Map(bytes.decode) | "Out" >> beam.io.WriteToText(str(path))
    for part in sorted(output.glob("records-*")):
        records += map(json.loads, part.read_bytes().splitlines())
        part.unlink()
    return sorted(records, key=lambda record: record["path"])


def rows_of(output: Path, name: str = "respect_reservations@1") -> dict[str, dict[str, Any]]:
    shards = sorted((output / "annotations" / name).glob("part-*.parquet"))
    return {row["doc_id"]: row for shard in shards for row in pq.read_table(shard).to_pylist()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    output = tmp_path_factory.mktemp("reservations")
    write_documents(output)
    return output, run(output, FindReservations(str(output), 3, Reading()))


def test_what_a_host_says_reaches_its_pages(found: tuple[Path, list[dict[str, Any]]]) -> None:
    rows = rows_of(found[0])
    assert {url: rows[url]["by"] for url in PAGES} == {url: by for url, (_, by) in PAGES.items()}
    assert all(rows[url]["keep"] == (by is None) == (not rows[url]["reserved"]) for url, (_, by) in PAGES.items())
    page = rows["http://robots.org/a/page"]
    assert (page["rule"], page["directive"], page["agent"]) == ("robots.txt", "Disallow: /a", "GPTBot")
    assert page["reason"] == "Disallow: /a (GPTBot)"
    assert rows["https://tdm.org/a"]["policy"] == "https://t.org/p"
    assert rows["f0"]["keep"] is False and rows["f0"]["rule"] == "host_file" and rows["f0"]["reserved"] is None


def test_the_books_balance(found: tuple[Path, list[dict[str, Any]]]) -> None:
    books = [record["books"] for record in found[1]]
    dropped: dict[str, int] = {}
    for book in books:
        for reason, count in book["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    total = len(PAGES) + len(FILES) + 1
    assert sum(book["read"] for book in books) == total
    assert dropped == {
        "host_file": 7, "reserved/robots.txt": 3, "reserved/tdm": 2, "reserved/ai.txt": 1, "reserved/meta": 1,
        "reserved/header": 1,
    }  # fmt: skip
    assert sum(book["kept"] for book in books) == total - sum(dropped.values())


@pytest.mark.parametrize("way", ["memory", "repeat"])
def test_the_same_bytes_on_every_way(found: tuple[Path, list[dict[str, Any]]], tmp_path: Path, way: str) -> None:
    write_documents(tmp_path)
    find = FindReservations(
        str(tmp_path), 3, Reading(), "memory" if way == "memory" else None, 4 if way == "repeat" else 1
    )
    run(tmp_path, find, *(["--direct_runner_bundle_repeat=1"] if way == "repeat" else []))

    def parts(output: Path) -> dict[str, bytes]:
        folder = output / "annotations"
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    assert parts(tmp_path) == parts(found[0])


def test_it_is_an_annotator_of_the_corpus_with_a_verdict() -> None:
    factory = factories()["respect_reservations@1"]
    assert of_corpus(factory)
    options, problems = read_options(factory, {"agents": ["GPTBot"], "wildcard": False})
    assert not problems
    made = factory(**options)
    assert made == RespectReservations(("GPTBot",), False)
    assert rule_of(made.name, made) == FamilyRule("respect_reservations@1")
    with pytest.raises(ValueError, match="standards: 'tdmrep'"):
        RespectReservations(standards=("tdmrep",))


def test_host_files_are_outside_of_every_scope() -> None:
    batch = document_batch({"kind": "web", "text": "a"}, {"kind": "reservation", "text": "b"})
    decision = decide((NoHostFiles(),), batch, {})
    assert decision.passed.tolist() == [True, False] and decision.rule == [None, "host_file"]


def test_from_a_web_archive(tmp_path: Path) -> None:
    """Pages and host files of one archive: ingested, joined, judged."""
    hostile: ModuleType = module_from(Path(__file__).parents[1] / "data" / "readers" / "make_hostile.py")
    page = b"<html><body><article>" + b"<p>Some words about rivers and old bridges here.</p>" * 9 + b"</article>"
    kind = "application/http; msgtype=response"

    def record(number: int, url: str, body: bytes, headers: str) -> bytes:
        return gzip.compress(hostile.warc_record("response", url, hostile.http(body, headers), number, kind))

    html = "Content-Type: text/html\r\n"
    records = [
        record(0, "https://a.org/x", page, html),
        record(1, "https://b.org/x", page, html + "X-Robots-Tag: noindex\r\nX-Robots-Tag: GPTBot: noai\r\n"),
        record(2, "https://c.org/x", page.replace(b"<body>", b"<meta name=tdm-reservation content=1><body>"), html),
        record(3, "https://d.org/x", page, html),
        record(4, "https://a.org/robots.txt", b"User-agent: CCBot\nDisallow: /", "Content-Type: text/plain\r\n"),
        record(5, "https://d.org/robots.txt", page, html),  # a page that says that there is none
        record(6, "https://d.org/.well-known/tdmrep.json", b"[" * 600_000, "Content-Type: application/json\r\n"),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(records))
    source = Source("s", "warc", (str(tmp_path / "a.warc.gz"),), extractor="fast", options=(("host_files", True),))
    items = [item for unit in plan_units(source) for item in read_unit(unit)]
    documents = [item for item in items if isinstance(item, Document)]
    assert [document.kind for document in documents].count("reservation") == 1
    assert [item.error for item in items if isinstance(item, Rejected)] == ["too_large"]
    write_shard(str(tmp_path / "documents/part-00000.parquet"), DOCUMENT_SCHEMA, [ingest.document_batch(documents)])
    run(tmp_path, FindReservations(str(tmp_path), 1, Reading(), name="mine"))
    rows = rows_of(tmp_path, "mine")
    by = {d.url: (rows[d.doc_id]["by"], rows[d.doc_id]["agent"]) for d in documents if d.kind == "web"}
    assert by == {
        "https://a.org/x": ("robots.txt", "CCBot"),
        "https://b.org/x": ("header", "GPTBot"),
        "https://c.org/x": ("tdm", "*"),
        "https://d.org/x": (None, None),
        "https://d.org/robots.txt": (None, None),
    }
    # Without the option the files are no pages, as before.
    plain = Source("s", "warc", source.inputs, extractor="fast")
    kinds = [item.kind for unit in plan_units(plain) for item in read_unit(unit) if isinstance(item, Document)]
    assert kinds == ["web"] * 5
