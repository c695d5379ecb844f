"""Licences of files on disk: the nearest folder that states one, unreadable and odd files, the table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.license_files import scan_files, table

MIT = "Released under the MIT License\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "LICENSE": MIT,
        "a.py": "x = 1\n",
        "b.py": "# SPDX-License-Identifier: GPL-3.0-or-later\n",
        "vendor/q/package.json": '{"license": "ISC"}',
        "vendor/q/deep/c.js": "x\n",
        "vendor/r/README.md": "## License\n\nZlib\n",
        "vendor/r/d.c": "int x;\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "e.bin").write_bytes(b"\0MIT License\xff")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    return tmp_path


def test_the_nearest_folder_speaks_for_its_files(tree: Path) -> None:
    rows = {os.path.relpath(row["path"], tree): row for row in scan_files([str(tree)])}
    assert {name: (row["expression"], row["source"]) for name, row in rows.items()} == {
        "LICENSE": ("MIT", "file_notice"),
        "a.py": ("MIT", "archive"),
        "b.py": ("GPL-3.0-or-later", "spdx_header"),
        "e.bin": ("MIT", "archive"),
        "vendor/q/package.json": ("ISC", "package_metadata"),
        "vendor/q/deep/c.js": ("ISC", "archive"),
        "vendor/r/README.md": ("Zlib", "archive"),
        "vendor/r/d.c": ("Zlib", "archive"),
    }
    assert rows["b.py"]["spans"] == [[2, 43]] and rows["a.py"]["spans"] == []
    assert rows["vendor/q/package.json"]["class"] == "permissive"


def test_members_of_a_cargo_workspace_have_its_licence(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nlicense = "MPL-2.0"\n')
    (tmp_path / "x/Cargo.toml").write_text('[package]\nname = "x"\nlicense.workspace = true\n')
    (tmp_path / "x/lib.rs").write_text("fn f() {}\n")
    rows = {os.path.relpath(row["path"], tmp_path): row["expression"] for row in scan_files([str(tmp_path)])}
    assert rows == {"Cargo.toml": "MPL-2.0", "x/Cargo.toml": "MPL-2.0", "x/lib.rs": "MPL-2.0"}


def test_a_web_page_has_the_licence_that_it_marks(tmp_path: Path) -> None:
    page = '<html><p>words</p><a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">CC</a></html>'
    (tmp_path / "page.html").write_text(page)
    (tmp_path / "page.txt").write_text(page)
    marked, plain = scan_files([str(tmp_path)])
    assert (marked["expression"], marked["class"], marked["source"]) == ("CC-BY-SA-4.0", "copyleft_weak", "rel_license")
    ((start, end),) = marked["spans"]
    assert page[start:end] == "https://creativecommons.org/licenses/by-sa/4.0/" and marked["confidence"] == 0.95
    assert plain["source"] is None


def test_a_file_alone_knows_no_folder(tree: Path) -> None:
    (row,) = scan_files([str(tree / "a.py")])
    assert (row["expression"], row["class"], row["source"]) == (None, "no_license", None)


def test_unreadable_and_missing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> str:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        next(scan_files([str(tree / "a.py"), "nowhere"]))
    monkeypatch.setattr("pipelines.license_files._text", refused)
    (row,) = scan_files([str(tree / "a.py")])
    assert (row["source"], row["error"], row["class"]) == ("unreadable", "Permission denied", "unknown")
    assert "Permission denied" in list(table([row]))[1]


def test_table(tree: Path) -> None:
    lines = list(table(scan_files([str(tree / "vendor")])))
    assert lines[0].split() == ["class", "conf.", "by", "expression", "path"]
    assert lines[2].split() == ["permissive", "0.80", "archive", "ISC", str(tree / "vendor/q/deep/c.js")]
    assert lines[-1] == "permissive 4"
    assert list(table([]))[-1] == "no files"
