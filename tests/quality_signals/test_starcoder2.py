"""starcoder2@1: rules at their limits, encoded data against its regular expressions, the table of extensions."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.starcoder2 import StarCoder2, extensions, text_name_keep
from quality_signals.starcoder2_encoded import encoded_data, encoded_spans
from quality_signals.text_batch import SharedTexts


def judge(text, language, path="x", **options):
    batch = batch_of([text], kind="code", path=[path])
    batch = batch.append_column("programming_language", pa.array([language], pa.string()))
    return StarCoder2(**options).annotate(batch).to_pylist()[0]


LINE = "word " * 10 + "\n"


@pytest.mark.parametrize(
    "text, language, rule",
    [
        ("", "C", "empty"),
        ("a\0b", "C", "binary"),
        ("a_\n" * 100_000, "C", None),
        ("a_\n" * 100_001, "C", "num_lines"),
        ("a b_" * 25 + "\n", "C", None),
        ("a b_" * 25 + "x\n", "C", "avg_line_length"),
        ("a b_" * 250 + "\n" * 30, "C", None),
        ("a b_" * 250 + "x" + "\n" * 30, "C", "max_line_length"),
        ("a b_" * 25_000, "TeX", None),
        ("a b_" * 25_000 + "x", "TeX", "long_line"),
        ("a\nb\nc\nd\ne\n// GENERATED Automatically", "C", None),
        ("a\nb\n// GENERATED Automatically", "C", "generated"),
        ("a---", "C", None),
        ("a----", "C", "alphabetic"),
        ("1---", "C", "alphabetic"),
        ("1---", "WebAssembly", None),
        ("-----", "WebAssembly", "alphanumeric"),
        ("a_\n_" * 20 + "Q" * 79, "C", None),
        ("a_\n_" * 20 + "Q" * 81, "C", "encoded_fraction"),
        (LINE * 60 + "_" + ("Q" * 63 + "\n") * 16, "C", None),
        (LINE * 60 + "_" + ("Q" * 63 + "\n") * 16 + "Q", "C", "encoded_length"),
        ("a b\n" * 512, "YAML", None),
        ("a b\n" * 513, "YAML", "data_lines"),
        ("<p>" + "word " * 20, "HTML", None),
        ("<p>" + "word " * 19, "HTML", "visible_chars"),
        ("<p>" + "word " * 20 + "<b></b>" * 100, "HTML", "visible_fraction"),
    ],
)
def test_each_rule_at_its_limit(text, language, rule):
    row = judge(text, language)
    assert (row["keep"], row["rule"]) == (rule is None, rule)


def test_text_files_by_name():
    for name in ("docs/README.txt", "todo", "Requirements-dev.txt", "CMakeLists.txt", "a/NOTES.old.txt"):
        assert text_name_keep(name) and judge(LINE, "Text", name)["keep"]
    assert judge(LINE, "Text", "words.txt")["rule"] == "text_name"
    assert judge(LINE, "C", "words.txt")["keep"]


def test_extensions():
    assert len(extensions()) == 1295 and sum(not keep for keep in extensions().values()) == 179
    excluded = next(key for key, keep in extensions().items() if not keep and key[0] not in ("Text", "HTML"))
    assert judge(LINE, excluded[0], "a." + excluded[1])["rule"] == "extension"
    row = judge(LINE, "No Language", "a.zzz")
    assert row["keep"] and row["extension_keep"] is None
    assert judge(LINE, "No Language", "a.zzz", unlisted=False)["rule"] == "extension"


def test_language_is_told_where_it_is_not_given():
    batch = batch_of([LINE, LINE], kind=["code", "web"], path=["words.txt", "words.txt"])
    rows = StarCoder2().annotate(batch).to_pylist()
    assert [(row["rule"], row["programming_language"]) for row in rows] == [("text_name", "Text"), (None, None)]
    assert StarCoder2().annotate(batch_of([])).num_rows == 0


pieces = st.sampled_from(
    ["\\x4f", "0xa1", "ab", "4F,", "0x1, ", "\\u00e9", "\\u12", " ", "  \n", "\t", ",", "é", "\u2003", "\0", "_", "😀"]
    + ["QUJD", "+/=\n", "x", "\\", "0", "a" * 60, "1f " * 7, "\\x00" * 8, "\\u1234" * 8, "\u0663"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(pieces, max_size=30).map("".join), max_size=4))
def test_encoded_data_is_what_the_expressions_find(texts):
    found = encoded_data(SharedTexts(batch_of(texts)).of())
    for text, longest, covered in zip(texts, *found, strict=True):
        spans = encoded_spans(text)
        mask = np.zeros(len(text), bool)
        for start, end in spans:
            mask[start:end] = True
        assert longest == max((end - start for start, end in spans), default=0), text
        assert covered == mask.sum(), text


@pytest.mark.parametrize("unit", ["Q", "ab ", "0x", "\\x", "\\u00e9", "ab" + " " * 50, "a" * 63 + "-", "a ", "1,"])
def test_encoded_data_takes_linear_time(unit):
    def seconds(size):
        texts = SharedTexts(batch_of([unit * (size // len(unit))])).of()
        texts.points  # noqa: B018 - decoded before the clock runs
        start = time.process_time()
        encoded_data(texts)
        return time.process_time() - start

    seconds(1000)
    small = min(seconds(500_000) for _ in range(2))
    assert min(seconds(2_000_000) for _ in range(2)) < 8 * max(small, 0.01)
