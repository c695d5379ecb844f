"""stack_v2_pr@1 against the reference's values."""

from __future__ import annotations

import pyarrow as pa
import pytest

from quality_signals.batches import batch_of
from quality_signals.stack_v2_pr import StackV2PullRequestFile

NUMBERS = ("alphanum_fraction", "alpha_fraction", "hex_fraction", "num_lines", "avg_line_length", "max_line_length")


def rows_of(texts, languages):
    batch = batch_of(texts, kind="code").append_column("programming_language", pa.array(languages, pa.string()))
    return StackV2PullRequestFile().annotate(batch).to_pylist()


def test_every_file_has_the_references_values(golden):
    files = {f["id"]: f for f in golden("code_files")}
    gold = [each for each in golden("code_filters_full") if "skipped" not in each]
    rows = rows_of(*([files[each["id"]][key] for each in gold] for key in ("content", "lang")))
    for row, want in zip(rows, gold, strict=True):
        for name in NUMBERS:
            assert row[name] == want["v2_stats"][name], (want["id"], name)
        assert row["keep"] == want["v2_pr_file_keep"], want["id"]
        assert (row["rule"] is None) == row["keep"]
    assert sum(not row["keep"] for row in rows) > 10


@pytest.mark.parametrize(
    "text, language, rule",
    [
        ("x---", "C", "alphanum_fraction"),  # a value at the limit is dropped
        ("xx--", "C", None),
        ("\\x" * 4 + "a" * 24, "C", "hex_fraction"),
        ("\\x" * 4 + "a" * 25, "C", None),
        ("a\n" * 99_999, "C", None),
        ("a\n" * 100_000, "C", "num_lines"),
        ("a" * 100, "C", "avg_line_length"),
        ("a" * 99, "C", None),
        ("a" * 1000 + "\n" * 20, "C", "max_line_length"),
        ("a" * 5000, "RDoc", None),
        ("word", "Markdown", "english"),
        ("x of y", "Markdown", None),
        ("", "C", "alphanum_fraction"),
    ],
)
def test_limits_are_strict(text, language, rule):
    (row,) = rows_of([text], [language])
    assert (row["keep"], row["rule"]) == (rule is None, rule)
