"""The sentence counter of c4@tfds."""

from __future__ import annotations

import sys
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import c4_tfds_sentences
from quality_signals.batches import batch_of
from quality_signals.c4_chunks import line_words
from quality_signals.c4_tfds import C4Tfds
from quality_signals.c4_tfds_sentences import ABBREVIATIONS, abbreviation_keys, count_sentences
from quality_signals.codepoints import class_table, code_points
from quality_signals.text_batch import SharedTexts


def count(text):
    return count_sentences(code_points(text), 0, len(text), class_table(), abbreviation_keys())


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        (" \t", 0),
        ("One.", 1),
        ("One. Two! Three?", 3),
        ("One... Two?! \u201cThree.\u201d (Four.) Five", 5),
        ("He said: \u201cGo.\u201d and went.", 1),
        ("Mr. Smith and Dr. Who met J. Doe (Prof. X). They left.", 2),
        ("The U.S. Army, e.g. Fort Knox, at 5 p.m. Sharp.", 1),
        ("Version 1.5 is out. 2.0 will follow.", 2),
        ("see www.example.com. Then go", 1),  # a word with a full stop in it takes one more for its own
        ("No. 5 stays. No? Yes!", 3),
        ("end ! Start", 2),
        ("\u4e2d\u6587\u3002\u7b2c\u4e8c", 1),
        (". . .", 1),
    ],
)
def test_examples(text, sentences):
    assert count(text) == sentences


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "Mr", ".", "!", '"', ")", "e.g.", "B", "1.5", "\u4e2d", " ", " ", "\u3000"])).map(
        "".join
    )
)
def test_chunks_tell_the_sentences(text):
    found = SharedTexts(batch_of([text])).of().view(line_words)
    assert found.sentences.tolist() == [count(text)] * bool(text)


def plain(text):
    """The definition over strings."""
    closing = "\"')]}\u2019\u201d\u00bb"
    ends = 0
    i = begun = 0
    while i < len(text):
        if text[i] not in ".?!":
            begun |= not text[i].isspace()
            i += 1
            continue
        begun = 1
        first = i
        while i < len(text) and text[i] in ".?!":
            i += 1
        mark = text[first:i]
        while i < len(text) and text[i] in closing:
            i += 1
        behind = i
        while i < len(text) and text[i].isspace():
            i += 1
        if i in (behind, len(text)):
            continue
        # title case counts as lower here, as in the class table
        if text[i].islower() or text[i].istitle() and not text[i].isupper() or text[i] in ".?!":
            continue
        if mark == ".":
            before = text[:first]
            word = before.split()[-1] if before and not before[-1].isspace() else ""
            while word and not word[0].isalpha() and "." not in word:
                word = word[1:]
            if "." in word or len(word) == 1 or word.isascii() and word.lower() in ABBREVIATIONS:
                continue
        ends += 1
        begun = 0
    return ends + begun


PIECES = st.sampled_from(
    [
        "a",
        "B",
        "Mr",
        "(mr",
        "etc",
        ".",
        ".",
        "...",
        "?",
        "!",
        " ",
        " ",
        "\n",
        "\xa0",
        '"',
        ")",
        "\u201d",
        "1",
        "-",
        "\u01c5",
    ]
    + ["\u0301", "\u4e2d", "word", "Word", "\x00", "U.S"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_kernel_is_the_plain_one(text):
    assert count(text) == plain(text)


def test_punkt_counts_where_it_is_installed(monkeypatch):
    """A stand-in for nltk: sentences of the lines that passed, citations out."""
    asked = []

    def load(path):
        asked.append(path)
        return types.SimpleNamespace(tokenize=lambda line: line.split(". "))

    nltk = types.ModuleType("nltk")
    nltk.data = types.SimpleNamespace(load=load)
    monkeypatch.setitem(sys.modules, "nltk", nltk)
    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", None)
    c4_tfds_sentences.load_punkt.cache_clear()
    text = "One is here. Two is here. mr. Three.\nno mark\n [1]One more is here now.[2]\n"
    rows = C4Tfds(sentences="punkt").annotate(batch_of([text, ""])).to_pylist()
    assert [row["n_sentences"] for row in rows] == [5, 0]
    assert asked == ["tokenizers/punkt/english.pickle"]
    c4_tfds_sentences.load_punkt.cache_clear()


def test_punkt_that_is_not_there_is_named_before_any_work(monkeypatch):
    c4_tfds_sentences.load_punkt.cache_clear()
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(ImportError, match="needs the package nltk"):
        C4Tfds(sentences="punkt")

    def missing(path):
        raise LookupError(path)

    nltk = types.ModuleType("nltk")
    nltk.data = types.SimpleNamespace(load=missing)
    monkeypatch.setitem(sys.modules, "nltk", nltk)
    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", None)
    with pytest.raises(LookupError, match="no English Punkt model"):
        C4Tfds(sentences="punkt")
    c4_tfds_sentences.load_punkt.cache_clear()
