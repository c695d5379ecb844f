"""language@1: the pinned model, run without network."""

from __future__ import annotations

import pickle
import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import language as module
from quality_signals.batches import batch_of
from quality_signals.language import (
    Language,
    LineLanguages,
    ModelFileError,
    ccnet_language,
    checked_model,
    identify,
    model_path,
)
from quality_signals.text_batch import SharedTexts


def test_languages_of_the_golden_documents(golden):
    """Labels there are partly from another detector; long texts in distinct scripts and languages must
    agree."""
    docs = [d for d in golden("web_docs") if d["id"].startswith("udhr-")]
    sure = {
        "ko",
        "de",
        "ja",
        "pt",
        "it",
        "ru",
        "fr",
        "es",
        "bg",
        "fi",
        "th",
        "vi",
        "tr",
        "el",
        "he",
        "nl",
        "pl",
        "hu",
    }
    checked = 0
    for doc in docs:
        if doc["language"] in sure:
            assert identify(doc["text"])[0] == doc["language"], doc["id"]
            checked += 1
    assert checked >= 10


def test_columns():
    columns = Language().annotate(batch_of(["This is plainly English text.", "", " \n\t", None, "\n\n\x00"]))
    assert columns.schema.equals(Language.schema)
    assert columns.column("language").to_pylist()[:4] == ["en", None, None, None]
    score = columns.column("language_score")[0].as_py()
    assert 0.8 < score <= 1.0


def test_newlines_are_spaces():
    assert identify("Guten Morgen\nwie geht es Ihnen") == identify("Guten Morgen wie geht es Ihnen")


def test_only_the_head_is_read():
    head = "This is plainly English text. " * 10
    annotator = Language(max_chars=len(head))
    rows = annotator.annotate(batch_of([head, head + "Ceci est du fran\u00e7ais. " * 1000])).to_pylist()
    assert rows[0] == rows[1]
    with pytest.raises(ValueError, match="max_chars"):
        Language(max_chars=0)


def test_no_network(monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("network touched")

    monkeypatch.setattr(socket, "socket", refuse)
    module._model.cache_clear()
    assert identify("Nothing is fetched to read this sentence.")[0] == "en"


def test_a_wrong_or_missing_model_names_the_file(tmp_path, monkeypatch):
    wrong = tmp_path / "lid.176.ftz"
    with pytest.raises(ModelFileError, match=str(wrong)):
        checked_model(wrong)
    wrong.write_bytes(b"not the model")
    with pytest.raises(ModelFileError, match="SHA-256"):
        checked_model(wrong)
    assert checked_model(model_path()) == model_path()
    monkeypatch.setattr(module, "MODEL_FILE", "no_such_package_here/lid.176.ftz")
    with pytest.raises(ModelFileError, match="no_such_package_here"):
        model_path()


# cc_net's way -----------------------------------------------------------------------------------------------


def test_ccnet_removes_newlines_and_rounds():
    text = "Guten Morgen\nwie geht es Ihnen"
    language, score = ccnet_language(text)
    _, exact = identify("Guten Morgenwie geht es Ihnen")
    assert (language, score) == ("de", round(exact, 2))
    assert ccnet_language("") == (None, None)


class FixedModel:
    def __init__(self, score):
        self.score = score

    def predict(self, text, k):
        assert "\n" not in text and k == 1
        return (("__label__en",), (self.score,)) if text else ((), [])


@pytest.mark.parametrize(
    "score, kept", [(0.495, 0.5), (0.494, None), (0.5, 0.5), (0.4951, 0.5), (1.00001, 1.0), (0.875, 0.88)]
)
def test_ccnet_rounds_before_it_compares(score, kept, monkeypatch):
    monkeypatch.setattr(module, "_model", lambda: FixedModel(score))
    assert ccnet_language("x") == (None if kept is None else "en", kept)
    assert ccnet_language("\n") == (None, None)


def test_ccnet_threshold(monkeypatch):
    monkeypatch.setattr(module, "_model", lambda: FixedModel(0.3))
    assert ccnet_language("x", threshold=0.3) == ("en", 0.3)


# Lines ------------------------------------------------------------------------------------------------------


def plain_lines(text, max_lines=1_000, max_line_chars=1_000):
    """The definition of line_languages@1, plainly."""
    spans, at = [], 0
    for line in text.split("\n"):
        if line.strip() and len(spans) < max_lines:
            language, score = module._model().predict(line[:max_line_chars], k=1)
            spans.append((at, at + len(line), language[0].removeprefix("__label__"), min(float(score[0]), 1.0)))
        at += len(line) + 1
    sizes = {}
    for start, end, language, _ in spans:
        sizes[language] = sizes.get(language, 0) + end - start
    main = min(sizes, key=lambda language: (-sizes[language], language), default=None)
    return spans, main, sizes[main] / sum(sizes.values()) if spans else None


def flat(row):
    spans = [(s["start"], s["end"], s["language"], s["score"]) for s in row["line_languages"]]
    return spans, row["main_language"], row["main_language_fraction"]


def agree(found, expected):
    assert [span[:3] for span in found[0]] == [span[:3] for span in expected[0]]
    assert [span[3] for span in found[0]] == pytest.approx([span[3] for span in expected[0]], rel=1e-6)
    assert found[1:] == expected[1:]


def test_lines_of_two_languages():
    text = "This is plainly English text.\n\n \t\nCeci est du fran\u00e7ais, et plus long que l'anglais.\n"
    columns = LineLanguages().annotate(batch_of([text, "", " \n\u2028\r\n", None]))
    assert columns.schema.equals(LineLanguages.schema)
    rows = columns.to_pylist()
    agree(flat(rows[0]), plain_lines(text))
    assert [text[s["start"] : s["end"]] for s in rows[0]["line_languages"]] == [text.split("\n")[i] for i in (0, 3)]
    assert [s["language"] for s in rows[0]["line_languages"]] == ["en", "fr"]
    assert rows[0]["main_language"] == "fr"
    french, english = (len(text.split("\n")[i]) for i in (3, 0))
    assert rows[0]["main_language_fraction"] == french / (french + english)
    assert flat(rows[1]) == flat(rows[2]) == ([], None, None)
    assert rows[3] == {"line_languages": None, "main_language": None, "main_language_fraction": None}


def test_of_equal_languages_the_first_by_name_is_the_main_one():
    english, french = "This is plainly English text", "Ceci est du fran\u00e7ais, bien s\u00fbr"
    length = min(len(english), len(french))
    for lines in ((english, french), (french, english)):
        row = LineLanguages().annotate(batch_of(["\n".join(line[:length] for line in lines)])).to_pylist()[0]
        assert (row["main_language"], row["main_language_fraction"]) == ("en", 0.5)


def test_work_is_bounded():
    text = "This is English.\n\n" * 5 + "Ceci est du fran\u00e7ais\n" * 100
    row = LineLanguages(max_lines=5).annotate(batch_of([text])).to_pylist()[0]
    assert len(row["line_languages"]) == 5 and row["main_language_fraction"] == 1.0
    long = "This is plainly English text. " + "Ceci est du fran\u00e7ais. " * 100
    row = LineLanguages(max_line_chars=29).annotate(batch_of([long])).to_pylist()[0]
    assert [(s["end"], s["language"]) for s in row["line_languages"]] == [(len(long), "en")]
    for option in ("max_lines", "max_line_chars"):
        with pytest.raises(ValueError, match=option):
            LineLanguages(**{option: 0})


def test_lines_of_the_golden_documents(golden):
    docs = golden("web_docs")[::6]
    rows = LineLanguages().annotate(batch_of([d["text"] for d in docs])).to_pylist()
    for doc, row in zip(docs, rows, strict=True):
        agree(flat(row), plain_lines(doc["text"]))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
            st.lists(st.sampled_from(["en text", "du texte", "\n", "\r", "\x85", "\u2028", "\0", " ", "\u4e2d"])).map(
                "".join
            ),
        ),
        max_size=4,
    ),
    st.integers(1, 3),
    st.integers(1, 6),
)
def test_lines_are_the_plain_definition(texts, max_lines, max_line_chars):
    annotator = LineLanguages(max_lines, max_line_chars)
    for text, row in zip(texts, annotator.annotate(batch_of(texts)).to_pylist(), strict=True):
        agree(flat(row), plain_lines(text, max_lines, max_line_chars))


def test_shared_texts_and_pickles():
    batch = batch_of(["This is English.", None, "Ceci est du fran\u00e7ais."])
    shared = SharedTexts(batch)
    for annotator in (Language(), LineLanguages()):
        assert annotator.annotate_texts(shared).equals(annotator.annotate(batch))
        assert pickle.loads(pickle.dumps(annotator)) == annotator
        assert annotator.annotate(batch_of([])).num_rows == 0


@pytest.mark.parametrize("unit", ["a word ", "x", "\u0301", "\n", "line\n"])
def test_time_is_linear(unit):
    annotator = LineLanguages()
    annotator.annotate(batch_of(["warm"]))
    times = []
    for size in (100_000, 400_000):
        batch = batch_of([(unit * size)[:size]])
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            annotator.annotate(batch)
            best = min(best, time.process_time() - start)
        times.append(best)
    assert times[1] < 6 * times[0] + 0.01
