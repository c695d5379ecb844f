"""mc4@1 against the reference's filter and a plain reading of it."""

from __future__ import annotations

import heapq
import pickle
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.mc4 import MC4

# The reference's measure is the shortest of the three longest lines.


def test_verdict_of_every_document(golden):
    docs = golden("web_docs")
    rows = MC4().annotate(batch_of([d["text"] for d in docs])).to_pylist()
    expected = [g["paragraph_filter"] for g in golden("web_c4_tfds")]
    assert [row["keep"] for row in rows] == expected
    assert 50 < sum(expected) < 100
    for row in rows:
        if not row["keep"]:
            assert row["reason"] == "paragraph_filter"
            assert row["rule"] == ("min_paragraphs" if row["n_lines"] < 3 else "min_paragraph_len")
            assert row["value"] < row["threshold"] == (3.0 if row["n_lines"] < 3 else 200.0)


LINE = st.sampled_from(
    ["", "a", "b" * 199, "c" * 200, "\U0001f600" * 200, "e\u0301" * 150, "f\r" * 100, "\x85" * 201, "g" * 300]
)
TEXTS = st.lists(LINE, max_size=8).map("\n".join) | st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=5))
@example([])
@example(["", "\n\n", "\n".join(["a" * 200] * 3), "\n".join(["a" * 200, "a" * 199, "a" * 200])])
def test_fast_path_is_the_plain_one(texts):
    for text, row in zip(texts, MC4().annotate(batch_of(texts)).to_pylist(), strict=True):
        lengths = [len(line) for line in text.split("\n")]
        third = min(heapq.nlargest(3, lengths)) if len(lengths) >= 3 else 0
        assert row["keep"] == (len(lengths) >= 3 and third >= 200)
        assert (row["n_characters"], row["n_lines"], row["third_longest_line"]) == (len(text), len(lengths), third)
        assert row["n_long_lines"] == sum(length >= 200 for length in lengths)


def test_longest_page():
    texts = ["\n".join(["a" * 63_000] * 3) + "a" * extra for extra in (998, 999)]
    rows = MC4().annotate(batch_of(texts)).to_pylist()
    assert [(row["keep"], row["reason"], row["value"], row["threshold"]) for row in rows] == [
        (True, None, None, None),
        (False, "too_long", 190_001.0, 190_000.0),
    ]


def test_rows_of_other_kinds_are_not_judged():
    batch = batch_of(["a", "a", "a", None], kind=["code", "web", None, "web"])
    found = MC4().annotate(batch)
    assert found.schema.equals(MC4.schema)
    assert found.column("keep").to_pylist() == [True, False, False, True]
    assert found.column("n_lines").to_pylist() == [None, 1, 1, None]
    assert pickle.loads(pickle.dumps(MC4())) == MC4()


@pytest.mark.parametrize("unit", ["a", "\n", "\u0301", "a\n"])
def test_time_is_linear(unit):
    def seconds(size):
        batch = batch_of([unit * (size // len(unit))])
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            MC4().annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    small, large = seconds(500_000), seconds(2_000_000)
    assert large < 6 * max(small, 0.01)
