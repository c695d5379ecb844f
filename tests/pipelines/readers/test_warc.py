"""WARC, ARC and WET: records, ranges and every kind of damage."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Dropped, Item, Limits, Rejected
from pipelines.readers.http import read_response
from pipelines.readers.records import Refused
from pipelines.readers.warc import _located, read_warc

BODY = (
    "<html><head><title>t</title></head><body><article>"
    + "".join(f"<p>Paragraph {i} tells something about rivers, markets and old bridges.</p>" for i in range(8))
    + "</article></body></html>"
)


def read(
    data: bytes,
    start: int = 0,
    stop: int | None = None,
    kind: Any = "warc",
    name: str = "a.warc.gz",
    host_files: bool = False,
) -> list[Item]:
    return list(read_warc(io.BytesIO(data), name, "s", kind, None, "fast", Limits(), start, stop, host_files))


def errors(items: Iterable[Item]) -> dict[str, str]:
    return {item.locator: getattr(item, "error", getattr(item, "reason", "ok")) for item in items}


def pages(hostile: ModuleType, count: int) -> list[bytes]:
    return [hostile.response(BODY.replace("t<", f"t{i}<").encode(), i) for i in range(count)]


def test_a_page_has_the_headers_of_its_record(hostile: ModuleType) -> None:
    latin = BODY.replace("rivers", "Flüsse").encode("latin-1")
    record = hostile.response(latin, 7, headers="content-type: TEXT/HTML; Charset=ISO-8859-1\r\n")
    (page,) = read(gzip.compress(record))
    assert isinstance(page, Document)
    assert page.url == "http://example.org/7"
    assert page.timestamp == "2024-05-18T01:58:07Z"
    assert page.locator == "a.warc.gz#0"
    assert page.mime == "text/html"
    assert "Flüsse" in page.text
    assert page.meta["warc_record_id"] == "<urn:uuid:00000000-0000-0000-0000-000000000007>"
    assert page.meta["encoding"] == "cp1252"


def test_other_records_are_dropped_by_reason(hostile: ModuleType) -> None:
    html = BODY.encode()
    records = [
        hostile.warc_record("warcinfo", "", b"software: x\r\n", 0, "application/warc-fields"),
        hostile.warc_record("request", "http://a.org/", b"GET / HTTP/1.1\r\n\r\n", 1, "application/http"),
        hostile.response(b"\xff\xd8\xff", 2, headers="Content-Type: image/jpeg\r\n"),
        hostile.response(html, 3).replace(b"200 OK", b"404 OK"),
        hostile.warc_record("resource", "http://a.org/r", html, 4, "text/html"),
        hostile.warc_record("resource", "http://a.org/x", html, 5, "application/pdf"),
        hostile.response(html, 6, headers=""),  # no type declared: the bytes tell
        hostile.response(b"{}", 7, headers=""),
        hostile.warc_record("response", "dns:a.org", b"1.2.3.4", 8, "text/dns"),
        hostile.warc_record("revisit", "http://a.org/", b"", 9, "application/http"),
        hostile.warc_record("revisit", "http://a.org/", b"", 9, "application/http").replace(
            b"WARC-Type", b"WARC-Refers-To-Target-URI: http://b.org/\r\nWARC-Type"
        ),
        hostile.response(b"", 10, headers="Location: /new place\r\n").replace(b"200 OK", b"301 OK"),
        hostile.response(html, 11).replace(b"200 OK", b"302 OK"),
    ]
    found = list(errors(read(b"".join(records), name="a.warc")).values())
    assert found == [
        "not_a_response",
        "not_a_response",
        "not_a_page",
        "http_status",
        "ok",
        "not_a_page",
        "ok",
        "not_a_page",
        "not_a_page",
        "revisit",
        "revisit",
        "redirect",
        "redirect",
    ]
    targets = [item.locator.partition(">")[2] for item in read(b"".join(records), name="a.warc")]
    assert [target for target in targets if target] == ["http://b.org/", "/newplace"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate", "zstd", "br", "kept header", "kept br"])
@pytest.mark.parametrize("chunked", [False, True])
def test_http_encodings_are_undone(hostile: ModuleType, encoding: str, chunked: bool) -> None:
    import zlib

    import zstandard

    html = BODY.encode()
    raw = zlib.compressobj(wbits=-15)
    body = {
        "gzip": gzip.compress(html),
        "deflate": zlib.compress(html),
        "raw deflate": raw.compress(html) + raw.flush(),
        "zstd": zstandard.ZstdCompressor().compress(html),
        "br": pa.Codec("brotli").compress(html, asbytes=True),
        "kept header": html,
        "kept br": b"<p>no doctype</p>" + html,
    }[encoding]
    name = {"raw deflate": "deflate", "kept header": "gzip", "kept br": "br"}.get(encoding, encoding)
    headers = f"Content-Type: text/html\r\nContent-Encoding: {name}\r\n"
    if chunked:
        headers += "Transfer-Encoding: chunked\r\n"
        parts = [body[i : i + 700] for i in range(0, len(body), 700)]
        body = b"".join(b"%x;ext\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    (page,) = read(gzip.compress(hostile.response(body, 0, headers=headers)))
    assert isinstance(page, Document) and "Paragraph 7" in page.text


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        ("Transfer-Encoding: chunked\r\n", b"5\r\n<htm", "truncated"),
        ("Transfer-Encoding: chunked\r\n", b"4\r\n<p>a\r\n", "truncated"),
        ("Transfer-Encoding: chunked\r\n", b"4\r\n<p>a\r\nxx\r\n", "broken_record"),
        ("Content-Encoding: gzip\r\n", gzip.compress(BODY.encode())[:-10], "truncated"),
        ("Content-Encoding: deflate\r\n", b"\xff\xff\xff", "broken_record"),
        ("Content-Encoding: br\r\n", pa.Codec("brotli").compress(BODY.encode(), asbytes=True)[:-9], "truncated"),
        ("Content-Encoding: br\r\n", b"\xff\xff\xff\xff" * 9, "broken_record"),
        ("Content-Encoding: br\r\n", pa.Codec("brotli").compress(bytes(20 << 20), asbytes=True), "zip_bomb"),
        ("Content-Encoding: compress\r\n", b"\x1f\x9d\x90", "unsupported"),
        ("Content-Encoding: gzip\r\n", gzip.compress(bytes(20 << 20)), "zip_bomb"),
    ],
)
def test_broken_http_bodies(hostile: ModuleType, headers: str, body: bytes, error: str) -> None:
    record = gzip.compress(hostile.response(body, 0, headers="Content-Type: text/html\r\n" + headers))
    assert errors(read(record)) == {"a.warc.gz#0": error}


def test_damage_costs_only_what_it_touches(hostile: ModuleType) -> None:
    first, second, third = (gzip.compress(page, mtime=0) for page in pages(hostile, 3))
    middle, end = len(first), len(first) + len(second)
    cut = second[: len(second) // 2]
    for data, expected in {
        first + second + third[:-30]: {0: "ok", middle: "ok", end: "truncated"},
        first + second + third[:3]: {0: "ok", middle: "ok", end: "truncated"},
        first + cut + third: {0: "ok", middle: "broken_record", middle + len(cut): "ok"},
        first + second[:-8] + bytes(8) + third: {0: "ok", middle: "broken_record", end: "ok"},  # check sum
        first + b"junk" + third: {0: "ok", middle: "broken_record", middle + 4: "ok"},
        first + gzip.compress(b"junk", mtime=0) + third: {
            0: "ok",
            middle: "broken_record",
            middle + 24: "ok",
        },
        b"junk" + first: {0: "broken_record", 4: "ok"},
        b"junk": {0: "broken_record"},
        first + bytes(10): {0: "ok", middle: "broken_record"},
    }.items():
        assert errors(read(data)) == {f"a.warc.gz#{offset}": error for offset, error in expected.items()}


@pytest.mark.parametrize(("delta", "packed"), [(100, True), (-100, True), (100, False), (-100, False), (10**9, True)])
def test_wrong_lengths(hostile: ModuleType, delta: int, packed: bool) -> None:
    good = pages(hostile, 3)
    length = int(good[1].split(b"Content-Length: ")[1].split(b"\r\n")[0])
    good[1] = good[1].replace(b"Length: %d" % length, b"Length: %d" % (length + delta))
    data = b"".join(map(gzip.compress, good) if packed else good)
    found = list(errors(read(data, name="a.warc.gz" if packed else "a.warc")).values())
    assert found == ["ok", "wrong_length", "ok"] if delta < 10**9 else found[1] in ("wrong_length", "truncated")


@pytest.mark.parametrize("keep", [0.9999, 0.999, 0.9, 0.51, 0.34, 0.1, 0.01])
@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_file_is_never_silent(hostile: ModuleType, keep: float, packed: bool) -> None:
    data = b"".join(map(gzip.compress, pages(hostile, 4)) if packed else pages(hostile, 4))
    found = list(errors(read(data[: int(len(data) * keep)], name="a.warc.gz" if packed else "a.warc")).values())
    assert found[-1] == "truncated"
    assert set(found[:-1]) <= {"ok"}


def test_several_records_in_one_member(hostile: ModuleType) -> None:
    data = b"".join(pages(hostile, 3))
    found = read(gzip.compress(data))
    assert [item.locator for item in found] == ["a.warc.gz#0", "a.warc.gz#0.1", "a.warc.gz#0.2"]
    assert [item.text for item in found] == [item.text for item in read(data, name="a.warc")]  # type: ignore[union-attr]


def test_arc(hostile: ModuleType) -> None:
    body = hostile.http(BODY.encode())
    head = b"filedesc://a.arc 0.0.0.0 20080430204825 text/plain 9\n1 0 Inc.\n\n"
    record = b"http://a.org/x 10.0.0.1 20080430204826 text/html %d\n%s\n" % (len(body), body)
    for packed in (False, True):
        parts = [head, record, record.replace(b"/x ", b"/y ")]
        data = b"".join(map(gzip.compress, parts) if packed else parts)
        info, first, second = read(data, name="a.arc")
        assert isinstance(first, Document) and isinstance(second, Document)
        assert (first.url, first.timestamp, second.url) == (
            "http://a.org/x",
            "2008-04-30T20:48:26Z",
            "http://a.org/y",
        )
    assert list(errors(read(data[:-30], name="a.arc.gz")).values()) == ["not_a_response", "ok", "truncated"]


def test_wet(hostile: ModuleType) -> None:
    records = [
        hostile.warc_record("warcinfo", "", b"x: y\r\n", 0, "application/warc-fields"),
        hostile.warc_record("conversion", "http://a.org/", "Grüße\n\0 und mehr".encode(), 1, "text/plain"),
        hostile.warc_record("conversion", "http://a.org/", b"\xff\xfe", 2, "text/plain"),
        hostile.warc_record("conversion", "http://a.org/", b" \n", 3, "text/plain"),
    ]
    found = read(b"".join(map(gzip.compress, records)), kind="wet")
    assert list(errors(found).values()) == ["not_a_response", "ok", "undecodable", "empty"]
    text = found[1]
    assert isinstance(text, Document)
    assert text.text == "Grüße\n\ufffd und mehr" and text.url == "http://a.org/" and text.mime == "text/plain"


def test_a_large_record_costs_only_itself(hostile: ModuleType) -> None:
    records = [
        hostile.response(BODY.encode(), 0),
        hostile.response(b"x" * 200_000, 1),
        hostile.response(BODY.encode(), 2),
    ]
    for packed in (False, True):
        data = b"".join(map(gzip.compress, records) if packed else records)
        found = read_warc(io.BytesIO(data), "a.warc", "s", "warc", None, "fast", Limits(max_item_bytes=100_000))
        assert list(errors(found).values()) == ["ok", "too_large", "ok"]


def _damaged(hostile: ModuleType, damage: list[tuple[int, bytes]]) -> bytes:
    records = [gzip.compress(page, mtime=0) for page in pages(hostile, 6)]
    for at, junk in damage:
        records.insert(at, junk)
    return b"".join(records)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 5000), max_size=12),
    damage=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([b"junk", bytes(30), b"\x1f\x8b\x08\0bad" * 3])),
        max_size=3,
    ),
    tail=st.integers(0, 40),
)
def test_ranges_give_every_record_exactly_once(hostile: ModuleType, cuts: list[int], damage: Any, tail: int) -> None:
    data = _damaged(hostile, damage)
    data = data[: len(data) - tail]
    whole = _framed(data, 0, None)
    edges = sorted({0, *(cut for cut in cuts if cut < len(data))})
    parts = [pair for a, b in zip(edges, [*edges[1:], None], strict=True) for pair in _framed(data, a, b)]
    assert parts == whole


def _framed(data: bytes, start: int, stop: int | None) -> list[tuple[str, str]]:
    found = _located(io.BytesIO(data), "a.gz", Limits(), start, stop, 0)
    return [(at, r.error if isinstance(r, Refused) else r.headers["warc-record-id"]) for at, r in found]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_end_in_items(data: bytes, packed: bool) -> None:
    for prefix in (b"", b"WARC/1.0\r\n", b"WARC/1.0\r\nContent-Length: 5\r\n\r\n"):
        items = read(gzip.compress(prefix + data) if packed else prefix + data, name="a.warc")
        assert all(isinstance(item, Document | Dropped | Rejected) for item in items)


@pytest.mark.parametrize(
    "name",
    [
        "aut/example.warc.gz",
        "aut/example.arc.gz",
        "dolma/sample-0000.warc.gz",
        "chatnoir-resiliparse/warcfile.warc.gz",
        "whirlwind-python/whirlwind.warc.gz",
    ],
)
def test_records_of_real_files_are_those_of_warcio(shared: Path, name: str) -> None:
    iterator = pytest.importorskip("warcio.archiveiterator").ArchiveIterator
    path = shared / "data" / "warc" / name
    expected: list[tuple[int, bytes | None]] = []
    with path.open("rb") as raw:
        records = iterator(raw)
        for record in records:
            body = record.content_stream().read()
            is_http = record.rec_type == "response" and record.http_headers is not None
            expected.append((records.get_record_offset(), body if is_http else None))
    found: list[tuple[int, bytes | None]] = []
    with path.open("rb") as raw:
        for locator, framed in _located(raw, "a.gz", Limits(), 0, None, 0):
            assert not isinstance(framed, Refused), locator
            http = framed.type == "response" and framed.body.startswith(b"HTTP/")
            content = read_response(framed.body, Limits()).content(Limits()) if http else None
            found.append((int(locator.partition("#")[2]), content))
    assert [offset for offset, _ in found] == [offset for offset, _ in expected]
    assert [body for _, body in found] == [body for _, body in expected]


def test_the_clipped_file_is_reported(shared: Path) -> None:
    data = (shared / "data" / "warc" / "chatnoir-resiliparse" / "clipped.warc.gz").read_bytes()
    assert "truncated" in errors(read(data)).values()


def test_wat(hostile: ModuleType) -> None:
    def record(body: bytes, kind: str = "metadata", mime: str = "application/json") -> bytes:
        return gzip.compress(hostile.warc_record(kind, "http://a.org/", body, 1, mime))

    head = {
        "Title": "A title",
        "Metas": [{"name": "Description", "content": "About"}, {"name": "robots", "content": "noai"}, 7],
    }
    response = {
        "Response-Message": {"Status": "200"},
        "Headers": {"Content-Type": "text/html", "X-Robots-Tag": "noimageai", "odd": 7},
        "HTML-Metadata": {"Head": head, "Links": [{"url": "/x"}, {"url": "/y"}]},
    }
    envelope = {
        "Container": {"Filename": "x.warc.gz", "Offset": "7"},
        "Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": response}},
    }
    request: dict[str, Any] = {"Envelope": {"Payload-Metadata": {"HTTP-Request-Metadata": {}}}}
    records = [
        record(json.dumps(envelope).encode()),
        record(json.dumps(request).encode()),
        record(b"{"),
        record(b"[" * 100_000),
        record(b"\xff"),
        record(b"x", "warcinfo", "application/warc-fields"),
        record(b'{"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"Headers": 7, "HTML-Metadata": []}}}}'),
    ]
    found = read(b"".join(records), kind="wat")
    assert list(errors(found).values()) == [
        "ok", "not_a_response", "bad_json", "bad_json", "undecodable", "not_a_response", "ok",
    ]  # fmt: skip
    page = found[0]
    assert isinstance(page, Document)
    assert (page.kind, page.url, page.mime) == ("metadata", "http://a.org/", "application/json")
    assert json.loads(page.text) == envelope
    kept = {key: value for key, value in page.meta.items() if key != "warc_record_id"}
    assert kept == {
        "title": "A title", "description": "About", "http_status": "200", "content_type": "text/html", "links": "2",
        "warc_filename": "x.warc.gz", "warc_offset": "7", "robots_meta": "robots: noai", "x_robots_tag": "noimageai",
    }  # fmt: skip


def test_three_files_of_one_capture(shared: Path) -> None:
    """Common Crawl's WARC and WET of the same page, and the WAT record of its request."""
    folder = shared / "data" / "warc" / "whirlwind-python"

    def items(kind: str, name: str) -> list[Item]:
        return read((folder / name).read_bytes(), kind=kind, name=name)

    (page,) = [item for item in items("warc", "whirlwind.warc.gz") if isinstance(item, Document)]
    (text,) = [item for item in items("wet", "whirlwind.warc.wet.gz") if isinstance(item, Document)]
    assert page.url == text.url == "https://an.wikipedia.org/wiki/Escopete"
    assert text.meta["warc_identified_language"] and text.text.startswith("Escopete")
    wat = list(errors(items("wat", "whirlwind.warc.wat.gz")).values())
    assert wat == ["not_a_response", "not_a_response"]


def test_host_files_are_documents_where_they_are_asked_for(shared: Path) -> None:
    data = (shared / "data" / "warc" / "aut" / "example.warc.gz").read_bytes()[:400_000]
    plain, more = read(data), read(data, host_files=True)
    assert [item.locator for item in plain] == [item.locator for item in more]
    files = [item for item in more if isinstance(item, Document) and item.kind == "reservation"]
    assert len(files) > 5 and {file.meta["host_file"] for file in files} == {"robots.txt"}
    assert all("ser-agent" in file.text for file in files)
    pages = [item for item in more if isinstance(item, Document) and item.kind != "reservation"]
    assert pages == [item for item in plain if isinstance(item, Document)]
