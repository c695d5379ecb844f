"""The rule tokenizer against the reference's words and, where spaCy is installed, spaCy itself."""

from __future__ import annotations

import gzip
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.words import MAX_RUN_CHARS, word_splitter

# Languages of the golden documents whose words come from a model or a dictionary.
WITHOUT_RULES = {"ko", "ja", "zh", "hi", "th", "vi", "km", "my"}


def test_words_are_the_references(golden):
    docs = {d["id"]: d for d in golden("web_docs")}
    compared = 0
    for expected in golden("web_words_datatrove"):
        doc = docs[expected["id"]]
        splitter = word_splitter(doc["language"])
        assert (splitter is None) == (doc["language"] in WITHOUT_RULES)
        if splitter is not None:
            assert splitter.words(doc["text"]) == expected["words"], doc["id"]
            compared += 1
    assert compared == 139


@pytest.mark.parametrize(
    "text, words",
    [
        ("I can't, won't.", ["I", "ca", "n't", ",", "wo", "n't", "."]),
        ("It's 5km (or 3.5kg)...", ["It", "'s", "5", "km", "(", "or", "3.5", "kg", ")", "..."]),
        ("http://a.example/x?y=1 a.b@c.example", ["http://a.example/x?y=1", "a.b@c.example"]),
        ("all-electric end.Next", ["all", "-", "electric", "end", ".", "Next"]),
        ("\u00a0 \n\t", []),
        ("", []),
    ],
)
def test_english(text, words):
    assert word_splitter("en").words(text) == words


def test_exceptions_with_spaces():
    assert word_splitter("ru").words("\u0438 \u0434\u0440. \u0438  \u0434\u0440.") == [
        "\u0438 \u0434\u0440.",
        "\u0438",
        "\u0434\u0440",
        ".",
    ]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=80), st.sampled_from(["en", "de", "fr", "xx"]))
def test_words_cover_the_text_in_order(text, language):
    starts, ends = word_splitter(language).spans(text)
    assert all(a < b for a, b in zip(starts, ends, strict=True))
    assert all(b <= a for b, a in zip(ends[:-1], starts[1:], strict=True))
    assert "".join(text[a:b] for a, b in zip(starts, ends, strict=True)) == "".join(text.split())


def test_a_run_without_end_is_one_word():
    splitter = word_splitter("en")
    assert splitter.words("x" + "-y" * MAX_RUN_CHARS) == ["x" + "-y" * MAX_RUN_CHARS]
    assert len(splitter.words("x" + "-y" * 100)) == 201


def test_unknown_language():
    assert word_splitter("zh") is None
    assert word_splitter("no such language") is None


LANGUAGES = [
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "ru",
    "pl",
    "tr",
    "hu",
    "el",
    "fi",
    "sv",
    "fa",
    "id",
    "bg",
    "xx",
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_spacys(language, golden):
    spacy = pytest.importorskip("spacy", reason="spaCy is no dependency; the golden words stand for it")
    if not spacy.__version__.startswith("3.8."):
        pytest.skip(f"the rules are those of spaCy 3.8, not {spacy.__version__}")
    tokenizer = spacy.blank(language).tokenizer
    splitter = word_splitter(language)
    rng = random.Random(language)
    runs = sorted({run for d in golden("web_docs")[::7] for run in d["text"].split() if len(run) < 60})
    exceptions = sorted(tokenizer.rules)
    signs = "abcAB12.,:;'\u2019\"()[]/-\u2013\u2014\u2026!?*&%$\u20ac#@~=+<>|_ \n\u00e9"
    for _ in range(120):
        parts = []
        for _ in range(rng.randint(1, 12)):
            choice = rng.random()
            if choice < 0.4:
                parts.append(rng.choice(runs))
            elif choice < 0.7:
                parts.append(rng.choice(exceptions))
            else:
                parts.append("".join(rng.choices(signs, k=rng.randint(1, 8))))
            parts.append(rng.choice([" ", " ", " ", "", "", "-", "\n", "  ", "."]))
        text = "".join(parts)
        expected = [token.text.strip() for token in tokenizer(text)]
        assert splitter.words(text) == [word for word in expected if word], text


def test_shipped_rules_are_spacys(data_folder):
    spacy = pytest.importorskip("spacy", reason="needed to write the rules")
    if spacy.__version__ != "3.8.18":
        pytest.skip(f"the rules were written from spaCy 3.8.18, not {spacy.__version__}")
    from quality_signals.word_rules_export import TARGET, collect

    shipped = json.loads(gzip.decompress(TARGET.read_bytes()))
    assert json.loads(json.dumps(collect())) == shipped
