"""Inputs at addresses: in memory://, and at a server that answers, refuses, knows no ranges or breaks off."""

from __future__ import annotations

import gzip
import io
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UsageError
from pipelines.inputs import InputDigests
from pipelines.readers import LOCAL, Document, Item, PlanError, Rejected, Source, plan_units, read_unit, remote
from pipelines.readers.records import Refused
from pipelines.readers.remote import find_remote, open_remote, read_range, stamp_of

fsspec = pytest.importorskip("fsspec")
BODY = b"<html><body><article>" + b"<p>Some words about rivers and old bridges here.</p>" * 9 + b"</article>"
NAME = "crawl-data/segments/1/warc/CC-MAIN-0.warc.gz"
COUNT = 12


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WAITS", (0.0, 0.0))


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def warc(hostile: ModuleType, count: int = COUNT) -> tuple[bytes, list[tuple[int, int]]]:
    """A file, and (offset, length) of its records."""
    data, places = b"", []
    for i in range(count):
        record = gzip.compress(hostile.response(BODY, i), mtime=0)
        places.append((len(data), len(record)))
        data += record
    return data, places


def crawl_files(hostile: ModuleType) -> dict[str, bytes]:
    data, places = warc(hostile)
    rows = [
        {"url": f"http://e.org/{i}", "warc_filename": NAME, "warc_record_offset": at, "warc_record_length": length}
        for i, (at, length) in enumerate(places)
    ]
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), table)
    listed = gzip.compress(f"{NAME}\n".encode(), mtime=0)
    return {NAME: data, "warc.paths.gz": listed, "index.parquet": table.getvalue()}


def items_of(kind: str, *inputs: str, **options: Any) -> list[Item]:
    units = plan_units(Source("s", kind, inputs, extractor="fast", options=tuple(options.items())))
    return [item for unit in units for item in read_unit(unit)]


def documents_of(items: list[Item]) -> dict[str, str]:
    return {item.locator: item.text for item in items if isinstance(item, Document)}


# -- memory:// ---------------------------------------------------------------------------------------------


def test_files_folders_and_wildcards(memory: Any) -> None:
    for name, data in {"a.jsonl": b"1", "deep/b.jsonl": b"22", "deep/c.txt": b"333"}.items():
        memory.pipe_file(f"/in/{name}", data)
    found = sorted(find_remote("memory://in"))
    assert [(path.removeprefix("memory://").lstrip("/"), *rest) for path, *rest in found] == [
        ("in/a.jsonl", "a.jsonl", 1, False), ("in/deep/b.jsonl", "deep/b.jsonl", 2, False),
        ("in/deep/c.txt", "deep/c.txt", 3, False),
    ]  # fmt: skip
    assert {file.name for file in LOCAL.find("memory://in/**/*.jsonl")} == {"a.jsonl", "deep/b.jsonl"}
    assert [(file.name, file.given) for file in LOCAL.find("memory://in/deep/c.txt")] == [("c.txt", True)]
    assert LOCAL.find("memory://in/none") == [] == LOCAL.find("memory://in/*.csv")
    with pytest.raises(PlanError, match="nothing matches memory://in/none"):
        plan_units(Source("s", "jsonl", ("memory://in/none",)))
    with pytest.raises(PlanError, match="s4:// is not known; known are local paths, https://"):
        plan_units(Source("s", "jsonl", ("s4://in/none",)))


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "text", "html", "code", "warc", "markdown"])
def test_every_kind_reads_from_an_address_what_it_reads_from_a_folder(
    memory: Any, tmp_path: Path, hostile: ModuleType, kind: str
) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"id": ["x", "y"], "text": ["one", "two"]}), table)
    archive = hostile.make_zip([("p/a.py", b"print(1)\n"), ("p/LICENSE", b"MIT License\n"), ("p/b.html", BODY)])
    files = {
        "jsonl": {"a.jsonl": b'{"text": "one"}\n', "d/b.jsonl.gz": gzip.compress(b'{"text": "two"}\n')},
        "parquet": {"a.parquet": table.getvalue()},
        "text": {"a.txt": b"words", "b.txt": b""},
        "html": {"a.html": BODY, "b.zip": archive, "c.css": b"x"},
        "code": {"src/a.py": b"print(2)\n", "setup.cfg": b"[metadata]\n", "b.zip": archive},
        "warc": {"a.warc.gz": warc(hostile)[0]},
        "markdown": {"a.md": b"# Title\n"},
    }[kind]
    for name, data in files.items():
        memory.pipe_file(f"/in/{name}", data)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    local, far = items_of(kind, str(tmp_path)), items_of(kind, "memory://in")
    assert documents_of(local) and far == local


def test_path_lists_tables_and_files_of_a_crawl(memory: Any, hostile: ModuleType, tmp_path: Path) -> None:
    for name, data in crawl_files(hostile).items():
        memory.pipe_file(f"/crawl/{name}", data)
    found = [
        documents_of(items_of("commoncrawl", f"memory://crawl/{name}", prefix="memory://crawl"))
        for name in ("warc.paths.gz", "index.parquet")
    ]
    assert found[0] == found[1] and len(found[0]) == COUNT
    assert len(documents_of(items_of("warc", f"memory://crawl/{NAME}"))) == COUNT


def test_a_remote_input_is_known_by_what_its_store_says_of_it(memory: Any, tmp_path: Path) -> None:
    memory.pipe_file("/in/a", b"one")
    first = InputDigests(str(tmp_path / "cache")).of_file("memory://in/a")
    digests = InputDigests(str(tmp_path / "cache"))
    assert digests.of_file("memory://in/a") == first
    memory.pipe_file("/in/a", b"other")
    assert InputDigests(str(tmp_path / "cache")).of_file("memory://in/a") != first
    memory.pipe_file("/in/b", b"one")
    assert digests.of_file("memory://in/b") != first
    assert stamp_of("memory://in/none") == []
    digests.save()
    assert b"memory" not in (tmp_path / "cache").read_bytes()


class _Breaking(io.BytesIO):
    """Bytes that end with an error behind the first 30,000, as often as it says."""

    times = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 30_000 and type(self).times:
            type(self).times -= 1
            raise TimeoutError("no answer from memory://in/secret-token")
        return super().read(min(size, 400) if size and size > 0 else 400)


def test_a_request_that_fails_is_made_again(memory: Any, hostile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = warc(hostile, 200)
    memory.pipe_file("/in/a.warc.gz", data)
    whole = documents_of(items_of("warc", "memory://in/a.warc.gz"))
    monkeypatch.setattr(memory, "open", lambda *_, **__: _Breaking(data))
    _Breaking.times = 2
    assert documents_of(items_of("warc", "memory://in/a.warc.gz")) == whole and _Breaking.times == 0
    _Breaking.times = 10**6
    items = items_of("warc", "memory://in/a.warc.gz")
    (rejected,) = [item for item in items if isinstance(item, Rejected)]
    assert rejected.error == "unreadable" and "a.warc.gz: TimeoutError: no answer" in rejected.message
    assert 10**6 - _Breaking.times < 20  # attempts
    # What stands before the break is there.
    assert 0 < len(documents_of(items)) < 200


# -- http:// -----------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    """The first folder of a path says what goes wrong: ranges (nothing), plain (no ranges), busy (503 once),
    breaks (half an answer once), broken (half an answer always), refuses (416 to each range), unknown (no length),
    silent (an answer after two seconds)."""

    protocol_version = "HTTP/1.0"
    files: dict[str, bytes]
    asked: Counter[str]

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, head: bool) -> None:
        manner, _, name = self.path.partition("?")[0].lstrip("/").partition("/")
        data = self.files.get(name)
        self.asked[f"{'HEAD' if head else 'GET'} {manner}/{name}"] += 1
        first = self.asked[f"GET {manner}/{name}"] == 1
        if data is None or manner == "busy" and not head and first:
            self.send_error(404 if data is None else 503)
            return
        if manner == "silent" and not head:
            time.sleep(2)
        if manner == "refuses" and not head:
            self.send_error(416)
            return
        total, wanted = len(data), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start = 0
        if wanted and manner not in ("plain", "unknown"):
            start, end = int(wanted[1]), int(wanted[2] or total - 1)
            data = data[start : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{total}")
        else:
            self.send_response(200)
        if manner != "unknown":
            self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", formatdate(1_700_000_000, usegmt=True))
        if manner not in ("plain", "unknown"):
            self.send_header("ETag", f'"{len(data)}-{total}"' if not head else f'"{total}"')
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not head:
            cut = manner == "broken" or manner == "breaks" and first
            self.wfile.write(data[: len(data) // 2] if cut else data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server(hostile: ModuleType) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    _Handler.files, _Handler.asked = crawl_files(hostile), Counter()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_address[1]}"
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.mark.parametrize("manner", ["ranges", "busy", "breaks"])
@pytest.mark.parametrize("name", ["warc.paths.gz", "index.parquet"])
def test_a_crawl_is_read_over_http_also_where_a_request_fails(server: str, manner: str, name: str) -> None:
    _Handler.asked.clear()
    items = items_of("commoncrawl", f"{server}/ranges/{name}", prefix=f"{server}/{manner}", **_two_parts(name))
    assert len(documents_of(items)) == len(items) == COUNT
    assert {locator.partition("#")[0] for locator in documents_of(items)} == {NAME}
    if manner != "ranges":
        assert _Handler.asked[f"GET {manner}/{NAME}"] > 1


def _two_parts(name: str) -> dict[str, Any]:
    return {"parts": 2} if name.endswith(".gz") else {}


def test_ranges_are_asked_for_and_not_the_file(server: str) -> None:
    data = _Handler.files[NAME]
    assert read_range(f"{server}/ranges/{NAME}", 10, 50) == data[10:50]
    assert read_range(f"{server}/ranges/{NAME}", len(data) - 5, len(data) + 5) == data[-5:]
    for start, stop in ((10, 50), (10, len(data) + 50)):
        with pytest.raises(Refused, match=r"CC-MAIN-0.warc.gz: the server gives no ranges of bytes"):
            read_range(f"{server}/plain/{NAME}", start, stop)
    with open_remote(f"{server}/ranges/{NAME}") as raw:
        assert raw.seek(0, 2) == len(data) and raw.seek(-7, 2) == len(data) - 7 and raw.read() == data[-7:]


def test_what_is_missing_or_breaks_off_is_rejected_with_its_reason(server: str) -> None:
    def rejected(manner: str, name: str) -> set[tuple[str, str]]:
        items = items_of("commoncrawl", f"{server}/ranges/{name}", prefix=f"{server}/{manner}", **_two_parts(name))
        assert items and all(isinstance(item, Rejected) for item in items)
        return {(item.error, item.message) for item in items if isinstance(item, Rejected)}

    for name in ("warc.paths.gz", "index.parquet"):
        for manner, said in (("gone/x", "FileNotFoundError"), ("broken", "ClientPayloadError")):
            for error, message in rejected(manner, name):
                assert error == "unreadable" and said in message and server not in message, message
    with pytest.raises(PlanError, match=f"nothing matches {server}/ranges/gone.paths.gz"):
        items_of("commoncrawl", f"{server}/ranges/gone.paths.gz")
    with pytest.raises(PlanError, match="warc.paths.gz: ClientPayloadError"):
        items_of("commoncrawl", f"{server}/broken/warc.paths.gz")


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("refuses", "OSError: the server gave no bytes at 0 of "),
        ("unknown", "the server does not say how long the file is: fetch it, and read it from the disk"),
    ],
)
def test_a_server_that_gives_no_part_of_a_file(server: str, manner: str, said: str) -> None:
    (item,) = items_of("warc", f"{server}/{manner}/{NAME}")
    assert isinstance(item, Rejected) and item.error == "unreadable"
    assert item.message.startswith(f"{NAME.rpartition('/')[2]}: {said}"), item.message


def test_a_server_that_says_nothing_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.readers.remote._SILENT_SECONDS", 0.3)
    (item,) = items_of("warc", f"{server}/silent/{NAME}")
    assert isinstance(item, Rejected) and item.error == "unreadable" and "Timeout" in item.message


def test_a_file_is_given_by_its_address(server: str, tmp_path: Path) -> None:
    items = items_of("warc", f"{server}/ranges/{NAME}?token=a*b")
    assert len(documents_of(items)) == COUNT and next(iter(documents_of(items))) == "CC-MAIN-0.warc.gz#0"
    digests = InputDigests(str(tmp_path / "cache"))
    assert stamp_of(f"{server}/ranges/{NAME}") == [len(_Handler.files[NAME]), f'ETag "{len(_Handler.files[NAME])}"']
    assert stamp_of(f"{server}/plain/{NAME}")[1] == "Last-Modified Tue, 14 Nov 2023 22:13:20 GMT"
    assert digests.of_file(f"{server}/ranges/{NAME}") != digests.of_file(f"{server}/plain/{NAME}")


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    address = "http://127.0.0.1:9/secret/a.jsonl"  # the discard service: nobody listens
    with pytest.raises(PlanError, match="source s: a.jsonl: ClientConnector"):
        plan_units(Source("s", "jsonl", (address,)))
    with pytest.raises(UsageError, match="input a.jsonl: ClientConnector"):
        InputDigests(str(tmp_path / "cache")).of_file(address)
