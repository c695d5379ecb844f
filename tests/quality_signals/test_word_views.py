"""Words of a batch against str.split and against the splitter of one text."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import strings as string_tables
from quality_signals import word_views
from quality_signals.batches import batch_of
from quality_signals.text_batch import SharedTexts, TextBatch
from quality_signals.word_views import Words, datatrove_words, numbered_words, white_words
from quality_signals.words import MAX_RUN_CHARS, word_splitter

RULED = ["en", "de", "fr", "ru", "bg", "sv", "xx"]
SIGNS = (
    "abcAB12.,:;'\u2019\"()[]/-\u2013\u2014\u2026!?*&%$\u20ac#@~=+<>|_ \n\r\x85\u2028\x00\u00e9\u0301\u4e2d\U0001f600"
)
# Pieces that meet in texts: exceptions, what affixes break apart, exceptions with blanks, line breaks.
PIECES = [
    "can't",
    ":-)",
    ": )",
    "a.m.",
    "8",
    "(",
    ")",
    "end",
    ".",
    "z.B.",
    "don't.",
    "U.S.",
    "Cat",
    "8am",
    "x" * 30,
    "-",
]
PIECES += ["\u0438", "\u0434\u0440", "\u0438 \u0434\u0440.", "\u0442.\u0434.", "\n", " ", " ", " ", "  ", "\u00a0"]
FRAMED = st.builds(
    "{}{}{}".format,
    st.text(st.sampled_from("\"'([{<*_-`.,$#"), max_size=2),
    st.sampled_from(["word", "Words", "lexx", "Sept", "Adm", "Corp", "Prof", "dont", "http", "abcdefghij"]),
    st.text(st.sampled_from("\"')]}>*_-`.,:;?!/@"), max_size=3),
)
TEXT = st.one_of(
    st.lists(FRAMED, max_size=8).map(" ".join),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=50),
    st.text(st.sampled_from(SIGNS), max_size=50),
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join),
)


def shared(texts: list[str], languages: list[str | None] | None = None) -> TextBatch:
    return SharedTexts(batch_of(texts, language=languages)).of(None)


def strings(words: Words) -> list[list[str]]:
    spans = zip(words.starts.tolist(), words.ends.tolist(), strict=True)
    found = [words.points[a:b].tobytes().decode("utf-32-le") for a, b in spans]
    bounds = words.offsets.tolist()
    return [found[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def naive(text: str, language: str) -> list[str]:
    splitter = word_splitter(language)
    return [] if splitter is None else splitter.words(text)


@settings(deadline=None, max_examples=200)
@given(st.lists(TEXT, max_size=5))
def test_white_words_are_those_of_python(texts: list[str]) -> None:
    assert strings(shared(texts).view(white_words)) == [text.split() for text in texts]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(TEXT, st.sampled_from([*RULED, "no such language"])), max_size=6))
def test_words_are_those_of_the_splitter(rows: list[tuple[str, str]]) -> None:
    texts, languages = [text for text, _ in rows], [language for _, language in rows]
    words = shared(texts, languages).view(datatrove_words, "en")
    assert strings(words) == [naive(text, language) for text, language in rows]
    assert words.judged.tolist() == [word_splitter(language) is not None for language in languages]


def test_words_of_every_golden_document(golden) -> None:  # type: ignore[no-untyped-def]
    docs = {d["id"]: d for d in golden("web_docs")}
    expected = golden("web_words_datatrove")
    languages = [docs[row["id"]]["language"] for row in expected]
    words = shared([docs[row["id"]]["text"] for row in expected], languages).view(datatrove_words, "en")
    compared = 0
    for row, language, found in zip(expected, languages, strings(words), strict=True):
        if word_splitter(language) is not None:
            assert found == row["words"], row["id"]
            compared += 1
    assert compared >= 139


def test_a_rule_on_letters_before_a_sign() -> None:
    """Swedish keeps an apostrophe with s, x and z before it, so letters between signs are not all divided alike."""
    text = "lurks' lurk' lurz' 'task'"
    words = shared([text, text], ["sv", "en"]).view(datatrove_words, "en")
    assert strings(words) == [naive(text, "sv"), naive(text, "en")]
    assert strings(words)[0] != strings(words)[1]


def test_default_language_and_rows_of_other_languages() -> None:
    texts = shared(["z.B. so", "z.B. so", "", "a"], [None, "en", "de", "no such language"])
    words = texts.view(datatrove_words, "de")
    assert strings(words) == [["z.B.", "so"], naive("z.B. so", "en"), [], []]
    assert naive("z.B. so", "en")[0] == "z."
    assert words.judged.tolist() == [True, True, True, False]
    assert len(shared([]).view(datatrove_words, "en")) == 0


class _Letters:
    """A splitter of whole texts that leaves blanks out of its words."""

    def located(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = np.array([ord(c) for c in text + "new"], np.uint32)
        return points, np.array([0, len(text)]), np.array([1, len(text) + 3])


def test_words_that_do_not_stand_in_their_text(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    english = word_splitter("en")
    monkeypatch.setattr(word_views, "word_splitter", lambda language: english if language == "en" else _letters)
    _letters = _Letters()
    words = shared(["ab c", "8 a.m. :-)", "xyz", "z"], ["zz", "en", "zz", "en"]).view(datatrove_words, "en")
    assert strings(words) == [["a", "new"], ["8", "a.m.", ":-)"], ["x", "new"], ["z"]]


def test_a_full_vocabulary_gives_way_to_a_new_one(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(string_tables, "MAX_STRINGS", 3_000)
    monkeypatch.setattr(string_tables, "_current", string_tables.Vocabulary())
    vocabularies = []
    for number in range(6):
        texts = [" ".join(f"word{i}, ({i}.{number})" for i in range(900 * number, 900 * number + 900))]
        batch = shared(texts)
        assert strings(batch.view(datatrove_words, "en")) == [naive(texts[0], "en")]
        vocabularies.append(batch.view(numbered_words, "en").vocabulary)
        assert (
            vocabularies[-1].chunks.known < 3_000 + 1_900 + 2_000
        )  # exceptions of the language are there from the start
    assert len({id(each) for each in vocabularies}) > 1


def test_numbers_are_those_of_the_words() -> None:
    texts = shared(
        ["Don't stop :-) (stop) caf\u00e9-", "8 a.m. don't", "stop\u4e2d\u6587"], ["en", "de", "no such language"]
    )
    found = texts.view(numbered_words, "en")
    known = found.vocabulary.words
    words = [known.utf8[known.bounds[i] : known.bounds[i + 1]].tobytes().decode() for i in found.ids.tolist()]
    assert words == sum(strings(found.words), [])
    assert [known.lengths[i] for i in found.ids.tolist()] == [len(word) for word in words]


def test_endless_runs_are_one_word() -> None:
    text = "x" + "-y" * MAX_RUN_CHARS
    assert strings(shared([f"{text} a"]).view(datatrove_words, "en")) == [[text, "a"]]


def test_threads_share_a_table() -> None:
    texts = [[f"thread{t}-{i}'s, (word{i}) a{t}.b{i}" for i in range(300)] for t in range(4)]
    found: dict[int, list[list[str]]] = {}

    def run(number: int) -> None:
        found[number] = strings(shared(texts[number]).view(datatrove_words, "en"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [naive(text, "en") for text in texts[number]] for number in range(4)}


@pytest.mark.parametrize("unit", ["a", "a ", "it's. ", "\n", ":-) ", "8 a.m. ", "\u0301", "end.Next "])
def test_time_is_linear(unit: str) -> None:
    def seconds(repeats: int) -> float:
        texts = shared([unit * repeats], ["en"])
        start = time.process_time()
        texts.view(datatrove_words, "en")
        return time.process_time() - start

    seconds(10)
    small, large = min(seconds(20_000) for _ in range(2)), seconds(80_000)
    assert large < 6 * max(small, 0.03)
