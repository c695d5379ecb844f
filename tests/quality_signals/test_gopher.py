"""gopher@datatrove and gopher_repetition@datatrove against the reference's verdicts and numbers."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import gopher, gopher_repetition
from quality_signals.batches import batch_of
from quality_signals.gopher import GopherQuality
from quality_signals.gopher_repetition import GopherRepetition
from quality_signals.words import word_splitter

ANNOTATORS = [GopherQuality(), GopherRepetition()]


def flat(numbers):
    """Golden numbers under our column names."""
    result = {}
    for name, value in numbers.items():
        if isinstance(value, dict):
            result.update({f"{name.split('_')[0]}_{n}_gram_chars": v for n, v in value.items()})
        else:
            result[name] = value
    return result


@pytest.mark.parametrize("annotator", ANNOTATORS, ids=lambda a: a.name)
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
    assert compared == 139


@pytest.mark.parametrize("module", [gopher, gopher_repetition], ids=["quality", "repetition"])
def test_every_rule_by_itself(module, golden):
    """The reference was also run with one rule on and all others off."""
    name = "web_gopher_datatrove" if module is gopher else "web_gopher_repetition_datatrove"
    docs = {d["id"]: d for d in golden("web_docs")}
    failures = 0
    for gold in golden(name):
        splitter = word_splitter(docs[gold["id"]]["language"])
        if splitter is None:
            continue
        numbers = module.measure(docs[gold["id"]]["text"], splitter)
        for rule, expected in gold["rules"].items():
            if str(expected).startswith("error"):
                continue  # the reference divides by zero on a text without words
            own = [r for r in module.RULES if r.name in (rule, "empty")]
            found = judge_only(module, numbers, own)
            assert (True if found.keep else found.reason) == expected, (gold["id"], rule)
            failures += not found.keep
    assert failures > 100


def judge_only(module, numbers, rules):
    original = module.RULES
    try:
        module.RULES = tuple(rules)
        return module.verdict(numbers)
    finally:
        module.RULES = original


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
    assert (empty["keep"], empty["rule"], empty["reason"]) == (False, "empty", "empty")


def naive_repetition(words, text):
    """datatrove's reading over lists of strings."""
    top = {}
    for n in (2, 3, 4):
        grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts: dict[str, int] = {}
        for gram in grams:
            counts[gram] = counts.get(gram, 0) + 1
        best = max(counts, key=lambda gram: counts[gram], default=None)
        top[f"top_{n}_gram_chars"] = None if best is None else len(best) * counts[best]
    dup = {}
    for n in range(5, 11):
        seen, total, i = set(), 0, 0
        while i < len(words) - n + 1:
            gram = "".join(words[i : i + n])
            if gram in seen:
                total += len(gram)
                i += n
            else:
                seen.add(gram)
                i += 1
        dup[f"dup_{n}_gram_chars"] = total
    return top | dup


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.lists(st.sampled_from(["a", "b", "ab", "aa", ".", "c'est", "\n"]), max_size=90).map(" ".join),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=100),
    )
)
def test_fast_path_is_the_plain_one(text):
    splitter = word_splitter("en")
    numbers = gopher_repetition.measure(text, splitter)
    expected = naive_repetition(splitter.words(text), text)
    assert {name: numbers[name] for name in expected} == expected
    words = splitter.words(text)
    quality = gopher.measure(text, splitter)
    assert quality["n_words"] == len(words)
    assert quality["n_alpha_words"] == sum(any(map(str.isalpha, word)) for word in words)
    assert quality["n_distinct_stop_words"] == len(set(words) & set(gopher.STOP_WORDS))


def test_grams_written_together_are_equal():
    """("ab", "c") and ("a", "bc") are one n-gram for the repeated ones: the reference joins with nothing
    between."""
    numbers = gopher_repetition.measure("ab c d e f x a bc d e f", word_splitter("en"))
    assert numbers["dup_5_gram_chars"] == 6


@pytest.mark.parametrize("annotator", ANNOTATORS, ids=lambda a: a.name)
def test_kinds_languages_and_schema(annotator):
    batch = batch_of(
        ["the cat"] * 4 + [None],
        kind=["code", "notebook", "prose", None, "web"],
        language=[None, "en", "zh", None, "en"],
    )
    columns = annotator.annotate(batch)
    assert columns.schema.equals(annotator.schema)
    assert columns.column("n_words").to_pylist() == [None, None, None, 2, None]
    assert columns.column("keep").to_pylist()[:3] == [True, True, True]
    assert columns.column("keep").null_count == 0


def test_ratio_of_nothing_passes():
    from quality_signals.families import ratio

    assert math.isnan(ratio(0, 0)) and ratio(1, 2) == 0.5


@pytest.mark.parametrize("annotator", ANNOTATORS, ids=lambda a: a.name)
@pytest.mark.parametrize("unit", ["a", "a ", "it's. ", "\n", "!", "same line\n", "a:@"])
def test_time_is_linear(annotator, unit):
    def seconds(repeats):
        batch = batch_of([unit * repeats], language="en")
        start = time.process_time()
        annotator.annotate(batch)
        return time.process_time() - start

    seconds(10)
    small, large = seconds(20_000), seconds(200_000)
    assert large < 30 * max(small, 0.02)
