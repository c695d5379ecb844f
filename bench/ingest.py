"""Web archives and source code to documents: speed beside the bare readers and the bare extractor, on one core.

    PYTHONPATH=. python bench/ingest.py SHARED_DATA [--pages N] [--repeats N] [--extractor fast ...] [--code PATH ...]

SHARED_DATA holds warc/ (real archives) and web-trafilatura-eval (pages, of which an archive is made).  For every
archive, CPU time of this process, the best of the repeats, which take turns:

warcio, fastwarc     the records alone, HTTP headers parsed, bodies decoded and read
records              the same by Gristmill's own framing, which reports damage
extractor            `html.extract` alone on the bodies of the pages: decoding, main text, metadata
documents            Gristmill from the file to documents

of bare              (fastwarc + extractor) / documents: 1 is no cost for damage reports, hashes, limits and metadata of
                     records
peak                 memory of a process of its own that reads the archive once and eight times

--code names archives or folders of source code, whose table follows: see ingest_code.py.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gzip
import importlib.util
import io
import json
import logging
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from bench import ingest_code
from pipelines.readers import Document, Limits, extract
from pipelines.readers.html import Mode, choose_mode
from pipelines.readers.http import is_html, read_response
from pipelines.readers.records import Refused
from pipelines.readers.warc import read_warc
from pipelines.readers.warc_framing import Record, member_records
from pipelines.readers.warc_members import packing_of

ARCHIVES = ("aut/example.warc.gz", "dolma/sample-0000.warc.gz", "chatnoir-resiliparse/warcfile.warc.gz")
_PEAK_PASSES = (1, 8)
LIMITS = Limits()


def by_warcio(data: bytes) -> int:
    from warcio.archiveiterator import ArchiveIterator

    return sum(len(record.content_stream().read()) for record in ArchiveIterator(io.BytesIO(data)))


def by_fastwarc(data: bytes) -> int:
    from fastwarc.warc import ArchiveIterator

    records = ArchiveIterator(io.BytesIO(data), parse_http=True, auto_decode="all")
    return sum(len(record.reader.read()) for record in records)


def by_framing(data: bytes) -> int:
    raw = io.BytesIO(data)
    packing = packing_of(raw, "a.warc.gz")
    assert packing is not None
    total = 0
    for _, framed in member_records(raw, packing, LIMITS):
        record = framed.result
        if isinstance(record, Record):
            http = record.type == "response" and record.body.startswith(b"HTTP/")
            total += len(read_response(record.body, LIMITS).content(LIMITS) if http else record.body)
    return total


def documents_of(data: bytes, mode: Mode) -> list[Document]:
    items = read_warc(io.BytesIO(data), "a.warc.gz", "bench", "warc", None, mode, LIMITS)
    return [item for item in items if isinstance(item, Document)]


def pages_of(data: bytes) -> list[bytes]:
    """The bodies that reach the extractor."""
    raw = io.BytesIO(data)
    packing = packing_of(raw, "a.warc.gz")
    assert packing is not None
    pages = []
    for _, framed in member_records(raw, packing, LIMITS):
        record = framed.result
        if not isinstance(record, Record) or record.type != "response" or not record.body.startswith(b"HTTP/"):
            continue
        response = read_response(record.body, LIMITS)
        if 200 <= response.status < 300 and is_html(response.headers.get("content-type"), response.raw):
            page = response.content(LIMITS)
            if page.strip():
                pages.append(page)
    return pages


def chosen(pages: Sequence[bytes], mode: Mode) -> list[tuple[bytes, Mode]]:
    """The pages with the extractor that may have them, without those that none may have."""
    found = []
    for page in pages:
        with contextlib.suppress(Refused):
            found.append((page, choose_mode(page, mode, LIMITS)))
    return found


def by_extractor(pages: Sequence[tuple[bytes, Mode]]) -> int:
    return sum(bool(extract(page, mode=mode).text) for page, mode in pages)


def archive_of(pages: Sequence[bytes]) -> bytes:
    """A WARC of pages, a gzip member a record, as Common Crawl writes them."""
    members = []
    for number, page in enumerate(pages):
        body = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nServer: x\r\nContent-Length: %d\r\n\r\n" % len(page) + page
        )
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2024-05-18T01:58:10Z\r\n"
            f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>\r\n"
            f"Content-Length: {len(body)}\r\nContent-Type: application/http; msgtype=response\r\n"
            f"WARC-Target-URI: https://example.org/{number}\r\n"
            f"WARC-Payload-Digest: sha1:{'A' * 32}\r\nWARC-Identified-Payload-Type: text/html\r\n\r\n"
        )
        members.append(gzip.compress(head.encode() + body + b"\r\n\r\n", 6, mtime=0))
    return b"".join(members)


def gold_archive(data: Path, pages: int | None) -> bytes:
    with tarfile.open(data / "web-trafilatura-eval" / "pages.tar.gz") as archive:
        members = [member for member in archive if member.isfile()]
        return archive_of([cast(Any, archive.extractfile(member)).read() for member in members[:pages]])


@dataclasses.dataclass
class Row:
    name: str
    work: Callable[[], int]
    seconds: float = float("inf")
    found: int = 0

    def run(self) -> None:
        begin = time.process_time()
        self.found = self.work()
        self.seconds = min(self.seconds, time.process_time() - begin)


def measured(data: bytes, modes: Sequence[Mode], repeats: int) -> dict[str, Row]:
    pages = pages_of(data)
    rows = [Row("records", lambda: by_framing(data))]
    if importlib.util.find_spec("warcio"):
        rows.append(Row("warcio", lambda: by_warcio(data)))
    if importlib.util.find_spec("fastwarc"):
        rows.append(Row("fastwarc", lambda: by_fastwarc(data)))
    for mode in modes:
        mine = chosen(pages, mode)
        rows.append(Row(f"extractor {mode}", lambda mine=mine: by_extractor(mine)))  # type: ignore[misc]
        rows.append(Row(f"documents {mode}", lambda mode=mode: len(documents_of(data, mode))))  # type: ignore[misc]
    for _ in range(repeats):
        for row in rows:
            row.run()
    return {row.name: row for row in rows}


_PEAK = """
import sys
from bench.ingest import documents_of
data = open(sys.argv[1], "rb").read()
for _ in range(int(sys.argv[2])):
    found = documents_of(data, "fast")
    del found
# Not ru_maxrss, which begins with the memory of the process that started this one.
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
"""


def peaks(data: bytes) -> list[int]:
    """MB after one pass and after eight, each in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".warc.gz") as file:
        file.write(data)
        file.flush()
        return [
            int(
                subprocess.run([sys.executable, "-c", _PEAK, file.name, str(n)], capture_output=True, check=True).stdout
            )
            for n in _PEAK_PASSES
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Web archives to documents: speed beside the bare parts.")
    parser.add_argument("data", type=Path, help="folder with warc/ and web-trafilatura-eval/")
    parser.add_argument("--pages", type=int, help="of the archive that is made of pages, the first so many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--extractor", action="append", choices=("fast", "careful"), default=[])
    parser.add_argument("--code", nargs="+", type=Path, default=[], help="archives or folders of source code")
    parser.add_argument("--no-peak", action="store_true", help="without the two processes that tell memory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    archives = {name: options.data / "warc" / name for name in ARCHIVES}
    found = {name: path.read_bytes() for name, path in archives.items() if path.exists()}
    if (options.data / "web-trafilatura-eval").is_dir():
        found["trafilatura's pages"] = gold_archive(options.data, options.pages)
    if not found:
        print(f"No archives in {options.data}", file=sys.stderr)
        return 2
    modes = cast(list[Mode], options.extractor or ["fast"])
    told = []
    for name, data in found.items():
        html = sum(map(len, pages_of(data))) / 1e6
        rows = measured(data, modes, options.repeats)
        for mode in modes:
            told.append(_told(name, mode, html, rows))
    told_peaks = None if options.no_peak else peaks(found[name])
    code = ingest_code.measured(options.code, ingest_code.FILTERS, options.repeats) if options.code else []
    code_peaks = ingest_code.peaks(options.code) if options.code and not options.no_peak else None
    if options.json:
        print(json.dumps({"rows": told, "peak_mb": told_peaks, "code": code, "code_peak_mb": code_peaks}))
        return 0
    print(
        "| archive | extractor | pages | HTML MB | warcio MB/s | fastwarc | records | extractor | documents | of bare |"
    )
    print("|" + "---|" * 10)
    for row in told:
        print("| " + " | ".join(_shown(value) for value in row.values()) + " |")
    if told_peaks is not None:
        print(f"\npeak {told_peaks[0]} MB after one pass over {name}, {told_peaks[1]} MB after {_PEAK_PASSES[1]}")
    if code:
        print()
        ingest_code.print_table(code)
    if code_peaks is not None:
        print(f"\npeak {code_peaks[0]} MB after one pass, {code_peaks[1]} MB after {ingest_code.PEAK_PASSES[1]}")
    return 0


def _told(name: str, mode: str, html: float, rows: dict[str, Row]) -> dict[str, Any]:
    def speed(key: str) -> float | None:
        return html / rows[key].seconds if key in rows else None

    reader = rows.get("fastwarc") or rows.get("warcio") or rows["records"]
    documents = rows[f"documents {mode}"]
    bare = reader.seconds + rows[f"extractor {mode}"].seconds
    return {
        "archive": name, "extractor": mode, "documents": documents.found, "html_mb": html, "warcio": speed("warcio"),
        "fastwarc": speed("fastwarc"), "records": speed("records"), "extract": speed(f"extractor {mode}"),
        "to_documents": speed(f"documents {mode}"), "of_bare": bare / documents.seconds,
    }  # fmt: skip


def _shown(value: Any) -> str:
    if value is None:
        return "not installed"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
