"""Plain text files."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

from pipelines.readers import Document

CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. " * 8


def test_a_file_is_a_document(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.txt").write_bytes(CZECH.encode("cp1250"))
    (tmp_path / "b.txt").write_bytes("\ufeffone\r\ntwo\r\n".encode())
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"packed"))
    first, second, third = read_all(tmp_path, "text")
    assert first.text == CZECH and first.meta == {"encoding": "cp1250"}
    assert second.text == "one\r\ntwo\r\n" and second.meta == {}
    assert (second.kind, second.mime, second.locator) == ("prose", "text/plain", "b.txt")
    assert second.swhid and second.content_sha256
    assert third.text == "packed"


def test_what_is_no_document(tmp_path: Path, outcomes: Any) -> None:
    (tmp_path / "a.html").write_text("<p>x")
    (tmp_path / "blank.txt").write_text(" \n\t")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "mark.txt").write_bytes(b"\xef\xbb\xbf ")
    (tmp_path / "nul.txt").write_bytes(b"\0\1\2" * 50)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("x/", "x/a.txt", "x/b.py", "/etc/c.txt"):
            archive.writestr(name, "text")
    assert outcomes(tmp_path, "text") == {
        "a.html": "other_file",
        "blank.txt": "empty",
        "empty.txt": "empty",
        "mark.txt": "empty",
        "nul.txt": "binary",
        "z.zip!x/": "directory",
        "z.zip!x/a.txt": "prose",
        "z.zip!x/b.py": "other_file",
        "z.zip!/etc/c.txt": "path_traversal",
    }


def test_a_long_line_is_one_text_up_to_the_limit(tmp_path: Path, read_all: Any) -> None:
    from pipelines.readers import Limits

    (tmp_path / "a.txt").write_bytes(b"x" * 100_000)
    (item,) = read_all(tmp_path, "text", Limits(max_item_bytes=100_000))
    assert isinstance(item, Document) and len(item.text) == 100_000
    (item,) = read_all(tmp_path, "text", Limits(max_item_bytes=99_999))
    assert item.error == "too_large"
