"""code_stats@1 and starcoder_basic against the reference's values."""

from __future__ import annotations

import json
import time
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.code_stats import CodeStatistics, code_stats, starcoder_basic
from quality_signals.programming_language import from_name, from_shebang, programming_language


def test_every_file_has_the_references_values(golden):
    files = {f["id"]: f for f in golden("code_files")}
    expected = golden("code_filters")
    rows = CodeStatistics().annotate(batch_of([files[e["id"]]["content"] for e in expected], kind="code")).to_pylist()
    dropped = 0
    for row, gold in zip(rows, expected, strict=True):
        if "error" in gold["v1_stats"]:  # the reference cannot take an empty file
            assert (row["size"], row["keep"], row["rule"]) == (0, False, "empty")
            continue
        for name in ("size", "avg_line_length", "max_line_length", "alphanum_fraction"):
            assert row[name] == gold["v1_stats"][name], (gold["id"], name)
        for name in ("num_lines", "alpha_fraction"):
            assert row[name] == gold["v2_stats"][name], (gold["id"], name)
        assert row["keep"] == gold["basic_keep"], gold["id"]
        dropped += not row["keep"]
    assert len(rows) == 307 and dropped >= 5


def test_language_by_extension_agrees_with_the_labels(golden):
    """The labels are mechanical and spelt as in The Stack; most must agree, and common languages always."""
    common = {
        "Python",
        "C",
        "C++",
        "Java",
        "JavaScript",
        "Go",
        "Rust",
        "Ruby",
        "Haskell",
        "YAML",
        "JSON",
        "HTML",
        "CSS",
    }
    labelled = [f for f in golden("code_files") if f["lang"]]
    found = [programming_language(f["path"], f["content"]) for f in labelled]
    assert sum(a == f["lang"] for a, f in zip(found, labelled, strict=True)) / len(labelled) > 0.9
    assert all(a == f["lang"] for a, f in zip(found, labelled, strict=True) if f["lang"] in common)


@pytest.mark.parametrize(
    "text, rule, value",
    [
        ("x" * 1000 + "\n" * 20, None, None),
        ("x" * 1001 + "\n" * 20, "max_line_length", 1001.0),
        (("x" * 100 + "\n") * 3, None, None),
        (("x" * 100 + "\n") * 3 + "x" * 101, "avg_line_length", 100.25),
        ("x---", None, None),
        ("x----", "alphanum_fraction", 0.2),
        ("", "empty", None),
    ],
)
def test_basic_filter_is_strict(text, rule, value):
    verdict = starcoder_basic(code_stats(text))
    assert (verdict.keep, verdict.rule, verdict.value) == (rule is None, rule, value)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_counts_are_pythons(text):
    stats = code_stats(text)
    lines = text.splitlines()
    assert stats.num_lines == len(lines)
    assert stats.max_line_length == max(map(len, lines), default=0)
    if text:
        assert stats.alphanum_fraction == sum(map(str.isalnum, text)) / len(text)
        assert stats.alpha_fraction == sum(map(str.isalpha, text)) / len(text)


def test_generated_mark():
    assert code_stats("a\nb\n// This file is AUTO-GENERATED\n").is_generated_mark
    assert not code_stats("a\nb\nc\nd\ne\n// auto-generated").is_generated_mark


@pytest.mark.parametrize(
    "path, language",
    [
        ("src/a.py", "Python"),
        ("A.PY", "Python"),
        ("dir.d/Makefile", "Makefile"),
        ("Dockerfile.dev", "Dockerfile"),
        ("C:\\x\\main.cpp", "C++"),
        ("conf/app.blade.php", "PHP"),
        ("a/b.unknownext", None),
        ("noext", None),
        (".gitignore", "Ignore List"),
        ("notebook.ipynb", "Jupyter Notebook"),
    ],
)
def test_language_by_name(path, language):
    assert from_name(path) == language


@pytest.mark.parametrize(
    "line, language",
    [
        ("#!/bin/sh\n", "Shell"),
        ("#!/usr/bin/env python3.11\n", "Python"),
        ("#! /usr/bin/env -S X=1 node --flag\n", "JavaScript"),
        ("#!/usr/bin/perl -w\n", "Perl"),
        ("#!\n", None),
        ("text #!/bin/sh", None),
        ("", None),
    ],
)
def test_language_by_interpreter(line, language):
    assert from_shebang(line) == language


def test_table_names_each_extension_once():
    text = resources.files("quality_signals").joinpath("data", "programming_languages.json").read_text("utf-8")
    table = json.loads(text)
    for key in ("extensions", "filenames", "interpreters"):
        entries = [e.lower() if key == "extensions" else e for row in table.values() for e in row.get(key, ())]
        assert len(entries) == len(set(entries))
    assert sum(len(row.get("extensions", ())) for row in table.values()) > 200


def test_kinds_and_given_language():
    batch = batch_of(["a = 1\n"] * 3 + [None], kind=["code", "web", None, "code"], path=["a.py", "b.py", None, "c.py"])
    rows = CodeStatistics().annotate(batch).to_pylist()
    assert [r["size"] for r in rows] == [6, None, 6, None]
    assert [r["programming_language"] for r in rows] == ["Python", None, None, None]
    assert all(r["keep"] for r in rows)


def test_time_is_linear():
    def seconds(size):
        batch = batch_of(["x" * size, "\n" * size], kind="code")
        start = time.process_time()
        CodeStatistics().annotate(batch)
        return time.process_time() - start

    seconds(10)
    small, large = seconds(100_000), seconds(1_000_000)
    assert large < 30 * max(small, 0.02)
