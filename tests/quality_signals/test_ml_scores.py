"""Learned scores: text preparation, labels, files.  The model is written by hand, so that its scores are known."""

from __future__ import annotations

import math
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.language import model_path
from quality_signals.ml_scores import (
    CC_LABEL,
    PALM,
    SIGNALS,
    WIKIPEDIA,
    MlScore,
    TrainingRecipe,
    open_fasttext,
    prepared,
)
from quality_signals.model_files import ModelFileError, write_model

PALM_SCORE = "rps_doc_ml_palm_score"
WORDS = {"</s>": (0.0, 0.0), "good": (4.0, 0.0), "bad": (0.0, 4.0), "fine": (1.0, 0.5)}


def fasttext_file(labels: tuple[str, ...] = ("__label__palm", CC_LABEL), words: dict[str, Any] = WORDS) -> bytes:
    """A supervised model with 2 dimensions: label i likes dimension i."""
    settings_ = struct.pack("<12id", 2, 5, 5, 1, 5, 1, 3, 3, 0, 0, 0, 100, 0.0001)  # softmax, supervised, no n-grams
    entries = [(word, 0) for word in words] + [(label, 1) for label in labels]
    dictionary = struct.pack("<3i2q", len(entries), len(words), len(labels), 100, -1)
    for place, (word, kind) in enumerate(entries):
        dictionary += word.encode() + b"\0" + struct.pack("<qb", 100 - place, kind)
    inputs = np.array(list(words.values()), np.float32)
    outputs = np.eye(len(labels), 2, dtype=np.float32)
    matrices = [struct.pack("<?qq", False, *matrix.shape) + matrix.tobytes() for matrix in (inputs, outputs)]
    return struct.pack("<ii", 793712314, 12) + settings_ + dictionary + b"".join(matrices)


def slow_score(text: str) -> float | None:
    if not text:
        return None
    line = " ".join(text.splitlines()).strip()
    known = [WORDS[word] for word in [*line.split(), "</s>"] if word in WORDS]
    hidden = np.mean(np.array(known), axis=0)
    return float(1 / (1 + np.exp(hidden[1] - hidden[0])))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "palm.bin"
    path.write_bytes(fasttext_file())
    return path


def scores(annotator: MlScore, texts: list[str | None], **columns: Any) -> list[Any]:
    found = annotator.annotate(batch_of(texts, **columns))
    assert found.schema.equals(annotator.schema)
    return [row and [tuple(span.values()) for span in row] for row in found.column(0).to_pylist()]


def test_scores_are_the_probability_or_one_minus_it(model: Path) -> None:
    texts = ["good good", "bad", "bad bad good\nfine", "unknown", " \n", ""]
    found = scores(MlScore(str(model)), list(texts))
    for row, text in zip(found, texts, strict=True):
        ((start, end, score),) = row
        assert (start, end) == (0, len(text))
        expected = slow_score(text)
        assert (score is None) == (expected is None)
        # fastText adds 1e-5 to the probability in its logarithm.
        assert score is None or math.isclose(score, expected or 0, abs_tol=3e-5)
    assert found[0][0][2] > 0.85 > 0.15 > found[1][0][2]
    assert all(row[0][2] is None or row[0][2] == round(row[0][2], 8) for row in found)


def test_the_most_likely_label_decides(model: Path) -> None:
    import fasttext

    labels, probabilities = fasttext.load_model(str(model)).predict("bad", k=1)
    assert labels == (CC_LABEL,)
    assert scores(MlScore(str(model)), ["bad"]) == [[(0, 3, round(1 - float(probabilities[0]), 8))]]
    turned = MlScore(str(model), negative_label="__label__palm")
    assert scores(turned, ["bad"]) == [[(0, 3, round(float(probabilities[0]), 8))]]


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(
        st.sampled_from([*"\n\r\v\f\x1c\x85\u2028\u2029\t\x00 ", "good", "bad", "fine", "é", "x"]), max_size=20
    )
)
def test_any_text_is_read_as_one_line(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(fasttext_file()) if not path.exists() else None
    text = "".join(words)
    import fasttext

    line = prepared(text)
    assert "\n" not in line and line == line.strip()
    ((_, _, score),) = scores(MlScore(str(path)), [text])[0]
    if not text:
        assert score is None
        return
    labels, probabilities = fasttext.load_model(str(path)).predict(line, k=1)
    p = float(probabilities[0])
    assert score == round(1 - p if labels[0] == CC_LABEL else p, 8)


def test_text_preparation() -> None:
    assert prepared(" a\r\nb\x85\x85c\u2028 D\x1ce \n") == "a b  c  D e"
    assert prepared("\n \n") == ""


def test_languages_kinds_and_missing_texts(model: Path) -> None:
    texts = ["good", "good", "good", None, "good"]
    columns: dict[str, Any] = {"language": ["en", "de", None, "en", "en"], "kind": ["web", "web", None, "web", "code"]}
    palm = scores(MlScore(str(model)), texts, **columns)
    assert [row and row[0][2] is not None for row in palm] == [True, False, True, None, None]
    everyone = scores(MlScore(str(model), signal="rps_doc_ml_wikipedia_score", kinds=None), texts, **columns)
    assert [row and row[0][2] is not None for row in everyone] == [True, True, True, None, True]
    german = scores(MlScore(str(model), languages=("de",)), texts, **columns)
    assert [row and row[0][2] is not None for row in german] == [False, True, False, None, None]
    assert scores(MlScore(str(model)), []) == []


def test_a_model_without_the_end_of_a_line_has_no_score_for_unknown_words(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(fasttext_file(words={"good": (4.0, 0.0)}))
    found = scores(MlScore(str(path)), ["unknown", "good"])
    assert found[0] == [(0, 7, None)] and found[1][0][2] > 0.9


def test_a_classifier_model_file_holds_the_same_model(tmp_path: Path, model: Path) -> None:
    texts: list[str | None] = ["good", "bad good fine", "bad"]
    packed = write_model(tmp_path / "model.zip", "classifier", {}, {"model.bin": model.read_bytes()})
    annotator = MlScore(packed.path)
    assert scores(annotator, texts) == scores(MlScore(str(model)), texts)
    assert annotator.name == f"ml_score@{packed.sha256[:12]}" != MlScore(str(model)).name
    assert scores(pickle.loads(pickle.dumps(annotator)), texts) == scores(annotator, texts)

    manifest = {"options": {"labels": ["positive", "negative"]}}
    binary = fasttext_file(("__label__positive", "__label__negative"))
    write_model(tmp_path / "own.zip", "classifier", manifest, {"model.bin": binary})
    assert scores(MlScore(str(tmp_path / "own.zip")), texts) == scores(annotator, texts)
    write_model(tmp_path / "empty.zip", "classifier", {}, {})
    with pytest.raises(ModelFileError, match="empty.zip: holds none of model.bin, model.ftz"):
        MlScore(str(tmp_path / "empty.zip"))


def test_quantised_models_are_understood() -> None:
    file = open_fasttext(str(model_path()))
    assert len(file.labels) == 176 and "__label__en" in file.labels


def test_a_bad_file_is_named_at_construction(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "bad.bin"
    with pytest.raises(ModelFileError, match="bad.bin: no fastText model there"):
        MlScore(str(path))
    whole = model.read_bytes()
    for size in [1, 7, 30, 80, 100, 150, len(whole) - 9, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelFileError, match="bad.bin: the fastText model is cut short"):
            MlScore(str(path))
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="bad.bin: is empty"):
        MlScore(str(path))
    path.write_bytes(whole + b"x")
    with pytest.raises(ModelFileError, match="bad.bin: the fastText model is cut short or damaged"):
        MlScore(str(path))
    path.write_bytes(b"something else entirely")
    with pytest.raises(ModelFileError, match="bad.bin: not a fastText model"):
        MlScore(str(path))
    write_model(path, "dsir", {}, {})
    with pytest.raises(ModelFileError, match="bad.bin: holds a model of kind 'dsir', needed is 'classifier'"):
        MlScore(str(path))
    vectors = bytearray(whole)
    vectors[8 + 28 : 8 + 32] = struct.pack("<i", 2)
    path.write_bytes(vectors)
    with pytest.raises(ModelFileError, match="bad.bin: a fastText model of word vectors"):
        MlScore(str(path))
    path.write_bytes(fasttext_file(("__label__a", "__label__b")))
    with pytest.raises(ModelFileError, match="has the labels __label__a, __label__b, none of them __label__cc"):
        MlScore(str(path))
    with pytest.raises(ModelFileError, match="none of them __label__c: "):
        MlScore(str(path), negative_label="__label__c")
    with pytest.raises(ValueError, match="signal 'score' is unknown: one of rps_doc_ml_wikiref_score"):
        MlScore(str(model), signal="score")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ModelFileError, match="folder: cannot be read"):
        MlScore(str(folder))


def test_a_file_that_changed_after_construction_is_refused(model: Path) -> None:
    annotator = MlScore(str(model))
    model.write_bytes(fasttext_file(words={**WORDS, "more": (1.0, 1.0)}))
    with pytest.raises(ModelFileError, match="palm.bin: was changed"):
        annotator.annotate(batch_of(["good"]))


def test_the_training_recipe_takes_equal_parts() -> None:
    assert (PALM.samples // len(PALM.domains), PALM.source_label, len(WIKIPEDIA.domains)) == (25_000, CC_LABEL, 1)
    recipe = TrainingRecipe("__label__x", ("a", "b", "c"), samples=10)
    corpora = [[f"{name}{i}\n" for i in range(size)] for name, size in (("a", 9), ("b", 2), ("c", 9))]
    positives, negatives = recipe.texts(corpora, (f" s{i} " for i in range(100)))
    assert list(positives) == ["a0", "a1", "a2", "b0", "b1", "c0", "c1", "c2"]
    assert list(negatives) == [f"s{i}" for i in range(8)]
    with pytest.raises(ValueError, match=r"3 domains make this class \(a, b, c\), not 1"):
        recipe.texts(corpora[:1], [])
    assert set(SIGNALS) >= {PALM_SCORE}
