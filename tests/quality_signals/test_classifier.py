"""The classifier: fastText scores its files alike, it learns, it measures honestly, wrong calls are named."""

from __future__ import annotations

import json
import math
import pickle
import time
from pathlib import Path
from typing import Any

import fasttext as fasttext_predict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import classifier_fasttext as fasttext
from quality_signals.batches import batch_of
from quality_signals.classifier import Classifier, fit_classifier, held_out_text, measure
from quality_signals.classifier_fasttext import FastTextFileError, from_bytes
from quality_signals.model_files import ModelFile, ModelFileError, open_model, write_model
from quality_signals.ngram_model import FitError, document_hashes

GOOD = "the mill grain stone water wheel turns slowly under old bridge at dawn".split()
BAD = "click buy now cheap offer login cookie the at free account page menu".split()


def texts(words: list[str], count: int, seed: int) -> list[str]:
    """Of four words three are of the list."""
    random = np.random.default_rng(seed)
    mixed = [*words * 2, *GOOD, *BAD]
    return [" ".join(random.choice(mixed, random.integers(3, 30))) for _ in range(count)]


@pytest.fixture(scope="module", params=[1, 3], ids=["words", "trigrams"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = tmp_path_factory.mktemp("classifier") / "model"
    options: dict[str, Any] = {
        "dim": 12,
        "learning_rate": 0.5,
        "word_ngrams": request.param,
        "buckets": 1000,
        "held_out": 0.3,
    }
    return fit_classifier(texts(GOOD, 300, 0), texts(BAD, 300, 1), path, **options)


@pytest.fixture(scope="module")
def theirs(model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fasttext_predict.load_model(str(model.extract("model.bin", tmp_path_factory.mktemp("fasttext"))))


def prepared(text: str) -> str:
    return " ".join(text.splitlines()).strip()


ODD = st.sampled_from(
    ["\n", "\r", "\x0b", "\x1c", "\x1f", "\x85", "\u2028", "\xa0", "\u3000", "\x00", " ", "\t", "\u0301", "\u03c2"]
    + ["__label__x", "__label__positive", "</s>", " </s> ", " mill ", " click ", "\U0001f600", "\u4e2d\u6587"]
)
TEXT = st.lists(st.one_of(ODD, st.text(st.characters(codec="utf-8"), max_size=4), st.sampled_from(GOOD))).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, max_size=5))
def test_fasttext_scores_the_file_alike(model: ModelFile, theirs: Any, samples: list[str]) -> None:
    rows = Classifier(model.path).annotate(batch_of(samples)).to_pylist()
    for text, row in zip(samples, rows, strict=True):
        if not text:
            assert row == {"score": None, "label": None}
            continue
        labels, scores = theirs.predict(prepared(text), k=2)
        found = dict(zip(labels, scores, strict=True))
        # fastText gives exp(log(p + 0.00001))
        assert row["score"] == pytest.approx(found["__label__positive"] - 1e-5, abs=2e-7)
        assert row["label"] == ("positive" if row["score"] >= 0.5 else "negative")


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, max_size=4))
def test_words_are_those_of_fasttext(samples: list[str]) -> None:
    utf8 = "".join(samples).encode()
    bounds = np.concatenate([[0], np.cumsum([len(text.encode()) for text in samples])]).astype(np.int64)
    found = fasttext.words(np.frombuffer(utf8, np.uint8), bounds)
    words = [utf8[a:b].decode() for a, b in zip(found.starts, found.ends, strict=True)]
    for i, text in enumerate(samples):
        line = prepared(text)
        for mark in "\n\r\t\v\f\0":
            line = line.replace(mark, " ")
        wanted = [word for word in line.split(" ") if word]
        wanted = wanted[: wanted.index("</s>")] if "</s>" in wanted else wanted
        mine = words[found.offsets[i] : found.offsets[i + 1]]
        assert mine == [word for word in wanted if not word.startswith("__label__")]


def plain_training(
    documents: list[tuple[str, int]], order: list[int], names: list[str], inputs: Any, options: dict[str, Any]
) -> tuple[Any, Any]:
    """Stochastic gradient descent as fastText has it, in float64."""
    inputs, outputs = inputs.astype(np.float64), np.zeros((2, inputs.shape[1]))
    tokens = sum(len(text.split()) + 2 for text, _ in documents)
    done = pending = 0
    rate = options["learning_rate"]
    for _ in range(options["epochs"]):
        for i in order:
            text, label = documents[i]
            words = [*text.split(), "</s>"]
            rows = [names.index(word) for word in words]
            pending += len(words) + 1
            hidden = inputs[rows].mean(0)
            scores = np.exp(outputs @ hidden - (outputs @ hidden).max())
            steps = rate * (np.eye(2)[label] - scores / scores.sum())
            gradient = steps @ outputs
            outputs += np.outer(steps, hidden)
            np.add.at(inputs, rows, gradient / len(rows))
            if pending > 100:
                done, pending = done + pending, 0
                rate = options["learning_rate"] * (1 - done / (options["epochs"] * tokens))
    return inputs, outputs


def test_training_equals_the_plain_one(tmp_path: Path) -> None:
    good, bad = texts(GOOD, 20, 2), texts(BAD, 20, 3)
    options: dict[str, Any] = {"epochs": 3, "learning_rate": 0.5}
    found = from_bytes(fit_classifier(good, bad, tmp_path / "m", dim=5, held_out=0, **options).read("model.bin"))
    import xxhash

    documents = [*((text, 0) for text in good), *((text, 1) for text in bad)]
    order = sorted(range(40), key=lambda i: (xxhash.xxh3_64_intdigest(documents[i][0].encode(), 1), documents[i][1]))
    names = [word.decode() for word in found.words]
    start = (np.random.Generator(np.random.PCG64(0)).random((len(names), 5), np.float32) * 2 - 1) / np.float32(5)
    inputs, outputs = plain_training(documents, order, names, start, options)
    np.testing.assert_allclose(found.inputs, inputs, atol=1e-5)
    np.testing.assert_allclose(found.outputs, outputs, atol=1e-4)


def test_it_learns_and_says_how_well(model: ModelFile) -> None:
    found = model.manifest["held_out"]
    assert 1 > found["auc"] > 0.9 and 0 < found["auc_standard_error"] < 0.05
    assert found["brier"] < 0.2 and found["accuracy"] > 0.8
    held = sum(int((document_hashes(sample) < 0.3).sum()) for sample in (texts(GOOD, 300, 0), texts(BAD, 300, 1)))
    assert found["positives"] + found["negatives"] == held == sum(row["documents"] for row in found["bins"])
    assert sum(model.manifest["trained_on"]["documents"].values()) == 600 - held
    printed = held_out_text(model.manifest)
    assert f"AUC {found['auc']:.4f}" in printed and "ECE" in printed
    assert len(printed.splitlines()) == 4 + len(found["bins"])
    new = Classifier(model.path).annotate(batch_of([*texts(GOOD, 50, 8), *texts(BAD, 50, 9)]))["label"].to_pylist()
    assert new[:50].count("positive") > 40 and new[50:].count("negative") > 40


def test_the_order_of_the_texts_does_not_matter(tmp_path: Path) -> None:
    good, bad = texts(GOOD, 60, 0), texts(BAD, 60, 1)
    one = fit_classifier(good, bad, tmp_path / "one", dim=4)
    two = fit_classifier(iter(good[::-1]), iter(bad[::-1]), tmp_path / "two", dim=4)
    assert one.sha256 == two.sha256
    assert fit_classifier(good, bad, tmp_path / "three", dim=4, seed=1).sha256 != one.sha256


def test_the_file_is_read_back(model: ModelFile) -> None:
    content = model.read("model.bin")
    found = from_bytes(content)
    assert found.to_bytes() == content
    assert found.labels == ("positive", "negative") and b"</s>" in found.words
    assert list(found.word_counts) == sorted(found.word_counts, reverse=True)
    for cut in (3, 40, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(FastTextFileError):
            from_bytes(content[:cut])


def test_columns_and_verdicts(model: ModelFile) -> None:
    plain = pickle.loads(pickle.dumps(Classifier(model.path)))
    assert plain.name == f"classifier@{model.sha256[:12]}"
    samples = ["mill grain stone", "click buy now", "", None, " "]
    batch = batch_of(samples, kind=["web"] * 5)
    rows = plain.annotate(batch).to_pylist()
    assert [row["label"] for row in rows[:4]] == ["positive", "negative", None, None]
    assert rows[4]["score"] is not None  # white space is classified
    judged = Classifier(model.path, threshold=0.5)
    found = judged.annotate(batch)
    assert found.schema.equals(judged.schema) and plain.annotate(batch).schema.equals(plain.schema)
    verdicts = found.to_pylist()
    assert [row["keep"] for row in verdicts[:4]] == [True, False, True, True]
    failed = verdicts[1]
    assert (failed["rule"], failed["threshold"], failed["reason"]) == ("score", 0.5, "classifier_score")
    assert failed["value"] == failed["score"] == rows[1]["score"]
    code = judged.annotate(batch_of(["click buy now"], kind="code")).to_pylist()[0]
    assert code["keep"] is True and code["score"] is None
    with pytest.raises(ValueError, match="threshold 2"):
        Classifier(model.path, threshold=2)


def test_measures() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.3, 0.1])
    found = measure(scores, np.array([True, True, False, False, False]))
    assert found["auc"] == pytest.approx((3 + 2.5) / 6, abs=1e-6)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.64 + 0.09 + 0.01) / 5)
    assert found["accuracy"] == 0.8
    assert found["ece"] == pytest.approx((0.1 * 1 + 0.3 * 2 + 0.3 + 0.1) / 5)
    assert [row["documents"] for row in found["bins"]] == [1, 1, 2, 1]
    assert measure(np.array([1.0]), np.array([True]))["bins"][0]["from"] == 0.9
    perfect = measure(np.array([0.9, 0.1]), np.array([True, False]))
    assert perfect["auc"] == 1.0 and perfect["auc_standard_error"] is None
    alone = measure(np.array([0.7, 0.6]), np.array([True, True]))
    assert alone["auc"] is None and alone["accuracy"] == 1.0
    assert measure(np.zeros(0), np.zeros(0, bool))["brier"] is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([s / 8 for s, _ in rows]), np.array([p for _, p in rows])
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    found = measure(scores, positive)["auc"]
    assert found is None if not pairs else found == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_the_manifest(tmp_path: Path) -> None:
    good, bad = [*texts(GOOD, 30, 0), "", " \n", "same text"], [*texts(BAD, 30, 1), "same text"]
    found = fit_classifier(good, bad, tmp_path / "m", labels=("wiki", "cc"), inputs={"a": "0" * 64}).manifest
    assert found["options"]["labels"] == ["wiki", "cc"] and found["options"]["buckets"] == 0
    assert found["trained_on"]["without_a_word"] == {"wiki": 2, "cc": 0}
    assert found["trained_on"]["texts_of_both_classes"] == 1
    assert found["trained_on"]["inputs"] == {"a": "0" * 64}
    json.dumps(dict(found))
    model = from_bytes(open_model(tmp_path / "m", "classifier").read("model.bin"))
    assert model.labels == ("wiki", "cc")
    apart = fit_classifier(["a"] * 3, ["b"] * 3, tmp_path / "n", held_out=0).manifest
    assert apart["held_out"]["auc"] is None and "not measured" in held_out_text(apart)


def test_wrong_calls_of_fit(tmp_path: Path) -> None:
    def fails(message: str, good: Any = ("a",), bad: Any = ("b",), **options: Any) -> None:
        with pytest.raises(FitError, match=message):
            fit_classifier(good, bad, tmp_path / "m", **{"held_out": 0, **options})
        assert not (tmp_path / "m").exists()

    fails("no text with a word to learn of the class 'positive'", good=[])
    fails("no text with a word to learn of the class 'negative'", bad=["", " ", "\x85"])
    fails("of the class 'cc'", bad=["__label__x"], labels=("wiki", "cc"))
    fails("two different names", labels=("a", "a"))
    fails("two different names", labels=("a b", "c"))
    fails("dim 0", dim=0)
    fails("learning_rate 0", learning_rate=0)
    fails("held_out 1", held_out=1)
    fails("a text is a string, not NoneType", good=[None])


def test_wrong_files_are_named(model: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="none: no classifier model there"):
        Classifier(str(tmp_path / "none"))
    write_model(tmp_path / "ngram", "ngram", {}, {})
    with pytest.raises(ModelFileError, match="holds a model of kind 'ngram', needed is 'classifier'"):
        Classifier(str(tmp_path / "ngram"))
    whole = Path(model.path).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="cut: not a model file"):
        Classifier(str(tmp_path / "cut"))
    write_model(tmp_path / "inside", "classifier", dict(model.manifest), {"model.bin": model.read("model.bin")[:999]})
    with pytest.raises(ModelFileError, match="inside: "):
        Classifier(str(tmp_path / "inside")).annotate(batch_of(["a"]))
    write_model(tmp_path / "changes", "classifier", dict(model.manifest), {"model.bin": model.read("model.bin")})
    annotator = Classifier(str(tmp_path / "changes"))
    fit_classifier(["a"], ["b"], tmp_path / "changes", held_out=0)
    with pytest.raises(ModelFileError, match="has changed since"):
        annotator.annotate(batch_of(["a"]))


@pytest.mark.parametrize("part", ["mill grain ", "x", "\u0301", "\n", "\xa0", "a\x00"])
def test_scoring_takes_linear_time(part: str, model: ModelFile) -> None:
    annotator = Classifier(model.path)

    def seconds(repeats: int) -> float:
        batch, best = batch_of([part * repeats]), math.inf
        for _ in range(3):
            start = time.process_time()
            annotator.annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(160_000) < 6 * seconds(40_000) + 0.01
