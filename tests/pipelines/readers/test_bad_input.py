"""Bad input of every kind of source: each case by its name with its reason, the good file beside it unharmed, nothing
passed over and nothing written.

Kinds with cases of their own: `make_hostile` (html, warc, wet, jsonl, parquet, code), and the tests of each reader.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from pipelines.readers import FORMATS, Document, Dropped, Item, Limits, Rejected, Source, plan_units, read_unit
from tests.conftest import module_from

DATA = Path(__file__).parents[2] / "data" / "readers"
HOSTILE: ModuleType = module_from(DATA / "make_hostile.py")
# What the cases are made for; a bomb is one from 10 times as much on.
LIMITS = Limits(max_item_bytes=1 << 20, max_code_bytes=1 << 20, ratio_floor_bytes=1 << 20, max_members=500)
MIB = 1 << 20
Bad = bytes | Callable[[Path], None]

PAGE = b"<html><body><article>" + b"<p>Some words about rivers and old bridges here.</p>" * 9 + b"</article>"
FEED = (
    b'<rss version="2.0"><channel><title>T</title><item><title>A</title><link>https://e.org/1</link>'
    b"<description>Some words of an entry.</description></item></channel></rss>"
)
WIKI = (
    b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en"><siteinfo>'
    b"<sitename>W</sitename><dbname>enwiki</dbname><base>https://en.wikipedia.org/wiki/M</base></siteinfo>\n"
    b"  <page>\n    <title>T</title>\n    <ns>0</ns>\n    <id>1</id>\n    <revision>\n      <id>2</id>\n"
    b"      <model>wikitext</model>\n      <text>Some words about rivers.</text>\n    </revision>\n  </page>\n"
    b"</mediawiki>\n"
)
POSTS = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<posts>\n  <row Id="1" PostTypeId="1" Title="T" Score="1" '
    b'Body="&lt;p&gt;Why?&lt;/p&gt;" />\n  <row Id="2" PostTypeId="2" ParentId="1" Score="1" '
    b'Body="&lt;p&gt;So.&lt;/p&gt;" />\n'
    b"</posts>\n"
)
PAPER = b"\\documentclass{article}\\begin{document}\\section{One}\nSome words about rivers.\n\\end{document}\n"
EVENT = json.dumps({
    "id": "1", "type": "IssuesEvent", "actor": {"login": "ann"}, "repo": {"name": "o/n"},
    "created_at": "2024-01-01T00:00:00Z",
    "payload": {"action": "opened", "issue": {"number": 1, "title": "T", "body": "Words", "user": {"login": "ann"}}},
}).encode()  # fmt: skip
WAT = json.dumps(
    {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {"Head": {"Title": "T"}}}}}}
)
SWH = {"blob_id": None, "content": b"print(1)\n", "path": "a.py", "repo_name": "o/n"}
# kind -> name and content of a good file.
GOOD: dict[str, tuple[str, bytes]] = {
    "html": ("a.html", PAGE),
    "warc": ("a.warc", HOSTILE.response(PAGE, 1)),
    "wet": ("a.wet", HOSTILE.warc_record("conversion", "http://e.org/", b"Some plain words.", 1, "text/plain")),
    "wat": ("a.wat", HOSTILE.warc_record("metadata", "http://e.org/", WAT.encode(), 1, "application/json")),
    "jsonl": ("a.jsonl", b'{"text": "some words"}\n'),
    "parquet": ("a.parquet", b""),
    "code": ("a.py", b"print(1)\n"),
    "gharchive": ("a.json", EVENT + b"\n"),
    "swh": ("a.parquet", b""),
    "wikipedia": ("a.xml", WIKI),
    "stackexchange": ("Posts.xml", POSTS),
    "arxiv": ("2001.00001.tex", PAPER),
    "books": ("a.txt", b"Some words of a book, which is short.\n" * 20),
    "text": ("a.txt", b"Some words.\n"),
    "markdown": ("a.md", b"# Title\n\nSome words.\n"),
    "feed": ("a.xml", FEED),
}
ARCHIVES = tuple(kind for kind, form in FORMATS.items() if form.archives)
TABLES = ("parquet", "swh")
STREAMS = tuple(kind for kind in GOOD if kind not in TABLES)


def table(kind: str) -> bytes:
    sink = io.BytesIO()
    row = SWH if kind == "swh" else {"text": "some words"}
    pq.write_table(pa.Table.from_pylist([row]), sink)
    return sink.getvalue()


def good(kind: str) -> tuple[str, bytes]:
    name, data = GOOD[kind]
    return name, data or table(kind)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def member(kind: str) -> str:
    return good(kind)[0]


def sparse(size: int, begin: bytes) -> Callable[[Path], None]:
    """One line, of which the disk holds no more than its begin."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(begin)
            file.truncate(size)

    return write


def encrypted(kind: str) -> bytes:
    data = bytearray(HOSTILE.make_zip([good(kind)]))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # general purpose flag, bit 0 (APPNOTE 4.4.4)
        data[data.find(mark) + offset] |= 1
    return bytes(data)


def overlapping(kind: str) -> bytes:
    """Ten names for one stretch of data."""
    name, data = good(kind)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"0{name}", data * 50)
        for number in range(1, 10):
            copy = zipfile.ZipInfo(f"{number}{name}")
            for field in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(copy, field, getattr(archive.filelist[0], field))
            archive.filelist.append(copy)
    return buffer.getvalue()


def tar_of(name: str, kind: bytes, target: str = "") -> bytes:
    made: bytes = HOSTILE.make_tar([("", HOSTILE.tar_entry(name, kind, target))])
    return made


def zip_link(kind: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(member(kind))
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "../../../etc/passwd")
    return buffer.getvalue()


IN_ARCHIVES: list[tuple[str, str, str, Callable[[str], bytes]]] = [
    ("a member that inflates 1,000 times", "x.zip", "zip_bomb",
     lambda k: HOSTILE.make_zip([(member(k), bytes(24 * MIB))])),
    ("a tar that inflates 1,000 times", "x.tar.gz", "zip_bomb",
     lambda k: gz(HOSTILE.make_tar([(member(k), bytes(24 * MIB))]))),
    ("members that overlap", "x.zip", "zip_bomb", overlapping),
    ("too many members", "x.zip", "zip_bomb",
     lambda k: HOSTILE.make_zip([(f"{i}{member(k)}", b"x") for i in range(600)])),
    ("a member that leaves the archive", "x.zip", "path_traversal",
     lambda k: HOSTILE.make_zip([("../" + member(k), b"x")])),
    ("an absolute member", "x.zip", "path_traversal", lambda k: HOSTILE.make_zip([("/tmp/" + member(k), b"x")])),
    ("a drive", "x.zip", "path_traversal", lambda k: HOSTILE.make_zip([("C:\\" + member(k), b"x")])),
    ("a member of a tar that leaves it", "x.tar", "path_traversal",
     lambda k: HOSTILE.make_tar([("a/../../" + member(k), b"x")])),
    ("a link out of a tar", "x.tar", "unsafe_link", lambda k: tar_of(member(k), tarfile.SYMTYPE, "../../etc/passwd")),
    ("a hard link out of a tar", "x.tar", "unsafe_link", lambda k: tar_of(member(k), tarfile.LNKTYPE, "/etc/passwd")),
    ("a link out of a zip", "x.zip", "unsafe_link", zip_link),
    ("a device", "x.tar", "special_file", lambda k: tar_of(member(k), tarfile.CHRTYPE)),
    ("an archive in an archive", "x.zip", "nested_archive",
     lambda k: HOSTILE.make_zip([("y.zip", HOSTILE.make_zip([good(k)]))])),
    ("an encrypted member", "x.zip", "encrypted", encrypted),
    ("a zip that is cut off", "x.zip", "truncated", lambda k: HOSTILE.make_zip([good(k)])[:-30]),
    ("a tar that is cut off", "x.tar.gz", "truncated",
     lambda k: gz(HOSTILE.make_tar([(member(k), os.urandom(90_000))]))[:-5000]),
    ("no zip", "x.zip", "broken_record", lambda k: b"no archive at all" * 99),
    ("no tar", "x.tar", "broken_record", lambda k: b"no archive at all" * 99),
]  # fmt: skip


# A bulk file of arXiv is a tar of papers, which are tars themselves; one that inflates too much is a paper that does.
OTHERWISE = {
    ("arxiv", "a tar that inflates 1,000 times"): "too_large",
    ("arxiv", "an archive in an archive"): "document",
}


def items_of(folder: Path, kind: str, **options: Any) -> list[Item]:
    units = plan_units(Source("s", kind, (str(folder),), extractor="fast", options=tuple(options.items())))
    return [item for unit in units for item in read_unit(unit, LIMITS)]


def listing(root: Path) -> list[tuple[str, int, int]]:
    """Everything below a folder, links not followed."""
    found = []
    for directory, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            found.append((path, status.st_mode, status.st_mtime_ns))
    return sorted(found)


def told(item: Item) -> str:
    return item.error if isinstance(item, Rejected) else item.reason if isinstance(item, Dropped) else "document"


def outcome(root: Path, kind: str, name: str, bad: Bad, **options: Any) -> set[str]:
    """What becomes of the bad file in a folder with a good one; the good one is as if it were alone."""
    folder = root / "in"
    (folder / "good").mkdir(parents=True)
    good_name, data = good(kind)
    (folder / "good" / good_name).write_bytes(data)
    alone = [(item.locator, told(item)) for item in items_of(folder, kind, **options)]
    assert alone and {what for _, what in alone} == {"document"}
    path = folder / "bad" / name
    path.parent.mkdir()
    if isinstance(bad, bytes):
        path.write_bytes(bad)
    else:
        bad(path)
    before = listing(root)
    items = items_of(folder, kind, **options)
    assert listing(root) == before
    assert [(item.locator, told(item)) for item in items if item.locator.startswith("good/")] == alone
    mine = [item for item in items if not item.locator.startswith("good/")]
    assert mine and all(item.locator.startswith("bad/") for item in mine), "no item is passed over"
    assert sum(len(item.text) for item in mine if isinstance(item, Document)) < MIB
    return {told(item) for item in mine}


@pytest.mark.parametrize("case", IN_ARCHIVES, ids=lambda case: case[0].replace(" ", "-"))
@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(tmp_path: Path, kind: str, case: tuple[str, str, str, Callable[[str], bytes]]) -> None:
    _, name, error, make = case
    found = outcome(tmp_path, kind, name, make(kind))
    assert OTHERWISE.get((kind, case[0]), error) in found


def bad_name(kind: str) -> str:
    return "Posts.xml" if kind == "stackexchange" else "bad." + member(kind).rpartition(".")[2]


def bomb(kind: str) -> bytes:
    """24 MiB in some kilobytes, behind what the format begins with."""
    zeros = b"a" * (24 * MIB)
    match kind:
        case "warc":
            return gz(HOSTILE.response(zeros, 1))
        case "wet" | "wat":
            return gz(HOSTILE.warc_record("conversion", "http://e.org/", zeros, 1, "text/plain"))
        case "stackexchange":
            return gz(POSTS.replace(b"Why?", zeros))
        case "wikipedia":
            return gz(WIKI.replace(b"Some words", zeros))
    return gz(zeros)


# Formats of which each part says what it is: without that, no more is known of a file than that it is none of them.
FRAMED = ("warc", "wet", "wat", "wikipedia", "stackexchange")
IN_STREAMS: list[tuple[str, str, set[str], Callable[[str], bytes]]] = [
    ("gzip that is cut off", ".gz", {"truncated"}, lambda k: gz(good(k)[1] + os.urandom(9000))[:-4000]),
    ("gzip that inflates 1,000 times", ".gz", {"zip_bomb", "too_large"}, bomb),
    ("no gzip", ".gz", {"broken_record"}, lambda k: b"no gzip at all" * 99),
    ("bzip2 that is cut off", ".bz2", {"truncated"}, lambda k: bz2.compress(good(k)[1] + os.urandom(9000))[:-4000]),
    ("NUL bytes", "", {"binary", "bad_json"}, lambda k: bytes(5000)),
    ("noise", "", {"binary", "undecodable"}, lambda k: os.urandom(5000)),
    ("nothing", "", {"empty"}, lambda k: b""),
]  # fmt: skip
# A source of arXiv is gzip by its first bytes, whatever its name; bzip2 it never is.
OTHERWISE |= {("arxiv", "no gzip"): "no_main_text", ("arxiv", "bzip2 that is cut off"): "other_file"}
OTHERWISE |= {(kind, case): "broken_record" for kind in FRAMED for case in ("NUL bytes", "noise")}


@pytest.mark.parametrize("case", IN_STREAMS, ids=lambda case: case[0].replace(" ", "-"))
@pytest.mark.parametrize("kind", STREAMS)
def test_files(tmp_path: Path, kind: str, case: tuple[str, str, set[str], Callable[[str], bytes]]) -> None:
    name, suffix, errors, make = case
    found = outcome(tmp_path, kind, bad_name(kind) + suffix, make(kind))
    assert found & ({OTHERWISE[kind, name]} if (kind, name) in OTHERWISE else errors)


LINKS: list[tuple[str, str, Callable[[Path], None]]] = [
    ("a link out of the input", "unsafe_link", lambda path: path.symlink_to("/etc/hostname")),
    ("a relative link out of the input", "unsafe_link", lambda path: path.symlink_to("../../../x")),
    ("a link to nothing", "link", lambda path: path.symlink_to("gone")),
    ("a link to itself", "link", lambda path: path.symlink_to(path.name)),
    ("a folder that leads to the one above", "link", lambda path: path.symlink_to("..")),
    ("a pipe", "special_file", lambda path: os.mkfifo(path)),
]


@pytest.mark.parametrize("case", LINKS, ids=lambda case: case[0].replace(" ", "-"))
@pytest.mark.parametrize("kind", GOOD)
def test_links_and_pipes(tmp_path: Path, kind: str, case: tuple[str, str, Callable[[Path], None]]) -> None:
    assert outcome(tmp_path, kind, bad_name(kind), case[2]) == {case[1]}


# What a line begins with, so that it is read as one.
BEGINS = {
    "warc": b"WARC/1.0\r\nWARC-Type: ", "wet": b"WARC/1.0\r\nWARC-Type: ", "wat": b"WARC/1.0\r\nWARC-Type: ",
    "wikipedia": WIKI.partition(b"Some")[0], "stackexchange": POSTS.partition(b"Why")[0], "jsonl": b'{"text": "',
    "gharchive": b'{"id": "', "feed": FEED.partition(b"Some")[0], "html": b"<p>", "arxiv": PAPER.partition(b"Some")[0],
}  # fmt: skip


@pytest.mark.parametrize("size", [64 * MIB, pytest.param(1 << 30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", STREAMS)
def test_one_line(tmp_path: Path, kind: str, size: int) -> None:
    tracemalloc.start()
    found = outcome(tmp_path, kind, bad_name(kind), sparse(size, BEGINS.get(kind, b"")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found and found <= {"too_large", "broken_record", "truncated"}
    assert peak < 32 * MIB


TABLE_CASES: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ("a table that is cut off", "truncated", lambda data: data[:-40]),
    ("no table", "broken_record", lambda data: b"no table at all" * 99),
    ("a footer of noise", "broken_record", lambda data: b"PAR1" + b"\xff" * 100 + b"\x50\0\0\0PAR1"),
    ("another table", "missing_text", lambda data: _table({"other": "x"})),
    ("nothing", "empty", lambda data: b""),
]
OTHERWISE |= {("swh", "another table"): "missing_content"}


def _table(row: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row]), sink)
    return sink.getvalue()


@pytest.mark.parametrize("case", TABLE_CASES, ids=lambda case: case[0].replace(" ", "-"))
@pytest.mark.parametrize("kind", TABLES)
def test_tables(tmp_path: Path, kind: str, case: tuple[str, str, Callable[[bytes], bytes]]) -> None:
    name, error, make = case
    assert outcome(tmp_path, kind, "bad.parquet", make(good(kind)[1])) == {OTHERWISE.get((kind, name), error)}


ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
) + b"]>"  # fmt: skip
CELLS = {"cells": [{"cell_type": "code", "source": "a = 1", "outputs": [], "metadata": {}}], "metadata": {}}


def _orc(cut: int) -> bytes:
    sink = io.BytesIO()
    orc.write_table(pa.Table.from_pylist([{**SWH, "blob_id": ""}]), sink)
    return sink.getvalue()[: -cut or None]


def _swh(path: str, content: bytes) -> bytes:
    return _table({**SWH, "path": path, "content": content})


# kind, case, name of the file, what becomes of it, content
OF_KINDS: list[tuple[str, str, str, set[str], Callable[[], bytes]]] = [
    ("code", "a notebook that is no JSON", "a.ipynb", {"bad_json"}, lambda: b'{"cells": [{"cell_type": "code"'),
    ("code", "a notebook without cells", "a.ipynb", {"bad_json"}, lambda: b'{"nbformat": 4}'),
    ("code", "a notebook that is no object", "a.ipynb", {"bad_json"}, lambda: b"[1, 2]"),
    ("code", "a notebook of cells that are none", "a.ipynb", {"bad_json"},
     lambda: b'{"cells": [{"cell_type": "code", "source": 5}]}'),
    ("code", "a notebook nested too deeply", "a.ipynb", {"bad_json"}, lambda: b'{"cells": ' + b"[" * 200_000),
    ("code", "a notebook in UTF-16", "a.ipynb", {"undecodable"}, lambda: json.dumps(CELLS).encode("utf-16")),
    ("code", "a source of 2 MB", "a.py", {"too_large"}, lambda: b"x = 1\n" * 400_000),
    ("swh", "a notebook that is no JSON", "b.parquet", {"bad_json"}, lambda: _swh("a.ipynb", b'{"cells": [')),
    ("swh", "a path that leaves the repository", "b.parquet", {"path_traversal"}, lambda: _swh("../../a.py", b"x")),
    ("swh", "a content of another SHA-1", "b.parquet", {"broken_record"}, lambda: _table({**SWH, "blob_id": "a" * 40})),
    ("swh", "a content that is nowhere", "b.parquet", {"missing_content"},
     lambda: _table({"blob_id": "a" * 40, "path": "a.py"})),
    ("swh", "an ORC file that is cut off", "b.orc", {"truncated"}, lambda: _orc(200)),
    ("swh", "no ORC file", "b.orc", {"broken_record"}, lambda: b"no table at all" * 99),
    ("jsonl", "JSON nested too deeply", "b.jsonl", {"bad_json"}, lambda: b'{"text": ' + b"[" * 200_000),
    ("jsonl", "half a line", "b.jsonl", {"bad_json"}, lambda: b'{"text": "a'),
    ("gharchive", "JSON nested too deeply", "b.json", {"bad_json"}, lambda: b'{"id": ' + b"[" * 200_000),
    ("gharchive", "a list of events", "b.json", {"bad_json"}, lambda: b"[" + EVENT + b"]"),
    ("gharchive", "an event of before 2015", "b.json", {"unsupported"},
     lambda: EVENT.replace(b'"repo"', b'"repository": {}, "repo"')),
    ("wat", "a record that is no JSON", "b.wat", {"bad_json"},
     lambda: HOSTILE.warc_record("metadata", "http://e.org/", b"{", 1, "application/json")),
    ("wikipedia", "entities in entities", "b.xml", {"broken_record"},
     lambda: ENTITIES + WIKI.replace(b"Some words", b"&j;")),
    ("wikipedia", "a dump that is cut off", "b.xml", {"truncated"}, lambda: WIKI[:-60]),
    ("stackexchange", "entities in entities", "Posts.xml", {"broken_record"},
     lambda: POSTS.replace(b"<posts>", ENTITIES + b"<posts>").replace(b"Why?", b"&j;")),
    ("stackexchange", "a dump that is cut off", "Posts.xml", {"truncated"}, lambda: POSTS[:-40]),
    ("stackexchange", "no 7z", "x.7z", {"broken_record"}, lambda: b"7z\xbc\xaf\x27\x1c" + b"\xff" * 99),
    ("stackexchange", "a 7z that is cut off", "x.7z", {"truncated"}, lambda: b"7z\xbc\xaf\x27\x1c\0\4"),
    ("feed", "entities in entities", "b.xml", {"document"},
     lambda: FEED.replace(b"<rss", ENTITIES + b"<rss").replace(b"Some words", b"&j;")),
    ("feed", "a feed that is cut off", "b.xml", {"broken_record", "truncated"}, lambda: FEED[:-60]),
    ("feed", "JSON nested too deeply", "b.json", {"bad_json"},
     lambda: b'{"version": "https://jsonfeed.org/", "items": ' + b"[" * 200_000),
    ("html", "a page nested too deeply", "b.html", {"too_large"}, lambda: b"<div>" * 100_000 + b"text"),
    ("arxiv", "macros in macros", "2001.2.tex", {"document"}, lambda: PAPER.replace(
        b"Some words", b"".join(b"\\def\\%c{%s}" % (98 + i, b"\\%c " % (97 + i) * 10) for i in range(9)) + b"\\j ")),
]  # fmt: skip


@pytest.mark.parametrize("case", OF_KINDS, ids=lambda case: f"{case[0]}-{case[1]}".replace(" ", "-"))
def test_what_only_one_kind_has(tmp_path: Path, case: tuple[str, str, str, set[str], Callable[[], bytes]]) -> None:
    kind, _, name, errors, make = case
    found = outcome(tmp_path, kind, name, make())
    assert found & errors


@pytest.mark.skipif(shutil.which("git") is None, reason="git makes the repositories")
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.95])
def test_a_pack_of_git_that_is_cut_off(tmp_path: Path, keep: float) -> None:
    """The files before the cut are read, each of the others is missing by name."""
    work = tmp_path / "in" / "work"
    work.mkdir(parents=True)
    names = [f"{i:02d}.py" for i in range(40)]
    for name in names:
        (work / name).write_text("".join(f"{name} {random.Random(name).random()} {i}\n" for i in range(40)))
    environment = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    for call in (
        ["init", "-q"], ["add", "-A"], ["-c", "user.name=A", "-c", "user.email=a@e.org", "commit", "-q", "-m", "x"],
        ["repack", "-q", "-a", "-d"],
    ):  # fmt: skip
        subprocess.run(["git", "-C", str(work), *call], check=True, env=environment)
    (pack,) = (work / ".git" / "objects" / "pack").glob("*.pack")
    pack.chmod(0o600)
    whole = {item.locator: told(item) for item in items_of(tmp_path / "in", "git")}
    assert whole == {f"work!{name}": "document" for name in names}
    pack.write_bytes(pack.read_bytes()[: int(pack.stat().st_size * keep)])
    before = listing(tmp_path)
    found = {item.locator: told(item) for item in items_of(tmp_path / "in", "git")}
    assert listing(tmp_path) == before
    assert "truncated" in found.values()
    read = {where for where, what in found.items() if what == "document"}
    assert read < {*whole}
    lost = {*whole} - read
    # Without its tree nothing is known of the files; else each is told.
    assert lost <= {*found} or not read
