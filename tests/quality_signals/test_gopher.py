"""gopher@datatrove and gopher_repetition@datatrove against the reference's verdicts and numbers, and against plain
functions over Python strings."""

from __future__ import annotations

import pickle
import re
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals import gopher, gopher_repetition
from quality_signals.batches import batch_of
from quality_signals.codepoints import SYMBOLS, terminal_marks
from quality_signals.families import judge_texts
from quality_signals.gopher import GopherQuality
from quality_signals.gopher_repetition import GopherRepetition
from quality_signals.repeated_grams import REPEATED, TOP
from quality_signals.text_batch import SharedTexts
from quality_signals.words import word_splitter

ANNOTATORS = [GopherQuality(), GopherRepetition()]
IDS = ["quality", "repetition"]


def flat(numbers):
    """Golden numbers under our column names."""
    result = {}
    for name, value in numbers.items():
        if isinstance(value, dict):
            result.update({f"{name.split('_')[0]}_{n}_gram_chars": v for n, v in value.items()})
        else:
            result[name] = value
    return result


@pytest.mark.parametrize("annotator", ANNOTATORS, ids=IDS)
def test_verdict_and_numbers_of_every_document(annotator, golden):
    docs = golden("web_docs")
    expected = {g["id"]: g for g in golden("web_" + annotator.name.replace("@", "_"))}
    rows = annotator.annotate(batch_of([d["text"] for d in docs], language=[d["language"] for d in docs])).to_pylist()
    compared = 0
    for doc, row in zip(docs, rows, strict=True):
        if word_splitter(doc["language"]) is None:
            assert row == {name: True if name == "keep" else None for name in row}
            continue
        gold = expected[doc["id"]]
        assert (True if row["keep"] else row["reason"]) == gold["verdict"], doc["id"]
        assert {name: row[name] for name in flat(gold["numbers"])} == flat(gold["numbers"]), doc["id"]
        compared += 1
    assert compared >= 139  # all but those whose splitter is a package that may not be installed


@pytest.mark.parametrize("module", [gopher, gopher_repetition], ids=IDS)
def test_every_rule_by_itself(module, golden):
    """The reference was also run with one rule on and all others off."""
    rows = golden("web_gopher_datatrove" if module is gopher else "web_gopher_repetition_datatrove")
    docs = {d["id"]: d for d in golden("web_docs")}
    chosen = [docs[row["id"]] for row in rows]
    batch = batch_of([d["text"] for d in chosen], language=[d["language"] for d in chosen])
    numbers, judged = module.measured(SharedTexts(batch).of(None), "en")
    values = module.rule_values(numbers)
    failures = 0
    for rule in rows[0]["rules"]:
        own = [r for r in module.RULES if r.name in (rule, "empty")]
        keep, *_, reason = (column.to_pylist() for column in judge_texts(own, values, len(rows), judged))
        for text, row in enumerate(rows):
            expected = row["rules"][rule]
            # The reference divides by zero on a text without words.
            if judged[text] and not str(expected).startswith("error"):
                assert (True if keep[text] else reason[text]) == expected, (row["id"], rule)
                failures += not keep[text]
    assert failures > 100


def test_value_and_threshold_of_the_first_failing_rule():
    words = "alpha beta gamma delta " * 20  # no stop word
    row = GopherQuality().annotate(batch_of([words])).to_pylist()[0]
    assert (row["keep"], row["rule"], row["value"], row["threshold"]) == (False, "min_stop_words", 0.0, 2.0)
    assert row["reason"] == "gopher_enough_stop_words"
    good = GopherQuality().annotate(batch_of([words + "of the"])).to_pylist()[0]
    assert good["keep"] and good["rule"] is None and good["value"] is None
    assert not GopherQuality().annotate(batch_of([words + "The Of"])).to_pylist()[0]["keep"]
    hashes = GopherQuality().annotate(batch_of([words + "of the " + "# " * 10])).to_pylist()[0]
    assert hashes["reason"] == "gopher_too_many_hashes" and hashes["value"] == 10 / 92
    empty = GopherRepetition().annotate(batch_of([""])).to_pylist()[0]
    assert (empty["keep"], empty["rule"], empty["value"], empty["reason"]) == (False, "empty", None, "empty")


def plain_quality(text, words):
    symbols = set(SYMBOLS) | terminal_marks()
    solid = [word for word in words if any(c not in symbols for c in word)]
    lines = text.splitlines()
    return {
        "n_words": len(words),
        "n_non_symbol_words": len(solid),
        "chars_non_symbol_words": sum(map(len, solid)),
        "n_hash": text.count("#"),
        "n_ellipsis": text.count("...") + text.count("\u2026"),
        "n_lines": len(lines),
        "n_bullet_lines": sum(line.lstrip().startswith(("\u2022", "-")) for line in lines),
        "n_ellipsis_lines": sum(line.rstrip().endswith(("...", "\u2026")) for line in lines),
        "n_alpha_words": sum(any(map(str.isalpha, word)) for word in words),
        "n_distinct_stop_words": len(set(words) & set(gopher.STOP_WORDS)),
    }


def repeated(parts):
    seen, again = set(), []
    for part in parts:
        if part in seen:
            again.append(part)
        seen.add(part)
    return len(again), sum(map(len, again))


def plain_repetition(text, words):
    paragraphs = re.split(r"\n{2,}", text.strip())
    lines = re.split(r"\n+", text)
    result = {"len_text": len(text), "n_words": len(words), "n_paragraphs": len(paragraphs), "n_lines": len(lines)}
    result["dup_paragraphs"], result["dup_paragraph_chars"] = repeated(paragraphs)
    result["dup_lines"], result["dup_line_chars"] = repeated(lines)
    for n in TOP:
        counts: dict[str, int] = {}
        for i in range(len(words) - n + 1):
            gram = " ".join(words[i : i + n])
            counts[gram] = counts.get(gram, 0) + 1
        best = max(counts, key=lambda gram: counts[gram], default=None)
        result[f"top_{n}_gram_chars"] = None if best is None else len(best) * counts[best]
    for n in REPEATED:
        seen, total, i = set(), 0, 0
        while i < len(words) - n + 1:
            gram = "".join(words[i : i + n])
            if gram in seen:
                total += len(gram)
                i += n
            else:
                seen.add(gram)
                i += 1
        result[f"dup_{n}_gram_chars"] = total
    return result


WORDS = [
    "a",
    "b",
    "ab",
    "aa",
    ".",
    "...",
    "\u2026",
    "c'est",
    "\n",
    "\n\n",
    "- the",
    "\u2022",
    "# be",
    "with",
    "sentence",
]
TEXT = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=90).map(" ".join),
    st.lists(st.sampled_from(["the same line again ", "x", "\n", "\n\n", "\r\n", "\x85", "\u2028"]), max_size=40).map(
        "".join
    ),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=100),
    st.text(st.sampled_from("ab.\u2026-# \n\r\v\x00\x1c\x85\u2028\u0301\u03c3\u4e2d\U0001f600"), max_size=100),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(TEXT, max_size=5))
@example(["the\0", "\0the and\0 that\0\0"])
def test_fast_path_is_the_plain_one(texts):
    splitter = word_splitter("en")
    batch = batch_of(texts, language="en")
    quality, repetition = (annotator.annotate(batch).to_pylist() for annotator in ANNOTATORS)
    for text, of_quality, of_repetition in zip(texts, quality, repetition, strict=True):
        words = splitter.words(text)
        assert {name: of_quality[name] for name in gopher.NUMBERS} == plain_quality(text, words)
        assert {name: of_repetition[name] for name in gopher_repetition.NUMBERS} == plain_repetition(text, words)


def test_longer_texts_with_repeats_are_the_plain_ones():
    """Long enough for n-grams that are looked for only where some of their characters come again."""
    rng = np.random.default_rng(3)
    splitter = word_splitter("en")
    vocabulary = [f"word{i}" for i in range(30)] + list("abcdefg") + ["ab", "bc", "wordw", "ord1"]
    texts = []
    for size in (50, 400, 3_000):
        words = [vocabulary[i] for i in rng.integers(0, len(vocabulary), size)]
        for _ in range(size // 40):  # copies of stretches
            at, to = rng.integers(0, size - 15, 2)
            words[to : to + 15] = words[at : at + 15]
        texts.append(" ".join(words))
    rows = GopherRepetition().annotate(batch_of(texts, language="en")).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        assert {name: row[name] for name in gopher_repetition.NUMBERS} == plain_repetition(text, splitter.words(text))
    assert rows[2]["dup_10_gram_chars"] > 0


def test_grams_written_together_are_equal():
    """("ab", "c") and ("a", "bc") are one n-gram for the repeated ones: the reference joins with nothing
    between."""
    rows = GopherRepetition().annotate(batch_of(["ab c d e f x a bc d e f"], language="en")).to_pylist()
    assert rows[0]["dup_5_gram_chars"] == 6
    long = "mountain side house boat rail x mountains ide house boat rail"
    assert GopherRepetition().annotate(batch_of([long], language="en")).to_pylist()[0]["dup_5_gram_chars"] == 25


@pytest.mark.parametrize("annotator", ANNOTATORS, ids=IDS)
def test_kinds_languages_and_schema(annotator):
    batch = batch_of(
        ["the cat"] * 4 + [None],
        kind=["code", "notebook", "prose", None, "web"],
        language=[None, "en", "no such language", None, "en"],
    )
    columns = annotator.annotate(batch)
    assert columns.schema.equals(annotator.schema, check_metadata=True)
    assert columns.column("n_words").to_pylist() == [None, None, None, 2, None]
    assert columns.column("keep").to_pylist()[:3] == [True, True, True]
    assert columns.column("keep").null_count == 0
    assert annotator.annotate(batch.slice(0, 0)).num_rows == 0
    assert annotator.annotate(batch.slice(3, 2)).equals(columns.slice(3, 2))
    assert pickle.loads(pickle.dumps(annotator)) == annotator


@pytest.mark.parametrize("annotator", ANNOTATORS, ids=IDS)
@pytest.mark.parametrize("unit", ["a", "a ", "it's. ", "\n", "!", "same line\n", "a:@", "\u0301", "of the\n\n"])
def test_time_is_linear(annotator, unit):
    def seconds(repeats):
        batch = batch_of([unit * repeats], language="en")
        start = time.process_time()
        annotator.annotate(batch)
        return time.process_time() - start

    seconds(10)
    small, large = min(seconds(30_000) for _ in range(2)), seconds(120_000)
    assert large < 6 * max(small, 0.03)
