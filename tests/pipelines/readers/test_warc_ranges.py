"""WARC files of every compression, read by ranges: each record once, whatever the cuts and the damage."""

from __future__ import annotations

import dataclasses
import gzip
import io
import struct
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.readers import ERRORS, LOCAL, Limits, Source, plan_units, read_unit
from pipelines.readers import warc as warc_module
from pipelines.readers.files import Found
from pipelines.readers.records import Refused
from pipelines.readers.warc import _located, cuts
from pipelines.readers.warc_framing import Pushback, _any_headers, _headers, record_starts

PACKINGS = ("gzip", "zstd", "zstd with dictionary", "lz4", "none")
NAMES = {"gzip": "a.warc.gz", "zstd": "a.warc.zst", "zstd with dictionary": "a.warc.zst", "lz4": "a.warc.lz4"}
SAMPLES: list[bytes | bytearray | memoryview] = [
    b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: %d\r\n\r\n<html>%d" % (i, i * i) for i in range(3000)
]
DICTIONARY = zstandard.train_dictionary(4096, SAMPLES)


def skippable(number: int, content: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, len(content)) + content


def pack(records: list[bytes], packing: str) -> list[bytes]:
    """Each record in its own member."""
    if packing == "gzip":
        return [gzip.compress(record, mtime=0) for record in records]
    if packing == "zstd":
        return [zstandard.ZstdCompressor(write_checksum=True).compress(record) for record in records]
    if packing == "zstd with dictionary":
        compressor = zstandard.ZstdCompressor(dict_data=DICTIONARY, write_checksum=True)
        return [compressor.compress(record) for record in records]
    if packing == "lz4":
        return [pa.Codec("lz4").compress(record, asbytes=True) for record in records]
    return records


def head(packing: str, packed: bool = False) -> bytes:
    if packing != "zstd with dictionary":
        return b""
    content = DICTIONARY.as_bytes()
    return skippable(0xD, zstandard.ZstdCompressor().compress(content) if packed else content)


def framed(data: bytes, packing: str, start: int = 0, stop: int | None = None) -> list[tuple[str, str]]:
    found = _located(io.BytesIO(data), NAMES.get(packing, "a.warc"), Limits(), start, stop, 0)
    return [(at, r.error if isinstance(r, Refused) else r.headers["warc-record-id"]) for at, r in found]


def some_records(hostile: ModuleType, inner: str | None = None) -> list[bytes]:
    """Five records, of which the third holds two others that are compressed themselves, or not."""
    page = b"<p>" + b"some words of a page " * 20
    records = [hostile.response(page, i) for i in range(5)]
    if inner is not None:
        kept = b"".join(pack(records[:2], inner))
        records[2] = hostile.warc_record("resource", "http://a.org/x.warc", b"\r\n\r\n" + kept, 2, "application/warc")
    return records


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_gives_the_same_records(hostile: ModuleType, packing: str) -> None:
    records = some_records(hostile)
    for packed in (False, True):
        data = head(packing, packed) + b"".join(pack(records, packing))
        assert [name[-13:-1] for _, name in framed(data, packing)] == [f"{i:012d}" for i in range(5)]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packing=st.sampled_from(PACKINGS),
    cut_at=st.lists(st.integers(1, 5000), max_size=10),
    damage=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([b"junk", b"junk\r\n", bytes(30), b"\x28\xb5\x2f\xfd\0bad" * 3])),
        max_size=2,
    ),
    wrong_length=st.sampled_from([0, 0, 7, -7, 10**6]),
    tail=st.sampled_from([0, 0, 1, 3, 40, 700]),
)
def test_ranges_give_every_record_exactly_once(
    hostile: ModuleType,
    packing: str,
    cut_at: list[int],
    damage: list[tuple[int, bytes]],
    wrong_length: int,
    tail: int,
) -> None:
    records = some_records(hostile, "none" if packing == "none" else None)
    length = len(records[1].partition(b"\r\n\r\n")[2]) - 4
    records[1] = records[1].replace(b"Length: %d\r" % length, b"Length: %d\r" % (length + wrong_length))
    members = pack(records, packing)
    for at, junk in damage:
        members.insert(at, junk)
    data = head(packing) + b"".join(members)
    data = data[: len(data) - tail]
    raw = io.BytesIO(data)
    # A cut of an uncompressed file that falls on a record inside a record is believed to be one of the file's own.
    inner = (
        {at for at in range(len(data)) if data.startswith(b"WARC/", at)} - set(record_starts(raw, Limits()))
        if packing == "none"
        else set()
    )
    edges = sorted({0, *(cut for cut in cut_at if cut < len(data) and cut not in inner)})
    parts = [
        pair
        for start, stop in zip(edges, [*edges[1:], None], strict=True)
        for pair in framed(data, packing, start, stop)
    ]
    assert parts == framed(data, packing)


@pytest.mark.parametrize("packing", ["zstd", "zstd with dictionary", "lz4"])
def test_damage_of_frames_costs_only_what_it_touches(hostile: ModuleType, packing: str) -> None:
    first, second, third = pack(some_records(hostile)[:3], packing)
    begin = head(packing)
    a, b = len(begin), len(begin) + len(first)
    c = b + len(second)
    broken = second[:20] + b"\xff\xff\xff\xff" + second[24:]
    for data, expected in {
        first + second + third[:-3]: {a: "ok", b: "ok", c: "truncated"},
        first + second + third[:3]: {a: "ok", b: "ok", c: "truncated"},
        first + second[: len(second) // 2] + third: {a: "ok", b: "broken_record", b + len(second) // 2: "ok"},
        first + broken + third: {a: "ok", b: "broken_record", c: "ok"},
        first + b"junk" + third: {a: "ok", b: "broken_record", b + 4: "ok"},
        first + skippable(3, b"anything") + third: {a: "ok", b + 16: "ok"},
        # A skippable frame that would lead into a record, or beyond the file.
        first + skippable(3, bytes(60))[:8] + third: {a: "ok", b: "broken_record", b + 8: "ok"},
        first + struct.pack("<II", 0x184D2A53, 1 << 30) + third: {a: "ok", b: "broken_record", b + 8: "ok"},
        b"junk" + first: {a: "broken_record", a + 4: "ok"},
    }.items():
        found = {at.partition("#")[2]: "ok" if "urn" in what else what for at, what in framed(begin + data, packing)}
        assert found == {str(offset): error for offset, error in expected.items()}


def test_a_broken_dictionary_is_one_rejected_item(hostile: ModuleType) -> None:
    frames = b"".join(pack(some_records(hostile), "zstd with dictionary"))
    whole = head("zstd with dictionary") + frames
    assert framed(whole[:1000], "zstd") == [("a.warc.zst#0", "truncated")]
    garbage = skippable(0xD, b"\x28\xb5\x2f\xfd" + b"garbage" * 9) + frames
    assert framed(garbage, "zstd") == [("a.warc.zst#0", "broken_record")]
    assert framed(garbage, "zstd", 500, None) == []
    other = skippable(0xD, b"no dictionary of these frames") + frames
    assert {what for _, what in framed(other, "zstd")} == {"broken_record"}


@pytest.mark.parametrize("packing", ["zstd", "lz4"])
def test_bombs_in_frames(hostile: ModuleType, packing: str) -> None:
    bomb = hostile.response(bytes(60 << 20), 0)  # LZ4 reaches 250 times at most
    assert [what for _, what in framed(b"".join(pack([bomb], packing)), packing)] == ["zip_bomb"]


@pytest.mark.parametrize("packing", PACKINGS)
def test_large_files_are_cut(
    hostile: ModuleType, packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warc_module, "RANGE_BYTES", 700)
    monkeypatch.setattr(warc_module, "PLAIN_RANGE_BYTES", 700)
    body = ("<html><body><article>" + "<p>A sentence about rivers and old bridges, again.</p>" * 9).encode()
    records = [hostile.response(body + b"%d" % i * i, i) for i in range(24)]
    path = tmp_path / NAMES.get(packing, "a.warc")
    path.write_bytes(head(packing) + b"".join(pack(records, packing)))
    units = plan_units(Source("s", "warc", (str(path),), extractor="fast"))
    assert len(units) > 3
    items = [item for unit in units for item in read_unit(unit)]
    whole = list(read_unit(dataclasses.replace(units[0], start=0, stop=None)))
    assert [item.locator for item in items] == [item.locator for item in whole]
    assert len(items) == 24


def test_what_cannot_be_cut_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc_module, "PLAIN_RANGE_BYTES", 10)
    path = tmp_path / "a.warc"
    path.write_bytes(b"no record at all" * 9)
    source = Source("s", "warc", (str(path),))
    assert cuts(Found(str(path), "a.warc", 144, True), source, LOCAL) == []
    assert cuts(Found(str(path) + ".gone", "b.warc", 144, True), source, LOCAL) == []
    assert cuts(Found(str(path), "a.warc.bz2", 1 << 40, True), source, LOCAL) == []


def test_walking_is_linear_and_passes_over_bodies(hostile: ModuleType) -> None:
    """An uncompressed file is planned by its headers: the bytes read grow with the records, not with their bodies."""

    class Counting(io.BytesIO):
        total = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            Counting.total += len(data)
            return data

    raw = Counting(b"".join(hostile.response(b"x" * 1_000_000, i) for i in range(8)))
    assert len(list(record_starts(raw, Limits()))) == 8
    assert Counting.total < 1_500_000


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(["A: b", "a:c", " more", "\tmore", "none", ":", " : x", "C: ü\x85", "D:\r", "E: \nF: g", ""])
    ),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([b"", b"\xff", b"\xc3"]),
    st.integers(1, 80),
)
def test_plain_headers_are_those_of_any_headers(lines: list[str], end: str, junk: bytes, piece: int) -> None:
    data = (junk + end.join(lines).encode() + junk) + end.encode() * 2 + b"body"

    def read(whole: bool) -> tuple[Any, bytes]:
        raw = io.BytesIO(data)
        stream = Pushback(lambda _: raw.read(len(data) if whole else piece), False)
        stream.at_end()
        found = _headers(stream) if whole else _any_headers(stream)
        return (found.error if isinstance(found, Refused) else found), stream.read(len(data))

    assert read(True) == read(False)


@pytest.mark.parametrize("kind", ["line", "lines", "headers", "members"])
def test_garbage_is_read_in_linear_time(kind: str) -> None:
    def seconds(size: int) -> float:
        data = {
            "line": b"x" * size,
            "lines": b"WARC/1.0" + b"\n" * size,
            "headers": b"WARC/1.0\r\n" + b"a:" * (size // 2),
            "members": b"\x1f\x8b\x08" * (size // 3),
        }[kind]
        name = "gzip" if kind == "members" else "none"
        begin = time.process_time()
        found = framed(data, name)
        list(record_starts(io.BytesIO(data), Limits()))
        assert found and all(what in ERRORS for _, what in found)
        return time.process_time() - begin

    seconds(10_000)
    assert seconds(320_000) < 10 * max(seconds(80_000), 0.01)
