"""language@1: the pinned model, run without network."""

from __future__ import annotations

import socket

import pytest

from quality_signals import language as module
from quality_signals.batches import batch_of
from quality_signals.language import Language, ModelFileError, checked_model, identify, model_path


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
