"""Zip and tar archives: members, parts, and what must not be opened."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import os
import resource
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Limits, Source, Unit, files_of_code, plan_units, read_unit, reading
from pipelines.readers.archives import BrokenContainer, members
from pipelines.readers.records import Refused, Skipped

PAGE = (
    b"<html><body><article>" + b"<p>Some words about rivers, markets and bridges.</p>" * 5 + b"</article></body></html>"
)
PACKERS = {
    ".tar": lambda data: data,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.ZstdCompressor().compress,
}


def listing(data: bytes, name: str, limits: Limits | None = None) -> dict[str, str]:
    """Member name -> `size` or the problem."""
    limits = limits or Limits()
    found: dict[str, str] = {}
    try:
        for member in members(io.BytesIO(data), name, limits):
            try:
                found[member.name] = str(len(member.read(limits.max_item_bytes)))
            except BrokenContainer:
                raise
            except Refused as refused:
                found[member.name] = refused.error
            except Skipped as skipped:
                found[member.name] = skipped.reason
    except Refused as refused:
        found["*"] = refused.error
    return found


@pytest.mark.parametrize("suffix", PACKERS)
def test_tar(hostile: ModuleType, suffix: str) -> None:
    long = "d/" * 60 + "name.html"
    data = PACKERS[suffix](
        hostile.make_tar([("a.html", PAGE), (long, b"x" * 3000), ("d", hostile.tar_entry("d", tarfile.DIRTYPE))])
    )
    assert listing(data, f"a{suffix}") == {"a.html": str(len(PAGE)), long: "3000", "d": "directory"}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_cut_tar_gives_what_stands_before_the_cut(hostile: ModuleType, suffix: str, keep: float) -> None:
    data = PACKERS[suffix](hostile.make_tar((f"{i}.html", os.urandom(30_000)) for i in range(10)))
    found = listing(data[: int(len(data) * keep)], f"a{suffix}")
    assert found["*"] == "truncated"
    whole = [name for name, size in found.items() if size == "30000"]
    assert whole == [f"{i}.html" for i in range(len(whole))]
    assert len(whole) >= (0 if "bz2" in suffix else int(10 * keep) - 5)


def test_damage_in_a_tar_is_not_the_end(hostile: ModuleType) -> None:
    data = bytearray(hostile.make_tar((f"{i}.html", PAGE) for i in range(4)))
    second = data.find(b"1.html")
    data[second + 148 : second + 156] = b"\xff" * 8
    assert listing(bytes(data), "a.tar") == {"0.html": str(len(PAGE)), "*": "broken_record"}
    assert listing(b"", "a.tar") == {"*": "truncated"}
    assert listing(hostile.make_tar([("a", b"x")])[:1024], "a.tar") == {
        "a": "1",
        "*": "truncated",
    }  # no end mark
    assert listing(os.urandom(2000), "a.tar") == {"*": "broken_record"}
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = tarfile.XHDTYPE, 1 << 33
    assert listing(huge.tobuf(tarfile.GNU_FORMAT) + bytes(header), "a.tar") == {"*": "broken_record"}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("../a", "path_traversal"),
        ("a/../../b", "path_traversal"),
        ("/etc/passwd", "path_traversal"),
        ("..\\a", "path_traversal"),
        ("C:\\a", "path_traversal"),
        ("c:/a", "path_traversal"),
        ("a..b/..c", "1"),
        ("inner.zip", "nested_archive"),
        ("inner.TAR.GZ", "nested_archive"),
        ("inner.7z", "nested_archive"),
    ],
)
def test_names(hostile: ModuleType, name: str, error: str) -> None:
    assert listing(hostile.make_zip([(name, b"x")]), "a.zip") == {name: error}
    assert listing(hostile.make_tar([(name, b"x")]), "a.tar") == {name: error}


@pytest.mark.parametrize(
    ("kind", "target", "error"),
    [
        (tarfile.SYMTYPE, "/etc/passwd", "unsafe_link"),
        (tarfile.SYMTYPE, "../../x", "unsafe_link"),
        (tarfile.SYMTYPE, "../x", "link"),
        (tarfile.SYMTYPE, "b/../../../x", "unsafe_link"),
        (tarfile.LNKTYPE, "d/x", "link"),
        (tarfile.LNKTYPE, "../x", "unsafe_link"),
        (tarfile.FIFOTYPE, "", "special_file"),
        (tarfile.CHRTYPE, "", "special_file"),
        (tarfile.BLKTYPE, "", "special_file"),
    ],
)
def test_tar_links_and_devices(hostile: ModuleType, kind: bytes, target: str, error: str) -> None:
    assert listing(hostile.make_tar([("", hostile.tar_entry("d/a.html", kind, target))]), "a.tar") == {
        "d/a.html": error
    }


def test_zip_links(hostile: ModuleType) -> None:
    for target, error in (("../../etc/passwd", "unsafe_link"), ("b.html", "link")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            info = zipfile.ZipInfo("d/a.html")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
        assert listing(buffer.getvalue(), "a.zip") == {"d/a.html": error}


def test_damaged_zips(hostile: ModuleType) -> None:
    good = hostile.make_zip([("a.html", PAGE), ("b.html", PAGE)])
    assert listing(good, "a.zip") == {"a.html": str(len(PAGE)), "b.html": str(len(PAGE))}
    assert listing(b"self-extractor" + good, "a.zip")["b.html"] == str(len(PAGE))
    assert listing(good[:-20], "a.zip") == {
        "a.html": str(len(PAGE)),
        "b.html": str(len(PAGE)),
        "*": "truncated",
    }
    assert listing(good[: len(good) // 2], "a.zip") == {"a.html": str(len(PAGE)), "*": "truncated"}
    assert listing(good[:60], "a.zip") == {"*": "truncated"}
    assert listing(os.urandom(5000), "a.zip") == {"*": "broken_record"}
    broken = bytearray(good)
    broken[45:55] = b"\xff" * 10
    assert listing(bytes(broken), "a.zip") == {"a.html": "broken_record", "b.html": str(len(PAGE))}
    directory = bytearray(good)
    at = directory.find(b"PK\1\2")
    directory[at : at + 4] = b"XXXX"
    assert listing(bytes(directory), "a.zip") == {"*": "broken_record"}
    directory = bytearray(good)
    directory[at + 10 : at + 12] = b"\x63\0"  # compression method 99
    assert listing(bytes(directory), "a.zip")["a.html"] in ("unsupported", "broken_record")


class _Unseekable(io.RawIOBase):
    """A file that zipfile writes in streaming form: lengths behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def test_a_cut_streamed_zip_gives_what_stands_before_the_cut() -> None:
    out = _Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name in ("a.html", "../b.html", "c.html", "d.html"):
            archive.writestr(name, PAGE * 50)
    cut = bytes(out.data[: out.data.find(b"d.html") + 20])
    size = str(50 * len(PAGE))
    assert listing(cut, "a.zip") == {
        "a.html": size,
        "../b.html": "path_traversal",
        "c.html": size,
        "*": "truncated",
    }


def test_limits_of_archives(hostile: ModuleType) -> None:
    data = [("a", b"x" * 100), ("b", b"x" * 200), ("c", b"x" * 50)]
    for make, name in ((hostile.make_zip, "a.zip"), (hostile.make_tar, "a.tar")):
        assert listing(make(data), name, Limits(max_item_bytes=150)) == {
            "a": "100",
            "b": "too_large",
            "c": "50",
        }
        assert listing(make(data), name, Limits(max_members=2)) == {"a": "100", "b": "200", "*": "zip_bomb"}
        assert listing(make(data), name, Limits(max_archive_bytes=250)) == {"a": "100", "*": "zip_bomb"}


def test_a_bomb_is_stopped_early_and_in_little_memory(hostile: ModuleType) -> None:
    size = 100 << 20
    tar = gzip.compress(hostile.make_tar([("a.html", PAGE), ("b.html", bytes(size))]), 1)
    packed_zip = hostile.make_zip([("a.html", PAGE), ("b.html", bytes(size))])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    limits = Limits(max_item_bytes=1 << 30)
    assert listing(tar, "a.tar.gz", limits) == {"a.html": str(len(PAGE)), "*": "zip_bomb"}
    assert listing(packed_zip, "a.zip", limits) == {"a.html": str(len(PAGE)), "b.html": "zip_bomb"}
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_maxrss - before < 120 << 10  # kilobytes: 8 MiB + 200 times the 1 MB read, once
    assert after.ru_utime - begin < 5


@settings(max_examples=30, deadline=None)
@given(
    parts=st.integers(1, 12),
    count=st.integers(0, 15),
    solid=st.booleans(),
    cut=st.sampled_from([0, 700, 2500]),
)
def test_parts_give_every_member_exactly_once(
    hostile_module: ModuleType, tmp: Path, parts: int, count: int, solid: bool, cut: int
) -> None:
    files = [(f"m{i}.html", PAGE.replace(b"rivers", b"%d" % i)) for i in range(count)]
    data = gzip.compress(hostile_module.make_tar(files)) if solid else hostile_module.make_zip(files)
    path = tmp / ("a.tar.gz" if solid else "a.zip")
    path.write_bytes(data[: max(1, len(data) - cut)])
    (unit,) = plan_units(Source("s", "html", (str(path),), extractor="fast"))
    whole = list(read_unit(unit))
    pieces: list[Any] = []
    for part in range(parts):
        value = unit.to_json().replace('"part": 0', f'"part": {part}').replace('"parts": 1', f'"parts": {parts}')
        pieces.append(list(read_unit(Unit.from_json(value))))
    assert sorted((item for piece in pieces for item in piece), key=repr) == sorted(whole, key=repr)
    kept = [[item for item in piece if hasattr(item, "text")] for piece in pieces]
    assert all([d.locator for d in piece] == [d.locator for d in whole if d in piece] for piece in kept)


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(
        st.sampled_from(["p/a.py", "p/LICENSE", "p/b.png", "p/LICENSE.png", "p/CVS/c.py", "d.py", "e.zip", "../f.py"]),
        max_size=6,
        unique=True,
    ),
    solid=st.booleans(),
    part=st.integers(0, 1),
    cut=st.integers(0, 900),
    flip=st.booleans(),
)
def test_one_pass_over_an_archive_gives_what_two_give(
    hostile_module: ModuleType, tmp: Path, names: list[str], solid: bool, part: int, cut: int, flip: bool
) -> None:
    members_ = [(name, b"MIT License\n%d " % at * 40) for at, name in enumerate(names)]
    data = bytearray(gzip.compress(hostile_module.make_tar(members_)) if solid else hostile_module.make_zip(members_))
    if flip:
        data[cut % len(data)] ^= 255
    else:
        del data[max(1, len(data) - cut) :]
    path = tmp / ("b.tar.gz" if solid else "b.zip")
    path.write_bytes(data)
    (unit,) = plan_units(Source("s", "code", (str(path),)))
    half = dataclasses.replace(unit, part=part, parts=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files_of_code, "MAX_HELD_BYTES", 0)
        twice = [list(read_unit(each)) for each in (unit, half)]
    assert [list(read_unit(each)) for each in (unit, half)] == twice


def test_members_are_held_up_to_a_bound(hostile: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(hostile.make_tar([(f"p/{at}.py", b"x = 1\n" * 500) for at in range(5)]))
    passes = 0

    def counted(*arguments: Any) -> Any:
        nonlocal passes
        passes += 1
        return members(*arguments)

    monkeypatch.setattr(files_of_code, "members", counted)
    monkeypatch.setattr(reading, "members", counted)
    for bound, expected in ((1 << 20, 1), (10_000, 2)):
        passes = 0
        monkeypatch.setattr(files_of_code, "MAX_HELD_BYTES", bound)
        (unit,) = plan_units(Source("s", "code", (str(path),)))
        assert len(list(read_unit(unit))) == 5 and passes == expected


@pytest.fixture(scope="module")
def hostile_module(hostile: ModuleType) -> ModuleType:
    return hostile


@pytest.fixture(scope="module")
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")
