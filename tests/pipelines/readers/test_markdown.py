"""Markdown files: front matter, and text without marks."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Rejected
from pipelines.readers.markdown import split_front_matter, strip_markdown
from pipelines.readers.records import Refused

FRONT = """---
title: The bridge
date: 2021-03-04
authors: [A. Writer, B. Writer]
draft: true
nested: {a: 1}
url: https://example.org/bridge
---
"""


def test_front_matter_goes_to_meta(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.md").write_text(FRONT + "# The *bridge*\n")
    (page,) = read_all(tmp_path, "markdown")
    assert page.text == "# The *bridge*\n"
    assert page.url == "https://example.org/bridge" and page.mime == "text/markdown" and page.kind == "prose"
    assert page.meta == {
        "title": "The bridge", "date": "2021-03-04", "authors": "A. Writer, B. Writer", "draft": "true",
        "url": "https://example.org/bridge",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "front", "rest"),
    [
        ("+++\ntitle = 'x'\nn = 3\n+++\nbody", {"title": "x", "n": "3"}, "body"),
        ("---\r\ntitle: x\r\n---\r\nbody", {"title": "x"}, "body"),
        ("---\ntitle: x\n...\nbody", {"title": "x"}, "body"),
        ("---\ntitle: x", {}, "---\ntitle: x"),  # never closed
        ("---\n[broken: yaml\n---\nbody", {}, "---\n[broken: yaml\n---\nbody"),
        ("---\njust a line\n---\nbody", {}, "---\njust a line\n---\nbody"),
        ("+++\nbroken toml\n+++\nbody", {}, "+++\nbroken toml\n+++\nbody"),
        ("---\na: &x [1]\nb: [*x, *x]\n---\nz", {}, "---\na: &x [1]\nb: [*x, *x]\n---\nz"),  # could grow without end
        ("---\na: !!python/object:os.system x\n---\nz", {}, "---\na: !!python/object:os.system x\n---\nz"),
        ("---\n" + "[" * 20_000 + "\n---\nz", {}, "---\n" + "[" * 20_000 + "\n---\nz"),
        ("---\n" + "- " * 20_000 + "\n---\nz", {}, "---\n" + "- " * 20_000 + "\n---\nz"),
        ("+++\na = " + "[" * 20_000 + "\n+++\nz", {}, "+++\na = " + "[" * 20_000 + "\n+++\nz"),
        ("text\n---\na: 1\n---\n", {}, "text\n---\na: 1\n---\n"),
        ("---\n1: x\na: [[1], 2]\nb: null\n---\n", {"a": "2"}, ""),
    ],
)
def test_front_matter(text: str, front: dict[str, str], rest: str) -> None:
    assert split_front_matter(text) == (front, rest)


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("# Title *x*\n\nPara **b** `c<d` [link](http://a)\n", "Title x\n\nPara b c<d link"),
        ("![alt *q*](b.png) &amp; \\*no\\*", "alt q & *no*"),
        ("a  \nb\nc<br>d <b>e</b>", "a\nb\nc\nd e"),
        ("- a\n- b\n  - c\n\nafter", "- a\n- b\n  - c\n\nafter"),
        ("3. a\n4. b\n", "3. a\n4. b"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\nz", "a | b\n1 | 2\n\nz"),
        ("```py\nx = [1]\n\ny\n```\nz", "x = [1]\n\ny\n\nz"),
        ("<!-- no -->\n\n<div>html <i>x</i></div>\n\nz", "html x\n\nz"),
        ("> quote\n\n[a]: http://x\n\nsee [a] ~~gone~~", "quote\n\nsee a gone"),
        ("", ""),
    ],
)
def test_stripped(markdown: str, plain: str) -> None:
    assert strip_markdown(markdown) == plain


def test_options_and_archives(tmp_path: Path, read_all: Any, outcomes: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.md", "b.markdown", "c.txt", "../d.md"):
            archive.writestr(name, "# *Title*\n")
        archive.writestr("front.md", "---\na: 1\n---\n\n")
        archive.writestr("binary.md", bytes(100))
    assert outcomes(tmp_path, "markdown") == {
        "a.zip!a.md": "prose",
        "a.zip!b.markdown": "prose",
        "a.zip!c.txt": "other_file",
        "a.zip!../d.md": "path_traversal",
        "a.zip!front.md": "empty",
        "a.zip!binary.md": "binary",
    }
    found = [item for item in read_all(tmp_path, "markdown", options={"strip": True}) if isinstance(item, Document)]
    assert [document.text for document in found] == ["Title", "Title"]


@pytest.mark.parametrize("text", ["[" * 40_000, "|" * 200_000, "word " * 500_000])
def test_what_would_take_too_long_is_refused_quickly(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(Refused) as caught:
        strip_markdown(text)
    assert caught.value.error == "too_large"
    assert time.process_time() - begin < 1


def test_a_refused_text_is_one_rejected_item(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.md").write_text("[" * 40_000)
    (item,) = read_all(tmp_path, "markdown", options={"strip": True})
    assert isinstance(item, Rejected) and item.error == "too_large"
    (item,) = read_all(tmp_path, "markdown")
    assert isinstance(item, Document)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab \n\r\t#*_`[]()!<>|-+~.1\\&;:\"'\x85\u2028日", max_size=80))
def test_any_text_is_stripped(text: str) -> None:
    assert isinstance(strip_markdown(text), str)
    front, rest = split_front_matter(text)
    assert text.endswith(rest)
