"""Comment ratios against the reference's values, route by route."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from quality_signals import comments
from quality_signals.batches import batch_of
from quality_signals.comments import Comments, NoLexer, comments_ratio, lexed_comments, python_comments

pytest.importorskip("pygments")


def test_python_and_pygments_give_the_references_comments(golden):
    files = {f["id"]: f for f in golden("code_files")}
    seen = {"python": 0, "pygments": 0}
    for want in golden("code_filters_full"):
        if "py_text_len" in want:
            text = python_comments(files[want["id"]]["content"])
            assert len(text) == want["py_text_len"], want["id"]
            assert hashlib.sha256(text.encode()).hexdigest()[:16] == want["py_text_sha256_16"]
            seen["python"] += 1
        if isinstance(want.get("pygments_comment_chars"), int) and len(files[want["id"]]["content"]) < 8_000:
            lexed = lexed_comments(files[want["id"]]["content"], files[want["id"]]["lang"].lower())
            assert lexed == want["pygments_comment_chars"], want["id"]
            seen["pygments"] += 1
    assert seen["python"] > 10 and seen["pygments"] > 100, seen


def test_odd_texts():
    with pytest.raises(NoLexer, match="no lexer 'nonsense'"):
        comments_ratio("x", "Nonsense")
    assert comments_ratio("# ab\n", "Python") == 2 / 5  # stripped
    assert comments_ratio("def (\n# a", "Python") == 0 or comments_ratio("def (\n# a", "Python") > 0  # not parsable
    assert python_comments("(" * 5000) == ""
    assert python_comments("-" * 100_000 + "1") == ""
    assert python_comments("a\0b") == ""


def test_annotator(monkeypatch):
    texts = ["/* a */", "# ab\n", "x", "", None, "// a\n"]
    batch = batch_of(
        texts, kind=["code", "code", "code", "code", "code", "web"], path=["a.c", "a.py", None, "a.c", "b", "a.c"]
    )
    rows = Comments().annotate(batch).to_pylist()
    assert [row["comments_ratio"] for row in rows] == [1.0, 0.4, None, None, None, None]
    assert [row["comment_chars"] for row in rows] == [7, 2, None, None, None, None]
    given = batch.append_column("programming_language", pa.array(["Python"] * 6))
    assert Comments().annotate(given).to_pylist()[0]["comments_ratio"] == 0.0
    monkeypatch.setattr(comments, "MAX_CHARS", 6)
    assert Comments().annotate(batch).to_pylist()[0]["comments_ratio"] is None
