"""The rule tokenizer against the reference's words and, where spaCy is installed, spaCy itself."""

from __future__ import annotations

import gzip
import json
import random
import string
import time
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.segmenters import tokenizer_of
from quality_signals.words import MAX_RUN_CHARS, WordSplitter, word_splitter


def test_words_are_the_references(golden):
    docs = {d["id"]: d for d in golden("web_docs")}
    compared = 0
    for expected in golden("web_words_datatrove"):
        doc = docs[expected["id"]]
        kind, _ = tokenizer_of(doc["language"])
        if kind == "spacy":
            assert tokenizer_of(expected["language"]) == tokenizer_of(doc["language"])
            splitter = word_splitter(doc["language"])
            assert splitter.words(doc["text"]) == expected["words"], doc["id"]
            compared += 1
    assert compared == 138  # the others are in test_segmenters.py


def test_words_of_simplified_texts_are_the_references(shared):
    with gzip.open(shared / "golden" / "web" / "words_datatrove.jsonl.gz", "rt", encoding="utf-8") as lines:
        for expected in map(json.loads, lines):
            splitter = word_splitter(expected["language"])
            if isinstance(splitter, WordSplitter):
                assert splitter.words(expected["simplified_text"]) == expected["simplified_words"], expected["id"]


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


def test_sizes_of_a_chunk():
    splitter = word_splitter("en")
    assert splitter.chunk_sizes("(don't)...") == ((1, 2, 3, 1, 3), False)
    assert splitter.chunk_sizes("word") == splitter.chunk_sizes("word") == ((4,), False)
    assert splitter.chunk_sizes("(:-)") == splitter.chunk_sizes("(:-)")
    assert splitter.chunk_sizes("x" * (MAX_RUN_CHARS + 1)) == ((MAX_RUN_CHARS + 1,), False)
    assert word_splitter("ru").always_rejoins and not splitter.always_rejoins


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("aB1.,:;-'()[]!?\u2026\u00a0 \n\u0301\U0001f600"), max_size=60))
def test_words_of_a_text_are_those_of_its_chunks(text):
    splitter = word_splitter("en")
    sizes, rejoin = [], False
    for chunk in text.split():
        found, needs = splitter.chunk_sizes(chunk)
        assert sum(found) == len(chunk)
        sizes += found
        rejoin |= needs
    if not rejoin:
        starts, ends = splitter.spans(text)
        assert (ends - starts).tolist() == sizes
    points, starts, ends = splitter.located(text)
    assert [points[a:b].tobytes().decode("utf-32-le") for a, b in zip(starts, ends, strict=True)] == splitter.words(
        text
    )


PATHOLOGICAL = {
    "repeats": lambda n: "all the same " * (n // 13),
    "endless word": lambda n: "x" * n,
    "marks": lambda n: "\u0301" * n,
    "newlines": lambda n: "\n" * n,
    "brackets": lambda n: " ".join("(" * 900 + str(i) + ")" * 900 for i in range(n // 1800)),
    "addresses": lambda n: " ".join("a@" * 900 + str(i) for i in range(n // 1800)),
    "punctuation": lambda n: " ".join(
        "".join(random.Random(i).choices(string.punctuation, k=20)) for i in range(n // 21)
    ),
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_time_is_linear(name):
    splitter = WordSplitter(*_english())
    splitter.spans("warm.")
    times = []
    for size in (25_000, 100_000):
        text = PATHOLOGICAL[name](size)
        best = float("inf")
        for _ in range(3):
            splitter._known.clear()
            splitter._broken.clear()
            start = time.process_time()
            splitter.spans(text)
            best = min(best, time.process_time() - start)
        times.append(best)
    assert times[1] < 6 * times[0] + 0.01
    assert times[1] < 100_000 * 50e-6  # even where every chunk is new: microseconds a character


@lru_cache(maxsize=1)
def _english():
    from quality_signals.words import _shipped

    shared = _shipped()
    return shared["languages"]["en"], shared


def test_unknown_language():
    assert word_splitter("no such language") is None


def test_every_rule_tokenizer_is_used():
    """What datatrove assigns to spaCy has rules; its other tokenizers' languages do not use spaCy's."""
    from quality_signals.segmenters import _assignment
    from quality_signals.words import _shipped

    used = {value.split()[1] for value in _assignment().values() if value.startswith("spacy ")}
    assert used <= set(_shipped()["languages"])
    assert not used & {"bn", "bo", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "sa", "te", "ur"}
    assert {"en", "de", "xx", "ms", "tn"} <= used


LANGUAGES = [
    "en",
    "de",
    "ru",
    "xx",
    *(
        pytest.param(code, marks=pytest.mark.slow)
        for code in ("fr", "es", "it", "pt", "pl", "tr", "hu", "el", "fi", "sv", "fa", "id", "bg")
    ),
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_spacys(language, golden):
    """The slow mark: together they take half a minute."""
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


@pytest.mark.slow
def test_shipped_rules_are_spacys(data_folder):
    spacy = pytest.importorskip("spacy", reason="needed to write the rules")
    if spacy.__version__ != "3.8.18":
        pytest.skip(f"the rules were written from spaCy 3.8.18, not {spacy.__version__}")
    from quality_signals.word_rules_export import TARGET, collect

    shipped = json.loads(gzip.decompress(TARGET.read_bytes()))
    assert json.loads(json.dumps(collect())) == shipped
