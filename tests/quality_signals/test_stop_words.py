"""stop_words@1 and the lists behind it."""

from __future__ import annotations

import pickle
import time
import unicodedata
from pathlib import Path

import justext
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import stop_words as module
from quality_signals import wordlists
from quality_signals.batches import batch_of
from quality_signals.stop_words import (
    JUSTEXT_LISTS,
    StopWords,
    StopWordsError,
    languages,
    stop_word_of,
    stop_words,
)


def fraction_of(text, language, source="justext"):
    """The definition, plainly."""
    entries = {stop_word_of(entry) for entry in stop_words(language, source)} - {""}
    entries = {unicodedata.normalize(form, entry) for entry in entries for form in ("NFC", "NFD")}
    words = [word for word in map(stop_word_of, text.split()) if word]
    return sum(word in entries for word in words) / len(words) if words else None


def test_every_list_of_justext_has_a_language():
    assert set(JUSTEXT_LISTS.values()) == set(justext.get_stoplists())
    assert len(set(JUSTEXT_LISTS.values())) == 100
    for language, name in JUSTEXT_LISTS.items():
        assert stop_words(language) == justext.get_stoplist(name) - {""}, language
    assert languages() == tuple(sorted(JUSTEXT_LISTS))


def test_lists_of_stopwords_json_are_those_of_rpv2():
    assert languages("stopwords-json") == ("bg", "de", "en", "es", "fi", "fr", "it")
    for language in languages("stopwords-json"):
        assert stop_words(language, "stopwords-json") == wordlists.stop_words(language)
        assert stop_words(language) is not None
    assert stop_words("pl", "stopwords-json") is None


def test_languages_without_a_list():
    assert stop_words("zh") is stop_words("xyz") is stop_words("") is None
    assert stop_words("pl_Latn") == stop_words("pl")
    assert stop_words("no") == stop_words("nb") != stop_words("nn")


def test_an_unknown_source_or_a_missing_package_is_named(monkeypatch):
    with pytest.raises(StopWordsError, match="'nltk'.*justext"):
        stop_words("en", "nltk")
    with pytest.raises(StopWordsError, match="'nltk'"):
        StopWords(source="nltk")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    stop_words.cache_clear()
    with pytest.raises(StopWordsError, match="pip install justext"):
        StopWords()
    assert StopWords(source="stopwords-json").source == "stopwords-json"


@pytest.mark.parametrize(
    "word, compared",
    [
        ("The", "the"),
        ("(born", "born"),
        ("\u201cand\u201d,", "and"),
        ("don't", "don't"),
        ("\u2014", ""),
        ("$5", "5"),
        ("\u0301a", "\u0301a"),
        ("\u039f\u03a3", "\u03bf\u03c3"),
        ("\u03bf\u03c2", "\u03bf\u03c3"),
        ("\u0130x", "\u0130x"),
        ("\0be\u200b", "be"),
        ("\U0001f600", ""),
        ("\U00020000", "\U00020000"),
    ],
)
def test_words_as_they_are_compared(word, compared):
    assert stop_word_of(word) == compared


def test_columns():
    batch = batch_of(
        ["The cat and the dog.", "Der Hund und die Katze", "", " \n", None, "\u306e\u306f", "\u2014 ...", "x", "und"],
        language=["en", "de", "en", "en", "en", "ja", "en", "xyz", None],
        kind=["web", "prose", "web", "web", "web", "web", None, "web", "web"],
    )
    columns = StopWords().annotate(batch)
    assert columns.schema.equals(StopWords.schema)
    assert columns.column("stop_words").to_pylist() == [
        *("justext/en", "justext/de", "justext/en", "justext/en", None, None, "justext/en", None, "justext/en"),
    ]
    assert columns.column("stop_word_fraction").to_pylist() == [3 / 5, 3 / 5, None, None, None, None, None, None, 0.0]
    german = StopWords(default_language="de").annotate(batch)
    assert german.column("stop_word_fraction")[8].as_py() == 1.0
    assert StopWords(default_language=None).annotate(batch).column("stop_words")[8].as_py() is None
    code = StopWords(kinds=("code",)).annotate(batch)
    assert code.column("stop_word_fraction").null_count == 9
    assert code.column("stop_words").to_pylist() == [None] * 6 + [
        "justext/en",
        None,
        None,
    ]  # a null kind is of every kind


def test_languages_without_spaces_are_null(monkeypatch):
    """Also where a list exists: its words are not white-space words."""
    monkeypatch.setitem(JUSTEXT_LISTS, "th", "English")
    assert stop_words("th") == stop_words("en")
    rows = StopWords().annotate(batch_of(["the the"], language="th")).to_pylist()
    assert rows == [{"stop_words": None, "stop_word_fraction": None}]
    stop_words.cache_clear()
    module._lexicon.cache_clear()


def test_empty_batch_and_pickle():
    annotator = pickle.loads(pickle.dumps(StopWords(source="stopwords-json")))
    assert annotator.annotate(batch_of([])).num_rows == 0
    assert annotator == StopWords(source="stopwords-json") != StopWords()


def test_golden_documents(golden):
    """The plain definition on real text of 29 languages; a large part of running text is stop words."""
    docs = golden("web_docs")
    batch = batch_of([d["text"] for d in docs], language=[d["language"] for d in docs])
    rows = StopWords().annotate(batch).to_pylist()
    measured = set()
    for doc, row in zip(docs, rows, strict=True):
        if stop_words(doc["language"]) is None:
            assert row == {"stop_words": None, "stop_word_fraction": None}
            continue
        assert row["stop_words"] == f"justext/{doc['language']}"
        assert row["stop_word_fraction"] == fraction_of(doc["text"], doc["language"])
        if doc["id"].startswith("udhr-") and doc["language"] in ("de", "en", "es", "fr", "it", "nl", "pl", "pt", "ru"):
            measured.add(doc["language"])
            assert row["stop_word_fraction"] > 0.3, doc["id"]
    assert len(measured) >= 7


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=50)
WORDS = st.lists(
    st.sampled_from(
        [
            *("The", "the", "(and)", "\u03c4\u03b7\u03c2", "\u03a4\u0397\u03a3", "\u00e9t\u00e9", "e\u0301te\u0301"),
            *("\u00c9T\u00c9", "und", "\u0130n", " ", "\r", "\x85", "\u2028", "\0", "\u4e2d", "\U0001f600", "don't"),
        ]
    ),
    max_size=20,
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.one_of(TEXTS, WORDS), st.sampled_from(["en", "el", "fr", "de", "tr"])), max_size=6))
def test_the_kernel_is_the_plain_definition(rows):
    batch = batch_of([text for text, _ in rows], language=[language for _, language in rows])
    found = StopWords().annotate(batch).column("stop_word_fraction").to_pylist()
    assert found == [fraction_of(text, language) for text, language in rows]


@pytest.mark.parametrize(
    "text",
    ["the same " * 20_000, "x" * 200_000, "\u0301" * 200_000, "\n" * 200_000, "." * 200_000, "a." * 100_000],
    ids=["repeats", "endless word", "marks", "newlines", "dots", "dotted"],
)
def test_time_is_linear(text):
    annotator = StopWords()
    annotator.annotate(batch_of(["warm"]))
    times = []
    for size in (len(text) // 4, len(text)):
        batch = batch_of([text[:size]])
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            annotator.annotate(batch)
            best = min(best, time.process_time() - start)
        times.append(best)
    assert times[1] < 6 * times[0] + 0.01


def test_lists_are_read_and_not_copied():
    """jusText is BSD-licensed; its lists stay in its package."""
    assert module._justext_folder() == Path(justext.__file__).parent / "stoplists"
