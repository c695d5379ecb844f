"""Sentences of lines against a plain sentencizer over words, against the pattern, and against known splits."""

from __future__ import annotations

import importlib.util
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.codepoints import terminal_marks
from quality_signals.sentence_rules import rule_of
from quality_signals.sentences import DECIMAL, QUOTE, STOP, counted, mark_table, sentence_counts
from quality_signals.text_batch import SharedTexts
from quality_signals.words import word_splitter

SIGNS = "abAB1.!?\u2026\u3002)\"'(; ,\t\u00a0\u0301\u0645\u061f\u10d0"
LINE = st.one_of(
    st.text(st.sampled_from(SIGNS), max_size=40), st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
)


def counts(lines, language):
    """Each line is a text of its own."""
    texts = SharedTexts(batch_of(lines, language=language)).of(None)
    bounds = np.arange(len(lines) + 1)
    chosen = np.ones(len(lines), bool)
    return sentence_counts(texts, "en", texts.offsets[:-1], texts.offsets[1:], bounds, chosen, {}).tolist()


def stripped(line):
    return " ".join(line.splitlines()).strip()


def plain_words(line, words):
    """spaCy's rule; white space between words, but a single blank, is a token too."""
    tokens = []
    at = 0
    for word in words:
        start = line.index(word, at)
        if line[at:start] not in ("", " "):
            tokens.append(" ")
        tokens.append(word)
        at = start + len(word)
    sentences, stopped = 1, False
    table = mark_table()
    for token in tokens:
        stop = len(token) == 1 and bool(table[ord(token)] & STOP)
        punctuation = all(unicodedata.category(c).startswith("P") for c in token)
        if stopped and not punctuation and not stop:
            sentences, stopped = sentences + 1, False
        elif stop:
            stopped = True
    return sentences


@settings(max_examples=200, deadline=None)
@given(st.lists(LINE.map(stripped), max_size=6))
def test_the_sentencizer_is_the_plain_one(lines):
    splitter = word_splitter("en")
    assert counts(lines, "en") == [plain_words(line, splitter.words(line)) for line in lines]


@settings(max_examples=200, deadline=None)
@given(st.lists(LINE.map(stripped), max_size=6))
def test_the_pattern_is_that_of_the_reference(lines):
    regex = pytest.importorskip("regex", reason="the pattern of the reference needs it")
    marks = regex.escape("".join(terminal_marks()))
    pattern = regex.compile(rf"(?:(?:\p{{Lu}}\.)|.)+?[{marks}\n]+[\"'\u201d]?", regex.UNICODE)
    assert counts(lines, "ka") == [max(1, len(pattern.findall(line))) for line in lines]


def test_lines_that_were_rewritten_and_lines_of_a_longer_text():
    texts = SharedTexts(batch_of(["One. Two.\nThree [1]. Four"], language="en")).of(None)
    starts, ends, offsets = np.array([0, 10]), np.array([9, 25]), np.array([0, 2])
    chosen = np.array([True, True])
    assert sentence_counts(texts, "en", starts, ends, offsets, chosen, {}).tolist() == [2, 2]
    assert sentence_counts(texts, "en", starts, ends, offsets, chosen, {1: "Three.  . Four"}).tolist() == [2, 3]
    assert sentence_counts(texts, "en", starts, ends, offsets, np.array([False, True]), {1: ""}).tolist() == [0, 1]
    assert counts(["", "no", "One.  ", "One. "], "en") == [1, 1, 2, 1]


@pytest.mark.parametrize(
    "language, line, expected",
    [
        ("hi", "\u092f\u0939 \u0939\u0948\u0964 \u0926\u0942 3\u0964 \u0935\u093e \u0939\u0948\u0964", 2),
        ("hi", "\u0921\u0949. \u0938\u093f\u0902 \u0906\u090f. \u0935\u0939 \u0917\u090f.", 2),
        ("hi", "\u0939\u0948. \u0915. \u0939\u0948", 1),
        ("ta", "\u0b92\u0ba9 \u0b87\u0ba4\u0bc1. \u0bae\u0bc2 \u0b85\u0ba4\u0bc1?", 2),
        ("hi", "", 1),
    ],
)
def test_indic_sentences(language, line, expected):
    assert counts([line], language) == [expected]


@pytest.mark.skipif(importlib.util.find_spec("pythainlp") is None, reason="needs the extra languages")
def test_sentences_of_a_package():
    assert rule_of("th")[0] == "line"
    assert counts(["\u0e09\u0e31\u0e19\u0e01\u0e34\u0e19\u0e02\u0e49\u0e32\u0e27", ""], "th") == [1, 1]


def test_what_can_be_counted():
    assert counted("en") and counted("ka") and counted("hi")
    assert not counted("no such language") and not counted("ur") and not counted("si")
    assert counts(["One. Two."], "ur") == [0]


def test_marks():
    table = mark_table()
    assert table[ord("\u061e")] & STOP == 0 and table[ord("\u061f")] & STOP
    assert table[ord("\u0663")] & DECIMAL and not table[ord("\u00b2")] & DECIMAL
    assert table[ord("\u201d")] & QUOTE
    assert np.count_nonzero(table & STOP) == 128
