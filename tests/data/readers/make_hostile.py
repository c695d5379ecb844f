"""A directory of mixed inputs, some of them hostile, with what a reader must make of each.

    mixed = make_mixed_directory(Path("out"), files=2000, hostile=200)
    python tests/data/readers/make_hostile.py OUT [--files N] [--hostile N] [--seed N]

One folder a kind (html, warc, wet, jsonl, parquet, code), so that a recipe with one source a kind can read
it. The same arguments give the same bytes.  blns.json: the Big List of Naughty Strings by Max Woolf, MIT.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import io
import json
import os
import random
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

KINDS = ("html", "warc", "wet", "jsonl", "parquet", "code")
_DATE = (2024, 1, 1, 0, 0, 0)
# Over ten times what a bomb of this size may inflate to, and quick to make.
_BOMB_BYTES = 24 << 20
_WORDS = (
    "river stone market morning people history garden window theory between numbers evening language "
    "mountain question answer method village company science weather picture because "
    "although research music letter"
).split()


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A hostile file: `error` must be among the rejected items whose locator begins with the file's name.

    error None: it may become a document, be dropped or be rejected; it must not break anything else.
    """

    kind: str
    name: str
    error: str | None


@dataclasses.dataclass
class Mixed:
    """What was made.  `documents`: exact number from the well-formed files of each kind."""

    root: Path
    documents: dict[str, int]
    files: dict[str, int]
    hostile: list[Hostile]


def strings() -> list[str]:
    return json.loads((Path(__file__).parent / "blns.json").read_text("utf-8"))


# --- pieces ---


def _prose(rng: random.Random, sentences: int = 6) -> str:
    return " ".join(" ".join(rng.choices(_WORDS, k=rng.randint(9, 15))).capitalize() + "." for _ in range(sentences))


def _page(rng: random.Random, body: str | None = None, charset: str = "utf-8") -> str:
    paragraphs = "".join(f"<p>{_prose(rng)}</p>\n" for _ in range(3)) if body is None else body
    title = " ".join(rng.choices(_WORDS, k=3))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="{charset}"><title>{title}</title></head>\n'
        f"<body><nav><a href='/'>Home</a></nav><article><h1>{title}</h1>\n"
        f"{paragraphs}</article></body></html>\n"
    )


def _gz(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def make_zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo("x", _DATE)
            info.filename = name  # as it is: the constructor would mend it
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def make_tar(members: Iterable[tuple[str, bytes | tarfile.TarInfo]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def warc_record(kind: str, url: str, body: bytes, number: int, content_type: str, length: int | None = None) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>\r\n"
        f"WARC-Date: 2024-05-18T01:58:{number % 60:02d}Z\r\nWARC-Target-URI: {url}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def http(page: bytes, headers: str = "Content-Type: text/html; charset=utf-8\r\n") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + page


def response(page: bytes, number: int, length: int | None = None, headers: str | None = None) -> bytes:
    body = http(page) if headers is None else http(page, headers)
    kind = "application/http; msgtype=response"
    return warc_record("response", f"http://example.org/{number}", body, number, kind, length)


def _row(rng: random.Random, **more: Any) -> dict[str, Any]:
    return {"text": _prose(rng), "url": f"https://example.org/{rng.randrange(10**9)}", **more}


def _lines(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _parquet(rows: dict[str, Any], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(rows), sink, **options)
    return sink.getvalue().to_pybytes()


def _source(rng: random.Random) -> bytes:
    name = "_".join(rng.choices(_WORDS, k=2))
    return f'"""{_prose(rng, 1)}"""\n\n\ndef {name}(value):\n    return value + {rng.randrange(1000)}\n'.encode()


def _noise(rng: random.Random, size: int, nul: bool = True) -> bytes:
    data = rng.randbytes(size)
    return data if nul else data.replace(b"\0", b"\x01")


# --- well-formed files: name, bytes, number of documents ---


def _good(kind: str, index: int, rng: random.Random) -> tuple[str, bytes, int]:
    name = f"{index % 7}/good-{index:05d}"
    match kind:
        case "html" if index % 20 == 3:
            pages = [(f"site/{i}.html", _page(rng).encode()) for i in range(3)]
            return f"{name}.zip", make_zip(pages), 3
        case "html" if index % 20 == 7:
            return f"{name}.html.gz", _gz(_page(rng).encode()), 1
        case "html" if index % 20 == 11:
            return f"{name}.htm", _page(rng, charset="windows-1252").encode("cp1252"), 1
        case "html":
            return f"{name}.html", _page(rng).encode(), 1
        case "warc":
            records = [response(_page(rng).encode(), i) for i in range(2)]
            records.insert(1, warc_record("request", "http://example.org/", b"GET / HTTP/1.1\r\n\r\n", 9, "x/y"))
            packed = index % 2
            return f"{name}.warc{'.gz' * packed}", b"".join(map(_gz, records) if packed else records), 2
        case "wet":
            records = [
                warc_record("conversion", f"http://example.org/{i}", _prose(rng).encode(), i, "text/plain")
                for i in range(3)
            ]
            return f"{name}.warc.wet.gz", b"".join(map(_gz, records)), 3
        case "jsonl":
            data = _lines(_row(rng, id=f"{index}-{i}", stars=i) for i in range(4))
            if index % 3 == 1:
                return f"{name}.jsonl.gz", _gz(data), 4
            if index % 3 == 2:
                return f"{name}.jsonl.zst", zstandard.ZstdCompressor().compress(data), 4
            return f"{name}.jsonl", data, 4
        case "parquet":
            rows = [_row(rng, doc_id=f"{index}-{i}") for i in range(5)]
            return f"{name}.parquet", _parquet({key: [row[key] for row in rows] for key in rows[0]}), 5
        case _:
            if index % 25 == 4:
                top = f"package-{index}"
                files: list[tuple[str, bytes]] = [(f"{top}/m{i}.py", _source(rng)) for i in range(3)]
                files.append((f"{top}/README.md", _prose(rng).encode()))
                return f"{name}.tar.gz", _gz(make_tar(files)), 4
            return f"{name}{('.py', '.js', '.rs', '.md')[index % 4]}", _source(rng), 1


# --- hostile files ---

Maker = Callable[[random.Random, int], "bytes | Callable[[Path], None]"]
_CASES: list[tuple[str, str, str | None, Maker]] = []


def _case(kind: str, suffix: str, error: str | None) -> Callable[[Maker], Maker]:
    def add(make: Maker) -> Maker:
        _CASES.append((kind, suffix, error, make))
        return make

    return add


def _plain(kind: str, suffix: str, error: str | None, make: Callable[[random.Random], Any]) -> None:
    _CASES.append((kind, suffix, error, lambda rng, number: make(rng)))


def _sparse(size: int, head: bytes = b"", tail: bytes = b"") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(size)
            file.seek(0, os.SEEK_END)
            file.write(tail)

    return write


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


@_case("html", "-strings.html", None)
def _strings_page(rng: random.Random, number: int) -> bytes:
    picked = rng.sample(strings(), 20)
    body = "".join(f"<p>{string}</p>" for string in picked)
    return _page(rng, body).encode("utf-8", "surrogatepass")


@_case("jsonl", "-strings.jsonl", None)
def _string_ids(rng: random.Random, number: int) -> bytes:
    picked = rng.sample(strings(), 20)
    return _lines({"id": string, "text": string + " text"} for string in picked)


def _encrypted_zip(rng: random.Random) -> bytes:
    data = bytearray(make_zip([("a.html", _page(rng).encode())]))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # general purpose flag, bit 0 (APPNOTE 4.4.4)
        data[data.find(mark) + offset] |= 1
    return bytes(data)


def _overlapping_zip(rng: random.Random) -> bytes:
    """Ten names for one stretch of data, as in the bombs without recursion of D. Fifield (2019)."""
    page = _page(rng).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("0.html", _DATE), page)
        for number in range(1, 10):
            copy = zipfile.ZipInfo(f"{number}.html", _DATE)
            for field in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(copy, field, getattr(archive.filelist[0], field))
            archive.filelist.append(copy)
    return buffer.getvalue()


def _damaged_member_zip(rng: random.Random) -> bytes:
    data = bytearray(make_zip([("a.html", _page(rng).encode()), ("b.html", _page(rng).encode())]))
    data[100:110] = bytes(10)
    return bytes(data)


def _flipped_tar(rng: random.Random) -> bytes:
    data = bytearray(make_tar((f"{i}.html", _page(rng).encode()) for i in range(5)))
    second = data.find(b"1.html")
    data[second + 148 : second + 156] = b"\xff" * 8  # the header's check sum
    return bytes(data)


def _html_cases() -> None:
    def case(suffix: str, error: str | None, make: Callable[[random.Random], Any]) -> None:
        _plain("html", suffix, error, make)

    case("-empty.html", None, lambda rng: b"")
    case("-nul.html", "binary", lambda rng: bytes(4096))
    case("-noise.html", "binary", lambda rng: _noise(rng, 4096))
    case("-invalid.html", "undecodable", lambda rng: _noise(rng, 2048, nul=False))
    case("-png.html", "binary", lambda rng: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + _noise(rng, 500))
    case("-one-bad-byte.html", None, lambda rng: _page(rng, f"<p>é{_prose(rng)}</p>").encode() + b"\xff")
    case("-utf16.html", None, lambda rng: _page(rng).encode("utf-16-le"))
    case("-utf16-mark.html", None, lambda rng: _page(rng).encode("utf-16"))
    case("-wrong-charset.html", None, lambda rng: _page(rng, "<p>žluťoučký kůň " * 20, "iso-8859-1").encode())
    case("-attribute.html", None, lambda rng: _page(rng, f'<p title="{"x" * 3_000_000}">text</p>').encode())
    case("-attributes.html", "too_large", lambda rng: f"<p {'a=1 ' * 20_000}>text</p>".encode())
    case("-unclosed.html", "too_large", lambda rng: b"<html><body>" + b"<div>" * 100_000 + b"text")
    case("-unclosed-b.html", "too_large", lambda rng: b"<html><body>" + b"<b>" * 100_000 + b"text")
    case("-many-p.html", None, lambda rng: b"<html><body>" + b"<p>some text" * 100_000)
    case("-large.html", "too_large", lambda rng: b"<html><body>" + b"word " * (4 << 20))
    case("-sparse.html", "too_large", lambda rng: _sparse(100_000_000, b"<html>"))
    case("-entities.html", None, lambda rng: b"<html><p>" + b"&#0;&#xD800;&#x110000;&lt;" * 2000)
    case("-script.html", None, lambda rng: b"<html><script>" + b"<!--<script>" * 5000)
    case("-only-tags.html", None, lambda rng: b"<" * 50_000)
    case("-link.html", "unsafe_link", lambda rng: _link("/etc/hostname"))
    case("-link-up.html", "unsafe_link", lambda rng: _link("../../../../outside.html"))
    case("-pipe.html", "special_file", lambda rng: lambda path: os.mkfifo(path))
    case("-bomb.html.gz", "zip_bomb", lambda rng: _gz(bytes(_BOMB_BYTES)))
    case("-cut.html.gz", "truncated", lambda rng: _gz(_page(rng).encode())[:-20])
    case("-noise.html.gz", "broken_record", lambda rng: _noise(rng, 500))
    case("-noise.zip", "broken_record", lambda rng: _noise(rng, 4096))
    case("-cut.zip", "truncated", lambda rng: make_zip([("a.html", _page(rng).encode())])[:-30])
    case("-bomb.zip", "zip_bomb", lambda rng: make_zip([("a.html", bytes(_BOMB_BYTES)), ("b.html", b"<p>b")]))
    case("-overlap.zip", "zip_bomb", _overlapping_zip)
    case(
        "-up.zip",
        "path_traversal",
        lambda rng: make_zip([("../../a.html", b"<p>a"), ("/etc/b.html", b"<p>b")]),
    )
    case(
        "-up-windows.zip",
        "path_traversal",
        lambda rng: make_zip([("..\\a.html", b"a"), ("C:\\b.html", b"b")]),
    )
    inner = make_zip([("x.html", b"<p>x")])
    case("-nested.zip", "nested_archive", lambda rng: make_zip([("inner.zip", inner), ("a.html", b"<p>a")]))
    case("-encrypted.zip", "encrypted", _encrypted_zip)
    case("-damaged.zip", "broken_record", _damaged_member_zip)
    case("-twice.tar", "duplicate_id", lambda rng: make_tar([("a.html", _page(rng).encode())] * 2))
    case("-cut.tar", "truncated", lambda rng: make_tar([("a.html", _page(rng).encode() * 3)])[:1500])
    case("-damaged.tar", "broken_record", _flipped_tar)
    case("-noise.tar", "broken_record", lambda rng: _noise(rng, 4096))
    case(
        "-device.tar",
        "special_file",
        lambda rng: make_tar([("a.html", tar_entry("a.html", tarfile.CHRTYPE))]),
    )
    case(
        "-links.tar.gz",
        "unsafe_link",
        lambda rng: _gz(make_tar([("", tar_entry("a.html", tarfile.SYMTYPE, "../../etc/passwd"))])),
    )
    case("-bomb.tar.gz", "zip_bomb", lambda rng: _gz(make_tar([("a.html", bytes(_BOMB_BYTES))])))
    case("-up.tar", "path_traversal", lambda rng: make_tar([("../a.html", b"<p>a")]))
    case("-cut.tar.gz", "truncated", lambda rng: _gz(make_tar([("a.html", _noise(rng, 90_000))]))[:-5000])


def _row_cases() -> None:
    def case(suffix: str, error: str | None, make: Callable[[random.Random], Any]) -> None:
        _plain("jsonl", suffix, error, make)

    good = b'{"text": "a good line"}\n'
    case("-bad.jsonl", "bad_json", lambda rng: good + b'{"text": "cut\n' + good)
    case("-list.jsonl", "bad_json", lambda rng: good + b"[1, 2]\n")
    case("-no-text.jsonl", "missing_text", lambda rng: good + b'{"id": "a"}\n')
    case("-number.jsonl", "missing_text", lambda rng: good + b'{"text": 7}\n')
    case("-deep.jsonl", "bad_json", lambda rng: good + b'{"text": ' + b"[" * 100_000 + b"\n" + good)
    case("-deep-meta.jsonl", None, lambda rng: b'{"text": "a", "b": ' + b"[" * 900 + b"]" * 900 + b"}\n")
    case("-digits.jsonl", "bad_json", lambda rng: b'{"text": "a", "n": ' + b"9" * 10_000 + b"}\n")
    case("-twice.jsonl", "duplicate_id", lambda rng: b'{"id": "same", "text": "a b"}\n' * 2)
    case("-ids.jsonl", "invalid_id", lambda rng: b'{"id": [], "text": "a"}\n{"id": "", "text": "b"}\n')
    case("-nul-id.jsonl", "invalid_id", lambda rng: b'{"id": "a\\u0000", "text": "a"}\n')
    case("-surrogates.jsonl", "undecodable", lambda rng: b'{"text": "lone \\ud800 and \\udc00 and \\u0000."}\n')
    case("-invalid.jsonl", "undecodable", lambda rng: good + b'{"text": "\xff\xfe"}\n' + good)
    case("-utf16.jsonl", "undecodable", lambda rng: "\ufeffa\n".encode("utf-16"))
    case("-nul.jsonl", "bad_json", lambda rng: bytes(5000))
    case("-empty.jsonl", None, lambda rng: b"")
    case("-line.jsonl", "too_large", lambda rng: _sparse(100_000_000, b'{"text": "', b'"}\n' + good))
    case("-cut.jsonl.gz", "truncated", lambda rng: _gz(_lines(_row(rng) for _ in range(200)))[:-200])
    case(
        "-cut.jsonl.zst",
        "truncated",
        lambda rng: zstandard.ZstdCompressor().compress(_lines(_row(rng) for _ in range(200)))[:-200],
    )
    case("-noise.jsonl.gz", "broken_record", lambda rng: _noise(rng, 3000))
    case("-noise.jsonl.zst", "broken_record", lambda rng: _noise(rng, 3000))
    case("-tail.jsonl.gz", "broken_record", lambda rng: _gz(good) + b"trailing garbage")
    case("-bomb.jsonl.gz", "zip_bomb", lambda rng: _gz(b'{"text": "' + b"a" * (_BOMB_BYTES)))
    case("-bomb.jsonl.zst", "zip_bomb", lambda rng: zstandard.ZstdCompressor().compress(b"a" * (_BOMB_BYTES)))

    def table(suffix: str, error: str | None, make: Callable[[random.Random], Any]) -> None:
        _plain("parquet", suffix, error, make)

    def cut(rng: random.Random) -> bytes:
        return _parquet({"text": [_prose(rng) for _ in range(50)]})[:-100]

    def damaged(rng: random.Random) -> bytes:
        data = bytearray(
            _parquet({"text": [_prose(rng) for _ in range(2000)]}, compression="zstd", write_page_checksum=True)
        )
        data[2000:2200] = _noise(rng, 200)
        return bytes(data)

    table("-noise.parquet", "broken_record", lambda rng: _noise(rng, 5000))
    table("-cut.parquet", "truncated", cut)
    table("-damaged.parquet", "broken_record", damaged)
    table("-footer.parquet", "broken_record", lambda rng: b"PAR1" + _noise(rng, 100) + b"\x50\0\0\0PAR1")
    table("-no-text.parquet", "missing_text", lambda rng: _parquet({"body": ["a"]}))
    table("-null.parquet", "missing_text", lambda rng: _parquet({"text": ["a b", None]}))
    table("-twice.parquet", "duplicate_id", lambda rng: _parquet({"id": ["a", "a"], "text": ["a b", "c d"]}))
    table("-empty.parquet", None, lambda rng: b"")


def _warc_cases() -> None:
    def case(suffix: str, error: str | None, make: Callable[[random.Random], Any]) -> None:
        _plain("warc", suffix, error, make)

    def three(rng: random.Random, delta: int = 0) -> list[bytes]:
        pages = [_page(rng).encode() for _ in range(3)]
        length = len(http(pages[1])) + delta
        return [response(pages[0], 0), response(pages[1], 1, length), response(pages[2], 2)]

    def packed(records: list[bytes]) -> bytes:
        return b"".join(map(_gz, records))

    def flipped(rng: random.Random) -> bytes:
        first, second, third = map(_gz, three(rng))
        return first + second[:200] + b"\xff" * 50 + second[250:] + third

    def chunked(body: bytes) -> bytes:
        return _gz(response(body, 0, headers="Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n"))

    case("-long.warc", "wrong_length", lambda rng: b"".join(three(rng, 200)))
    case("-short.warc", "wrong_length", lambda rng: b"".join(three(rng, -50)))
    case("-long.warc.gz", "wrong_length", lambda rng: packed(three(rng, 200)))
    case("-short.warc.gz", "wrong_length", lambda rng: packed(three(rng, -50)))
    case("-cut.warc", "truncated", lambda rng: b"".join(three(rng))[:-300])
    case("-cut.warc.gz", "truncated", lambda rng: packed(three(rng))[:-300])
    case("-cut-header.warc.gz", "truncated", lambda rng: packed(three(rng)) + b"\x1f\x8b\x08\0")
    case(
        "-garbage.warc.gz",
        "broken_record",
        lambda rng: _gz(three(rng)[0]) + b"garbage" * 9 + _gz(three(rng)[2]),
    )
    case("-flipped.warc.gz", "broken_record", flipped)
    case("-noise.warc.gz", "broken_record", lambda rng: _noise(rng, 4000))
    case("-noise.warc", "broken_record", lambda rng: _noise(rng, 4000))
    case("-html.warc.gz", "broken_record", lambda rng: _page(rng).encode())
    case(
        "-no-length.warc",
        "broken_record",
        lambda rng: b"WARC/1.0\r\nWARC-Type: response\r\n\r\n" + three(rng)[0],
    )
    case("-huge-length.warc", None, lambda rng: response(b"<p>a", 0, 10**17))
    case("-bomb.warc.gz", "zip_bomb", lambda rng: _gz(response(bytes(_BOMB_BYTES), 0)) + _gz(three(rng)[0]))
    case("-chunks.warc.gz", "truncated", lambda rng: chunked(b"ffff\r\n<html><p>short"))
    case("-chunk-size.warc.gz", "broken_record", lambda rng: chunked(b"4\r\n<p>a\r\nzz\r\nrest"))
    case("-not-http.warc.gz", "broken_record", lambda rng: _gz(
        warc_record("response", "http://a.org/", b"no status line", 0, "application/http")
    ))  # fmt: skip
    case("-empty.warc.gz", None, lambda rng: b"")
    texts = [warc_record("conversion", "http://a.org/", b"text \xff\xfe", 0, "text/plain")]
    _plain("wet", "-invalid.warc.wet.gz", "undecodable", lambda rng: packed(texts))
    _plain("wet", "-cut.warc.wet.gz", "truncated", lambda rng: packed(texts)[:-12])


def _code_cases() -> None:
    def case(suffix: str, error: str | None, make: Callable[[random.Random], Any]) -> None:
        _plain("code", suffix, error, make)

    def sdist(*files: tuple[str, Any]) -> bytes:
        return _gz(make_tar([("p-1/a.py", b"a = 1\n"), *files]))

    case("-nul.py", "binary", lambda rng: b"import os\0\0\n")
    case("-noise.c", "undecodable", lambda rng: _noise(rng, 3000, nul=False))
    case("-large.py", "too_large", lambda rng: _sparse(20_000_000, b"a = 1\n"))
    case("-empty.py", None, lambda rng: b"")
    case("-blank.py", None, lambda rng: b" \n\t\n")
    case("-link.py", "unsafe_link", lambda rng: _link("/etc/passwd"))
    case("-bad.ipynb", "bad_json", lambda rng: b'{"cells": [')
    case("-no-cells.ipynb", "bad_json", lambda rng: b'{"nbformat": 4}')
    case("-deep.ipynb", "bad_json", lambda rng: b"[" * 100_000)
    case("-latin.py", None, lambda rng: "# coding: latin-1\nname = 'caf\xe9'\n".encode("latin-1"))
    case("-nested.tar.gz", "nested_archive", lambda rng: sdist(("p-1/t/x.zip", make_zip([("x.py", b"x")]))))
    case("-up.tar.gz", "path_traversal", lambda rng: sdist(("p-1/../../b.py", b"b = 1\n")))
    case(
        "-link.tar.gz",
        "unsafe_link",
        lambda rng: sdist(("", tar_entry("p-1/l.py", tarfile.SYMTYPE, "/etc/passwd"))),
    )
    case("-pipe.tar.gz", "special_file", lambda rng: sdist(("", tar_entry("p-1/pipe.py", tarfile.FIFOTYPE))))
    case("-bomb.whl", "zip_bomb", lambda rng: make_zip([("a.py", b" " * (_BOMB_BYTES)), ("b.py", b"b = 1\n")]))
    case("-cut.tar.gz", "truncated", lambda rng: sdist(("p-1/n.py", _noise(rng, 50_000)))[:-9000])
    case("-strings.py", None, lambda rng: "\n".join(rng.sample(strings(), 50)).encode("utf-8", "surrogatepass"))


_html_cases()
_row_cases()
_warc_cases()
_code_cases()
CASES = len(_CASES)


def make_mixed_directory(root: Path, files: int = 2000, hostile: int = 200, seed: int = 0) -> Mixed:
    """`files` files, of which `hostile` are hostile: each case in turn, the two of 100 MB (sparse) once."""
    if hostile > files:
        raise ValueError("more hostile files than files")
    rng = random.Random(seed)
    mixed = Mixed(Path(root), dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), [])
    for kind in KINDS:
        (mixed.root / kind).mkdir(parents=True, exist_ok=True)
    for index in range(files - hostile):
        # Half of all files are pages and code, as in a crawl.
        kind = ("html", "code", "jsonl", "html", "warc", "code", "parquet", "html", "wet", "code")[index % 10]
        name, data, documents = _good(kind, index, rng)
        _write(mixed.root / kind / name, data)
        mixed.documents[kind] += documents
        mixed.files[kind] += 1
    repeated = [case for case in _CASES if case[1] not in ("-sparse.html", "-line.jsonl")]
    for index in range(hostile):
        kind, suffix, error, make = _CASES[index] if index < CASES else repeated[index % len(repeated)]
        name = f"h{index % 5}/{index:04d}{suffix}"
        _write(mixed.root / kind / name, make(rng, index))
        mixed.hostile.append(Hostile(kind, name, error))
        mixed.files[kind] += 1
    return mixed


def _write(path: Path, content: bytes | Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def main() -> int:
    arguments = argparse.ArgumentParser(description="A directory of mixed inputs, some of them hostile.")
    arguments.add_argument("root", type=Path)
    arguments.add_argument("--files", type=int, default=2000)
    arguments.add_argument("--hostile", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    mixed = make_mixed_directory(options.root, options.files, options.hostile, options.seed)
    print(json.dumps({
        "documents": mixed.documents, "files": mixed.files,
        "hostile": [dataclasses.asdict(one) for one in mixed.hostile],
    }, indent=1))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
