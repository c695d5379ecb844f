"""stack_v1@1 and starcoder@1 against the reference's values."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import annotate
from quality_signals.batches import batch_of
from quality_signals.html_text import visible_text
from quality_signals.stack_v1 import StackV1, extension, html_keep, table, table_language

pytest.importorskip("pygments")
bs4 = pytest.importorskip("bs4")


def with_languages(texts, paths, languages, **columns):
    batch = batch_of(texts, kind="code", path=paths)
    batch = batch.append_column("programming_language", pa.array(languages, pa.string()))
    for name, values in columns.items():
        batch = batch.append_column(name, values)
    return batch


@pytest.fixture(scope="module")
def rows_and_gold(golden):
    files = {f["id"]: f for f in golden("code_files")}
    gold = [each for each in golden("code_filters_full") if "skipped" not in each]
    chosen = [files[each["id"]] for each in gold]
    batch = with_languages(*([f[key] for f in chosen] for key in ("content", "path", "lang")))
    return StackV1().annotate(batch).to_pylist(), StackV1(per_extension=True).annotate(batch).to_pylist(), gold, chosen


def test_every_file_has_the_references_values(rows_and_gold):
    rows, starcoder, gold, files = rows_and_gold
    assert len(rows) == 307
    seen = dict.fromkeys(("html", "comments", "empty"), 0)
    for row, other, want, file in zip(rows, starcoder, gold, files, strict=True):
        assert row["xml_keep"] == want["xml_keep"], file["path"]
        if "error" in want["v1_stats"]:
            seen["empty"] += 1
            assert (row["keep"], row["rule"], row["basic_keep"], row["max_line_length"]) == (False, "empty", None, None)
            continue
        for name in ("size", "avg_line_length", "max_line_length", "alphanum_fraction"):
            assert row[name] == want["v1_stats"][name], (file["path"], name)
        assert row["basic_keep"] == want["basic_keep"]
        assert row["per_ext_keep"] == want["per_ext"]["keep"], (file["path"], want["per_ext"])
        assert row["size_keep"] == want["size_keep"]
        if "html" in want:
            seen["html"] += 1
            assert row["html_keep"] == want["html"]["keep"], file["path"]
        if isinstance(want.get("nl_ratio"), float):
            seen["comments"] += 1
            assert row["comments_ratio"] == want["nl_ratio"], file["path"]
            assert row["comments_keep"] == want["comments_keep"], file["path"]
        else:
            assert row["comments_ratio"] is None and row["comments_keep"] is None, file["path"]
        if row["keep"]:
            assert row["basic_keep"]
        if other["keep"]:
            assert other["per_ext_keep"]
    assert seen["html"] > 5 and seen["comments"] > 150 and seen["empty"] >= 1, seen


def test_the_table_and_its_keys(rows_and_gold):
    _, _, gold, files = rows_and_gold
    assert len(table()) == 303 and sum(row.include for row in table().values()) > 200
    for want, file in zip(gold, files, strict=True):
        if "per_ext" not in want:
            continue
        language, ext = want["per_ext"]["key"]
        assert (table_language(file["lang"]), extension(file["path"])) == (language or "", ext)
        assert ((language, ext) in table()) == want["per_ext"]["in_csv"]


@pytest.mark.parametrize(
    "text, rule",
    [
        ("x" * 1000 + "\n" * 20, None),
        ("x" * 1001 + "\n" * 20, "max_line_length"),
        (("x" * 100 + "\n") * 3 + "x" * 101, "avg_line_length"),
        ("x----", "alphanum_fraction"),
        ("", "empty"),
        ("a = 1\n<?xml version='1.0'?>", "xml"),
        ("a = 1\n" * 20 + "<?xml version='1.0'?>", None),
    ],
)
def test_verdicts_of_the_basic_filter(text, rule):
    row = annotate("stack_v1@1", text, path="a.py", kind="code", comments=False)
    assert (row["keep"], row["rule"]) == (rule is None, rule)


def test_options():
    text = "a = 1\nb = 2\n"
    assert annotate("stack_v1@1", text, path="a.py", drop_comments=True)["rule"] == "comments"
    with pytest.raises(ValueError, match="drop_comments needs comments"):
        StackV1(comments=False, drop_comments=True)
    meta = pa.array([[("stars", "5")], [("stars", "6")], [], None], pa.map_(pa.string(), pa.string()))
    batch = with_languages([text] * 4, ["a.py"] * 4, ["Python"] * 4, meta=meta)
    rows = StackV1(min_stars=5, comments=False).annotate(batch).to_pylist()
    assert [row["rule"] for row in rows] == ["stars", None, "stars", "stars"]
    assert (rows[0]["value"], rows[0]["threshold"]) == (5.0, 6.0)


def test_json_and_yaml_of_odd_sizes_are_dropped():
    sizes = (99, 100, 5000, 5001)
    texts = [("ab: cdef1\n" * 600)[:size] for size in sizes]
    rows = StackV1().annotate(with_languages(texts, ["a.yaml"] * 4, ["YAML"] * 4)).to_pylist()
    assert [row["size_keep"] for row in rows] == [row["keep"] for row in rows] == [False, True, True, False]


def test_other_kinds_and_empty_batches():
    batch = batch_of(["x----", None, "x----"], kind=["web", "code", "notebook"])
    assert [row["keep"] for row in StackV1().annotate(batch).to_pylist()] == [True, True, False]
    assert StackV1().annotate(batch_of([])).num_rows == 0


code = st.text(st.sampled_from("ab1_ #\"'\\\r\n\t\x0b\x85\u2028\0é界😀<>/?"), max_size=80)


@settings(max_examples=100, deadline=None)
@given(st.lists(code, max_size=5))
def test_numbers_are_those_of_plain_python(texts):
    rows = StackV1(comments=False).annotate(batch_of(texts, kind="code", path=["a.py"] * len(texts))).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        lines = [len(line) for line in text.splitlines()]
        assert row["size"] == len(text)
        if text:
            share = sum(map(str.isalnum, text)) / len(text)
            assert row["max_line_length"] == max(lines) and row["avg_line_length"] == sum(lines) / len(lines)
            assert row["alphanum_fraction"] == share
            assert row["basic_keep"] == (max(lines) <= 1000 and sum(lines) / len(lines) <= 100 and share >= 0.25)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab \n\r\t\0\x0b\ufeff\u2028é]>!-\"'/"), max_size=30))
def test_text_without_tags_is_what_the_parser_gives(text):
    soup = bs4.BeautifulSoup(text, features="html.parser")
    assert visible_text(text) == soup.get_text()


def test_deep_and_broken_html_is_no_crash():
    assert html_keep("<div>" * 20_000 + "word " * 100) in (True, False)
    assert html_keep("<![if") is False
    assert html_keep("<![%draft;[\n<!ELEMENT a>" + "word " * 100) is False  # which html.parser rejects
    assert html_keep("<p>" + "word " * 100) is True


def test_time_is_linear():
    def seconds(size):
        batch = batch_of(["x" * size, "\n" * size, '"' * size], kind="code", path=["a.c"] * 3)
        start = time.process_time()
        StackV1(comments=False).annotate(batch)
        return time.process_time() - start

    seconds(10)
    small, large = (min(seconds(size) for _ in range(2)) for size in (500_000, 2_000_000))
    assert large < 12 * max(small, 0.02)
