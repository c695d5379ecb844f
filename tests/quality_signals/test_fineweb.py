"""fineweb@datatrove against the reference's verdicts and numbers, and against a plain function."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.codepoints import terminal_marks
from quality_signals.families import judge_texts
from quality_signals.fineweb import NUMBERS, FineWebQuality, measured
from quality_signals.text_batch import SharedTexts
from quality_signals.words import word_splitter


def documents(golden):
    docs = {d["id"]: d for d in golden("web_docs")}
    rows = golden("web_fineweb_datatrove")
    chosen = [docs[row["id"]] for row in rows]
    return rows, batch_of([d["text"] for d in chosen], language=[d["language"] for d in chosen]), chosen


def test_verdict_and_numbers_of_every_document(golden):
    rows, batch, docs = documents(golden)
    compared = 0
    for doc, gold, row in zip(docs, rows, FineWebQuality().annotate(batch).to_pylist(), strict=True):
        if word_splitter(doc["language"]) is None:
            assert row == {name: True if name == "keep" else None for name in row}
            continue
        assert (True if row["keep"] else row["reason"]) == gold["verdict"], doc["id"]
        assert {name: row[name] for name in NUMBERS} == gold["numbers"], doc["id"]
        compared += 1
    assert compared >= 139


def test_every_rule_by_itself(golden):
    rows, batch, _ = documents(golden)
    family = FineWebQuality()
    numbers, judged = measured(SharedTexts(batch).of(None), "en", family.short_line_length)
    values = family.rule_values(numbers)
    failures = 0
    for rule in rows[0]["rules"]:
        own = [r for r in family.rules if r.name in (rule, "empty")]
        keep, *_, reason = (column.to_pylist() for column in judge_texts(own, values, len(rows), judged))
        for text, row in enumerate(rows):
            if judged[text]:
                assert (True if keep[text] else reason[text]) == row["rules"][rule], (row["id"], rule)
                failures += not keep[text]
    assert failures > 50


def plain(text, words, short=30):
    lines = [line for line in text.split("\n") if line.strip()]
    seen, again = set(), 0
    for line in lines:
        again += len(line) if line in seen else 0
        seen.add(line)
    return {
        "n_lines": len(lines),
        "n_terminal_lines": sum(line.endswith(tuple(terminal_marks())) for line in lines),
        "n_short_lines": sum(len(line) <= short for line in lines),
        "dup_line_chars": again,
        "chars_without_newlines": len(text.replace("\n", "")),
        "n_newlines": text.count("\n"),
        "n_words": len(words),
    }


PIECES = [
    "a line.",
    "a line.",
    "a line that is longer than thirty characters",
    "x",
    "\u3002",
    ". ",
    "\u06d4",
    "\n",
    "\n",
]
PIECES += ["\r", "\x85", "\u2028", "\x00", "\u0301", " ", "\U00011f43"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
            st.text(st.characters(exclude_categories=("Cs",)), max_size=80),
        ),
        max_size=5,
    ),
    st.sampled_from([0, 1, 30]),
)
def test_fast_path_is_the_plain_one(texts, short):
    splitter = word_splitter("en")
    rows = FineWebQuality(short_line_length=short).annotate(batch_of(texts, language="en")).to_pylist()
    assert [{name: row[name] for name in NUMBERS} for row in rows] == [
        plain(text, splitter.words(text), short) for text in texts
    ]


def test_options_and_values():
    def row(text, **options):
        return FineWebQuality(**options).annotate(batch_of([text])).to_pylist()[0]

    no_marks = "A line of some words without any mark at its end\n" * 1 + "and another line of some words without one"
    found = row(no_marks)
    assert (found["rule"], found["reason"], found["value"]) == ("line_punct_thr", "line_punct_ratio", 0.0)
    assert found["threshold"] == 0.12
    assert row(no_marks, line_punct_exclude_zero=True)["keep"]
    assert row(no_marks, line_punct_thr=0.0)["keep"]
    short = "Short.\nAlso short.\nNo."
    assert row(short)["reason"] == "short_line_ratio" and row(short)["value"] == 1.0
    assert row(short, short_line_length=2)["keep"]
    twice = "This very line of more than thirty characters comes twice.\n" * 2
    assert row(twice)["reason"] == "char_dup_ratio"
    assert row(twice, char_duplicates_ratio=0.9)["keep"]
    airy = "This very line of more than thirty characters comes once." + "\n" * 5
    assert row(airy)["reason"] == "list_ratio" and row(airy, new_line_ratio=1.0)["keep"]
    blank = row(" \n\t")
    assert (blank["keep"], blank["rule"], blank["value"], blank["reason"]) == (False, "empty", None, "empty")


def test_kinds_and_schema():
    family = FineWebQuality()
    batch = batch_of(["the cat."] * 4 + [None], kind=["code", "prose", None, "web", "web"], language=["en", "no such",
                     "en", None, "en"])  # fmt: skip
    columns = family.annotate(batch)
    assert columns.schema.equals(family.schema, check_metadata=True)
    assert columns.column("n_words").to_pylist() == [None, None, 3, 3, None]
    assert columns.column("keep").to_pylist() == [True, True, False, False, True]
    assert family.annotate(batch.slice(0, 0)).num_rows == 0
    assert pickle.loads(pickle.dumps(family)) == family


@pytest.mark.parametrize("unit", ["a", "a.\n", "\n", "same line\n", "\u0301"])
def test_time_is_linear(unit):
    def seconds(repeats):
        batch = batch_of([unit * repeats], language="en")
        start = time.process_time()
        FineWebQuality().annotate(batch)
        return time.process_time() - start

    seconds(10)
    small, large = min(seconds(30_000) for _ in range(2)), seconds(120_000)
    assert large < 6 * max(small, 0.03)
