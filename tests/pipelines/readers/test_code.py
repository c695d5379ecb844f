"""Source trees and distributions."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licenses import ANNOTATORS
from pipelines.readers import Document, Limits
from pipelines.readers.charset import declared_in_source, decode
from pipelines.readers.code import _is_plain, kind_of, notebook_text, skip_reason
from pipelines.readers.project import describe_project, repository, split_name
from pipelines.readers.records import Refused
from tests.conftest import document_batch

ISC = """ISC License

Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
THIS SOFTWARE.
"""
MIT = (Path(__file__).parents[2] / "data" / "readers" / "MIT.txt").read_text()
PKG_INFO = (
    "Metadata-Version: 2.1\nName: Demo\nVersion: 1.2\nHome-page: https://demo.example.org\n"
    "License: Apache-2.0\n"
    "Project-URL: Bugs, https://github.com/other/tracker/issues\n"
    "Project-URL: Source, https://github.com/owner/demo.git\n\nA long text\n"
)


def sdist(hostile: ModuleType) -> bytes:
    return gzip.compress(
        hostile.make_tar(
            [
                ("demo-1.2/PKG-INFO", PKG_INFO.encode()),
                ("demo-1.2/demo/__init__.py", b""),
                ("demo-1.2/demo/core.py", b"def f():\r\n    return 1\r\n"),
                ("demo-1.2/demo/logo.png", b"\x89PNG\0"),
                ("demo-1.2/demo/min.min.js", b"function a(){}"),
                ("demo-1.2/vendor/tool/LICENSE", MIT.encode()),
                ("demo-1.2/vendor/tool/t.c", b"int main;\n"),
                ("demo-1.2/README.md", b"# Demo\n"),
                ("demo-1.2/demo.egg-info/SOURCES.txt", b"a\n"),
                ("demo-1.2/tests/data.zip", b"PK"),
                ("demo-1.2/broken.py", b"a\0b"),
            ]
        )
    )


def test_an_sdist(tmp_path: Path, outcomes: Any, read_all: Any, hostile: ModuleType) -> None:
    (tmp_path / "demo-1.2.tar.gz").write_bytes(sdist(hostile))
    found = {name.partition("!demo-1.2/")[2]: what for name, what in outcomes(tmp_path, "code").items()}
    assert found == {
        "PKG-INFO": "packaging",
        "demo/__init__.py": "empty",
        "demo/core.py": "code",
        "demo/logo.png": "asset",
        "demo/min.min.js": "code",
        "vendor/tool/LICENSE": "prose",
        "vendor/tool/t.c": "code",
        "README.md": "prose",
        "demo.egg-info/SOURCES.txt": "packaging",
        "tests/data.zip": "nested_archive",
        "broken.py": "binary",
    }
    documents = {d.path: d for d in read_all(tmp_path, "code") if isinstance(d, Document)}
    core = documents["demo/core.py"]
    assert core.text == "def f():\r\n    return 1\r\n"
    assert core.locator == "demo-1.2.tar.gz!demo-1.2/demo/core.py"
    assert core.repo == "owner/demo" and core.commit is None and core.programming_language is None
    assert core.meta == {
        "archive": "demo-1.2.tar.gz",
        "name": "Demo",
        "version": "1.2",
        "license": "Apache-2.0",
    }
    assert documents["vendor/tool/t.c"].meta["license"] == "MIT"
    assert core.content_sha256 == hashlib.sha256(core.text.encode()).hexdigest()  # CR LF and all


def test_the_top_folder_of_an_sdist_may_be_a_member_of_its_own(
    tmp_path: Path, read_all: Any, hostile: ModuleType
) -> None:
    folders = [(name, hostile.tar_entry(name, tarfile.DIRTYPE)) for name in ("demo-1.2", "demo-1.2/demo", "empty")]
    members = [*folders, ("demo-1.2/PKG-INFO", PKG_INFO.encode()), ("demo-1.2/demo/core.py", b"x = 1\n")]
    (tmp_path / "demo-1.2.tar").write_bytes(hostile.make_tar(members))
    (core,) = (item for item in read_all(tmp_path, "code") if isinstance(item, Document))
    assert (core.path, core.repo) == ("demo/core.py", "owner/demo")


def test_swhid_is_of_the_raw_bytes(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello\n")
    (document,) = read_all(tmp_path, "code")
    assert document.swhid == "swh:1:cnt:ce013625030ba8dba906f756967f9e9ca394464a"  # git's id of `hello\n`


def test_a_wheel_keeps_its_folders(tmp_path: Path, read_all: Any, hostile: ModuleType) -> None:
    (tmp_path / "demo-1.2-py3-none-any.whl").write_bytes(
        hostile.make_zip(
            [
                ("demo/core.py", b"a = 1\n"),
                ("demo-1.2.dist-info/METADATA", PKG_INFO.encode()),
                ("demo-1.2.dist-info/licenses/LICENSE", MIT.encode()),
                ("demo-1.2.dist-info/RECORD", b"x,,\n"),
            ]
        )
    )
    documents = {d.path: d for d in read_all(tmp_path, "code") if isinstance(d, Document)}
    assert set(documents) == {"demo/core.py", "demo-1.2.dist-info/licenses/LICENSE"}
    assert documents["demo/core.py"].repo == "owner/demo"
    assert documents["demo/core.py"].meta["version"] == "1.2"


def test_a_directory(tmp_path: Path, outcomes: Any, read_all: Any) -> None:
    root = tmp_path / "tree"
    (root / "src" / ".git").mkdir(parents=True)
    (root / "src" / ".git" / "config").write_text("[core]")
    (root / "LICENSE").write_text(MIT)
    (root / "package.json").write_text(json.dumps({"name": "tree", "version": "3", "repository": "github:own/tree"}))
    (root / "src" / "a.ts").write_text("let a = 1\n")
    (root / "src" / "latin.py").write_bytes("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    (root / "src" / "inside").symlink_to("a.ts")
    (root / "outside").symlink_to("/etc/hostname")
    (root / "up").symlink_to("../..")
    os.mkfifo(root / "pipe")
    assert outcomes(root, "code") == {
        "LICENSE": "prose",
        "package.json": "code",
        "src/a.ts": "code",
        "src/latin.py": "code",
        "src/inside": "link",
        "outside": "unsafe_link",
        "up": "unsafe_link",
        "pipe": "special_file",
    }
    documents = {d.path: d for d in read_all(root, "code") if isinstance(d, Document)}
    assert documents["src/a.ts"].repo == "own/tree"
    assert documents["src/a.ts"].meta == {"license": "MIT", "name": "tree", "version": "3"}
    assert documents["src/latin.py"].text.endswith("x = 'é'\n")


GPL_README = "# Tool\n\n## License\n\nThis project is licensed under the GPL-3.0-or-later license.\n"


def test_a_readme_speaks_where_no_licence_file_does(tmp_path: Path, read_all: Any) -> None:
    """And what all folders above say is there for the rule that unites it."""
    for folder in ("tree", "tree/tool", "tree/tool/deep", "tree/reuse/LICENSES"):
        (tmp_path / folder).mkdir(parents=True)
    root = tmp_path / "tree"
    (root / "LICENSE").write_text(MIT)
    (root / "tool" / "README.md").write_text(GPL_README)
    (root / "reuse" / "LICENSES" / "ISC.txt").write_text(ISC)
    for path in ("a.py", "tool/b.py", "tool/deep/c.py", "reuse/d.py"):
        (root / path).write_text("x = 1\n")
    documents = {d.path: d for d in read_all(root, "code") if isinstance(d, Document)}
    licenses = {path: documents[path].meta.get("license") for path in ("a.py", "tool/deep/c.py", "reuse/d.py")}
    assert licenses == {"a.py": "MIT", "tool/deep/c.py": "GPL-3.0-or-later", "reuse/d.py": "ISC"}
    united = {path: documents[path].meta.get("detected_licenses") for path in licenses}
    assert united == {"a.py": None, "tool/deep/c.py": "GPL-3.0-or-later MIT", "reuse/d.py": "ISC MIT"}
    rows = [{"kind": d.kind, "meta": sorted(d.meta.items()), "text": d.text} for d in documents.values()]
    judged = ANNOTATORS["license_stack_v2@1"]().annotate(document_batch(*rows)).to_pylist()
    types = {path: row["license_type"] for path, row in zip(documents, judged, strict=True)}
    assert types["a.py"] == types["reuse/d.py"] == "permissive" and types["tool/deep/c.py"] == "non_permissive"


def test_a_licence_file_that_leads_out_of_the_tree_is_not_read(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "LICENSE").symlink_to("../LICENSE")
    (tmp_path / "tree" / "a.py").write_text("x = 1\n")
    (document,) = [d for d in read_all(tmp_path / "tree", "code") if isinstance(d, Document)]
    assert "license" not in document.meta


def test_limits_and_kinds(tmp_path: Path, outcomes: Any) -> None:
    (tmp_path / "a.py").write_text("x" * 100)
    assert outcomes(tmp_path, "code", Limits(max_code_bytes=50)) == {"a.py": "too_large"}
    assert outcomes(tmp_path, "code", document_kind="script") == {"a.py": "script"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.py", "code"),
        ("a.html", "code"),
        ("Makefile", "code"),
        ("a/CMakeLists.txt", "code"),
        ("doc/x.RST", "prose"),
        ("requirements-dev.txt", "code"),
        ("README", "prose"),
        ("COPYING", "prose"),
        ("LICENSE-MIT", "prose"),
        ("x.ipynb", "notebook"),
        ("notes.txt", "prose"),
        ("license.py", "code"),
        ("a.t", "code"),
        ("x.json", "code"),
    ],
)
def test_kinds(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_skipped_paths() -> None:
    assert skip_reason("a/b.woff2") == "asset"
    assert skip_reason("x.css.map") == "asset"
    assert skip_reason("locale/de.po") == "asset"
    assert skip_reason("a/.git/config") == "packaging"
    assert skip_reason("RECORD") is None
    assert skip_reason("a.dist-info/RECORD") == "packaging"
    assert skip_reason("jquery.min.js") is None


def test_notebooks() -> None:
    four = {
        "cells": [
            {"cell_type": "markdown", "source": ["# A\n", "text"]},
            {"cell_type": "code", "source": "a = 1", "outputs": [{"text": "secret"}]},
            {"cell_type": "raw", "source": "raw"},
        ],
        "metadata": {"kernelspec": {"language": "julia"}},
    }
    three = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["b = 2"]}]}]}
    assert notebook_text(json.dumps(four).encode()) == ("# A\ntext\n\na = 1", "julia")
    assert notebook_text(json.dumps(three).encode("utf-8-sig")) == ("b = 2", None)
    for bad in (
        b"{",
        b"[]",
        b'{"cells": 3}',
        b'{"cells": [{"cell_type": "code", "source": 3}]}',
        b"[" * 10**5,
    ):
        with pytest.raises(Refused) as caught:
            notebook_text(bad)
        assert caught.value.error == "bad_json"


def test_notebooks_as_json(tmp_path: Path, read_all: Any, hostile: ModuleType) -> None:
    book = json.dumps({"cells": [{"cell_type": "code", "source": "a = 1", "outputs": [{"text": "2"}]}]})
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "n.ipynb").write_text("\ufeff" + book)
    (tmp_path / "tree" / "none.ipynb").write_text("no JSON")
    (tmp_path / "tree" / "empty.ipynb").write_text('{"cells": []}')
    (tmp_path / "a-1.zip").write_bytes(hostile.make_zip([("n.ipynb", book.encode())]))
    for place in ("tree", "a-1.zip"):
        for option, text in (("json", book), ("text", "a = 1")):
            items = read_all(tmp_path / place, "code", options=(("notebook", option),))
            (document,) = [item for item in items if isinstance(item, Document)]
            assert (document.text, document.kind, document.mime) == (text, "notebook", "application/x-ipynb+json")
    items = read_all(tmp_path / "tree", "code", options=(("notebook", "json"),))
    rest = {item.locator: getattr(item, "error", "") or getattr(item, "reason", "") for item in items}
    assert rest == {"n.ipynb": "", "none.ipynb": "bad_json", "empty.ipynb": "empty"}


@given(st.one_of(st.binary(max_size=40), st.text("ab\t\n\r\f\v\x1b\x7f\0 ~{$(é", max_size=40).map(str.encode)))
def test_the_short_way_to_decode_is_the_long_one(data: bytes) -> None:
    if _is_plain(data):
        assert decode(data, declared_in_source(data)) == (data.decode("ascii"), "utf-8")


def test_hostile_trees(tmp_path: Path, outcomes: Any) -> None:
    """A gigabyte in one line, folders that lead to each other, names that are no text: nothing is written."""
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    with (root / "long.py").open("wb") as file:
        file.truncate(1 << 30)
    (root / "a" / "b" / "up").symlink_to("..")
    (root / "self.py").symlink_to("self.py")
    (root / "one.py").symlink_to("two.py")
    (root / "two.py").symlink_to("one.py")
    (root / "out").symlink_to(tmp_path)
    (root / "a" / "ok.py").write_text("a = 1\n")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.py")).write_text("b = 1\n")
    before = sorted(map(str, tmp_path.rglob("*")))
    found = outcomes(root, "code")
    assert found.pop("self.py") in ("link", "unsafe_link")
    assert found.pop("one.py") == found.pop("two.py") == "link"
    assert found == {
        "long.py": "too_large",
        "a/b/up": "link",
        "out": "unsafe_link",
        "a/ok.py": "code",
        "\\xff.py": "code",
    }
    assert sorted(map(str, tmp_path.rglob("*"))) == before


@pytest.mark.parametrize(
    ("urls", "repo"),
    [
        ([("Home-page", "https://github.com/a/b")], "a/b"),
        ([("Home-page", "https://github.com/a/b"), ("Source", "https://codeberg.org/c/d/")], "c/d"),
        (
            [("Funding", "https://github.com/sponsors/a"), ("Home-page", "https://www.gitlab.com/a/b.git")],
            "a/b",
        ),
        ([("Home-page", "https://example.org/a/b")], None),
        ([("Home-page", "https://github.com/a")], None),
    ],
)
def test_repositories(urls: list[tuple[str, str]], repo: str | None) -> None:
    assert repository(urls) == repo


@pytest.mark.parametrize(
    "form",
    [
        "git+https://github.com/o/n.git",
        "git@github.com:o/n.git",
        "o/n",
        "github:o/n",
        "git+ssh://git@github.com/o/n.git",
    ],
)
def test_package_json_forms(form: str) -> None:
    data = json.dumps({"name": "x", "repository": {"url": form}}).encode()
    assert describe_project({"package.json": data}, "x-1").repo == ("x" if form.startswith("git@") else "o/n")


def test_names_of_archives() -> None:
    assert split_name("demo-1.2") == ("demo", "1.2")
    assert split_name("my-tool-1.2-py3-none-any") == ("my-tool", "1.2")
    assert split_name("repo-main") == ("repo-main", None)
