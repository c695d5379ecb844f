"""A quality classifier: fastText's supervised model, positives against negatives (`classifier@<hash>`).

    fit_classifier(positives, negatives, path, *, labels=("positive", "negative"), dim=100, epochs=5,
                   learning_rate=0.1, word_ngrams=1, buckets=200_000, min_count=1, held_out=0.1, seed=0,
                   inputs=None) -> ModelFile                        # model kind "classifier"

positives, negatives: Iterable[str], read once.  inputs: {file name: sha256} for the manifest.  What was measured on
the held-out documents is ModelFile.manifest["held_out"] (auc, brier, ece, bins, ...); `held_out_text(manifest)` is the
same as lines to print.  Annotator: Classifier(path, threshold=None).

The defaults are fastText's, with which RedPajama-V2 trained its palm and wikipedia scores (75,000 texts a class;
togethercomputer/RedPajama-Data @ 6d2cee9, app/src/artifacts/train_classifier); word n-grams have 200,000 buckets
where fastText has 2,000,000 (a file of 80 MB in place of 800).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from quality_signals import classifier_fasttext as fasttext
from quality_signals.batches import PROSE_KINDS, field
from quality_signals.classifier_fasttext import END, FastText, FastTextFileError, Predictor
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.model_files import NAME_DIGITS, ModelFile, ModelFileError, open_model, write_model
from quality_signals.ngram_model import FitError, batches, document_hashes
from quality_signals.ngram_model_tokens import Tokens, Vocabulary
from quality_signals.text_batch import SharedTexts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KIND = "classifier"
_MEMBER = "model.bin"
_DECIMALS = 8  # of a score, so that the last bits of a machine's exp do not matter
_BINS = 10  # of the reliability table

NUMBERS = (
    field("score", pa.float64(), "probability of the positive label; null for an empty text", "1"),
    field("label", pa.string(), "the more probable label"),
)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Score and label of each document by a model file of `fit_classifier`.

    threshold: a document with a lower score is dropped (verdict columns); None: no verdict.  kinds: kinds of
    documents that are scored; those without kind always are.  ModelFileError: the file is missing, damaged or of
    another kind.
    """

    path: str
    threshold: float | None = None
    kinds: tuple[str, ...] = PROSE_KINDS
    sha256: str = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"classifier: threshold {self.threshold}; 0 to 1")
        object.__setattr__(self, "path", os.fspath(self.path))
        object.__setattr__(self, "sha256", open_model(self.path, KIND).sha256)

    @property
    def name(self) -> str:
        return f"{KIND}@{self.sha256[:NAME_DIGITS]}"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([*(VERDICT_FIELDS if self.threshold is not None else ()), *NUMBERS])

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        predictor, positive = _predictor(self.path, self.sha256)
        probabilities = predictor.probabilities(texts.utf8, texts.byte_offsets)[:, positive].astype(np.float64)
        scores = np.array([round(value, _DECIMALS) for value in probabilities.tolist()], np.float64)
        null = texts.lengths == 0
        scores[null] = np.nan
        names = predictor.model.labels
        columns = [
            pa.array(scores, mask=null),
            pa.array([names[positive], names[1 - positive]]).take(pa.array((scores < 0.5) * 1, mask=null)),
        ]
        if self.threshold is not None:
            rule = Rule("score", "classifier_score", "score", "<", self.threshold)
            columns = [*judge_texts([rule], {"score": scores}, len(texts)), *columns]
        scattered = [texts.scatter(column) for column in columns]
        if self.threshold is not None:
            scattered[0] = scattered[0].fill_null(True)  # what is not judged is kept
        return pa.RecordBatch.from_arrays(scattered, schema=self.schema)


@lru_cache(maxsize=2)
def _predictor(path: str, sha256: str) -> tuple[Predictor, int]:
    """The model, and the number of its positive label."""
    file = open_model(path, KIND)
    if file.sha256 != sha256:
        raise ModelFileError(f"{path}: the file has changed since the annotator was made")
    try:
        model = fasttext.from_bytes(file.read(_MEMBER))
    except FastTextFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return Predictor(model), model.labels.index(file.manifest["options"]["labels"][0])


class _Side:
    """The texts of one class as they come: 4 bytes a word, 8 a text."""

    def __init__(self) -> None:
        self.ids: list[npt.NDArray[np.int32]] = []
        self.sizes: list[Ints] = []
        self.keys: list[int] = []  # decide the order of training
        self.apart: list[str] = []
        self.seen: set[int] = set()
        self.empty = 0
        self.digest = np.zeros(2, np.uint64)

    def read(self, texts: Iterable[str], vocabulary: Vocabulary, held_out: float, seed: int) -> None:
        for batch in batches(texts):
            found = fasttext.words(batch.utf8, batch.byte_offsets)
            sizes = np.diff(found.offsets)
            learnt = (document_hashes(batch.strings) >= held_out) & (sizes > 0)
            for text, size, own in zip(batch.strings, sizes.tolist(), learnt.tolist(), strict=True):
                content = text.encode()
                self.digest += np.frombuffer(hashlib.sha256(content).digest()[:16], np.uint64)
                self.empty += size == 0
                key = xxhash.xxh3_64_intdigest(content, seed + 1)
                self.seen.add(key)
                if own:
                    self.keys.append(key)
                elif size:
                    self.apart.append(text)
            mine = np.repeat(learnt, sizes)
            own_sizes = sizes[learnt]
            offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(own_sizes)])
            self.ids.append(vocabulary.add(Tokens(found.utf8, found.starts[mine], found.ends[mine], offsets)))
            self.sizes.append(own_sizes)


class _Corpus(NamedTuple):
    """ids [words]: of each word of all texts in the vocabulary, each text with its end (id 0)."""

    ids: Ints
    offsets: Ints
    labels: Ints
    order: Ints


def _corpus(sides: tuple[_Side, _Side]) -> _Corpus:
    ids = np.concatenate([np.zeros(0, np.int32), *(part for side in sides for part in side.ids)]).astype(np.int64)
    sizes = np.concatenate([np.zeros(0, np.int64), *(part for side in sides for part in side.sizes)])
    labels = np.repeat([0, 1], [len(side.keys) for side in sides])
    keys = np.array([key for side in sides for key in side.keys], np.uint64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes + 1)])
    stream = np.zeros(int(offsets[-1]), np.int64)
    inner = np.ones(len(stream), bool)
    inner[offsets[1:] - 1] = False
    stream[inner] = ids
    # By the hash of the text: mixed, and the same in whatever order the texts come.
    return _Corpus(stream, offsets, labels, np.lexsort((labels, keys)))


def fit_classifier(
    positives: Iterable[str],
    negatives: Iterable[str],
    path: str | os.PathLike[str],
    *,
    labels: tuple[str, str] = ("positive", "negative"),
    dim: int = 100,
    epochs: int = 5,
    learning_rate: float = 0.1,
    word_ngrams: int = 1,
    buckets: int = 200_000,
    min_count: int = 1,
    held_out: float = 0.1,
    seed: int = 0,
    inputs: Mapping[str, str] | None = None,
) -> ModelFile:
    """Fits a classifier and writes it to `path`.

    labels: names of the two classes, the positive one first.  dim: of the word vectors.  word_ngrams: longest word
    n-gram that is a feature; those of 2 and more words share `buckets` rows by hash.  min_count: rarer words have no
    row.  held_out: share of the texts, chosen by their hash, that is not learnt but measured.  inputs: names and
    SHA-256 of the files that the texts come from, for the manifest.

    One thread; the model depends on texts, options and seed only, not on the order of the texts.  Memory: 20 bytes a
    word, 100 a text, the held-out texts, and 4 * dim bytes a different word or bucket.  FitError: a class without
    text, or options out of range.
    """
    _check(labels, dim, epochs, learning_rate, word_ngrams, buckets, min_count, held_out)
    vocabulary = Vocabulary((END,), marks=())
    sides = (_Side(), _Side())
    for side, texts in zip(sides, (positives, negatives), strict=True):
        side.read(texts, vocabulary, held_out, seed)
    for side, label in zip(sides, labels, strict=True):
        if not side.keys:
            raise FitError(f"classifier: no text with a word to learn of the class {label!r}")
    corpus = _corpus(sides)
    counts = vocabulary.counts
    counts[0] = len(corpus.labels)
    names = vocabulary.words()
    kept = [i for i in range(len(names)) if counts[i] >= min_count]
    kept.sort(key=lambda i: (-counts[i], names[i]))
    rows = np.full(len(names), -1, np.int64)
    rows[kept] = np.arange(len(kept))
    joined = np.frombuffer(b"".join(names), np.uint8)
    ends = np.cumsum([len(name) for name in names], dtype=np.int64)
    hashes = fasttext.hash_words(joined, ends - np.array([len(name) for name in names]), ends)
    in_buckets = buckets if word_ngrams > 1 else 0
    matrices = fasttext.train(
        rows[corpus.ids], hashes[corpus.ids], corpus.offsets, corpus.labels, corpus.order,
        words=len(kept), classes=2, dim=dim, epochs=epochs, learning_rate=learning_rate, ngrams=word_ngrams,
        buckets=in_buckets, seed=seed,
    )  # fmt: skip
    model = FastText(
        tuple(names[i] for i in kept), labels, tuple(int(counts[i]) for i in kept),
        tuple(len(side.keys) for side in sides), *matrices, word_ngrams, in_buckets, epochs, min_count,
    )  # fmt: skip
    manifest: dict[str, Any] = {
        "options": {
            "labels": list(labels), "dim": dim, "epochs": epochs, "learning_rate": learning_rate,
            "word_ngrams": word_ngrams, "buckets": in_buckets, "min_count": min_count, "held_out": held_out,
            "seed": seed,
        },
        "trained_on": {
            "inputs": dict(inputs or {}),
            "documents": {label: len(side.keys) for side, label in zip(sides, labels, strict=True)},
            "without_a_word": {label: side.empty for side, label in zip(sides, labels, strict=True)},
            "texts_of_both_classes": len(sides[0].seen & sides[1].seen),
            "words": len(corpus.ids) - len(corpus.labels),
            "different_words": len(kept),
            "texts_digest": {
                label: side.digest.tobytes().hex() for side, label in zip(sides, labels, strict=True)
            },
        },
        "held_out": _measured(model, sides),
        "versions": {"numpy": np.__version__},
    }  # fmt: skip
    return write_model(path, KIND, manifest, {_MEMBER: model.to_bytes()})


def _check(
    labels: tuple[str, str],
    dim: int,
    epochs: int,
    learning_rate: float,
    word_ngrams: int,
    buckets: int,
    min_count: int,
    held_out: float,
) -> None:
    if len(labels) != 2 or labels[0] == labels[1] or any(not name or name.split() != [name] for name in labels):
        raise FitError(f"classifier: labels {labels}; two different names without white space, the positive first")
    if min(dim, epochs, word_ngrams, buckets, min_count) < 1:
        raise FitError(
            f"classifier: dim {dim}, epochs {epochs}, word_ngrams {word_ngrams}, buckets {buckets}, min_count "
            f"{min_count}; each is 1 or more"
        )
    if not 0 < learning_rate <= 10 or not 0 <= held_out < 1:
        raise FitError(f"classifier: learning_rate {learning_rate} (above 0), held_out {held_out} (0 or more, below 1)")


def _measured(model: FastText, sides: tuple[_Side, _Side]) -> dict[str, Any]:
    predictor = Predictor(model)
    scores: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)]
    for side in sides:
        for batch in batches(side.apart):
            scores.append(predictor.probabilities(batch.utf8, batch.byte_offsets)[:, 0])
    positive = np.repeat([True, False], [len(side.apart) for side in sides])
    return measure(np.concatenate(scores).astype(np.float64), positive)


def measure(scores: Floats, positive: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """How well scores tell positives from negatives, and whether they are probabilities.

    auc: probability that a positive scores above a negative, ties as half; null if a class is missing.  Its standard
    error is that of Hanley and McNeil (Radiology 143, 1982), which says nothing of an AUC of 0 or 1: null then.
    brier: mean squared difference of score and outcome.
    ece: mean over documents of |mean score - share of positives| of their bin, `bins` equally wide ones.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    result: dict[str, Any] = {
        "positives": positives, "negatives": negatives, "auc": None, "auc_standard_error": None, "brier": None,
        "ece": None, "accuracy": None, "bins": [],
    }  # fmt: skip
    if positives and negatives:
        _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
        auc = (ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)
        q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
        variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
        result["auc"] = round(float(auc), 6)
        if 0 < auc < 1:
            result["auc_standard_error"] = round(math.sqrt(max(0.0, variance) / (positives * negatives)), 6)
    if len(scores):
        result["brier"] = round(float(((scores - positive) ** 2).mean()), 6)
        result["accuracy"] = round(float(((scores >= 0.5) == positive).mean()), 6)
        bins = np.minimum((scores * _BINS).astype(np.int64), _BINS - 1)
        gap = 0.0
        for number in range(_BINS):
            mine = bins == number
            if mine.any():
                mean, share = float(scores[mine].mean()), float(positive[mine].mean())
                gap += int(mine.sum()) * abs(mean - share)
                row = {"from": number / _BINS, "to": (number + 1) / _BINS, "documents": int(mine.sum())}
                result["bins"].append({**row, "mean_score": round(mean, 6), "positives": round(share, 6)})
        result["ece"] = round(gap / len(scores), 6)
    return result


def held_out_text(manifest: Mapping[str, Any]) -> str:
    """What was measured on the held-out documents, as lines to print."""
    found = manifest["held_out"]
    positive, negative = manifest["options"]["labels"]
    lines = [f"held out: {found['positives']} {positive}, {found['negatives']} {negative}"]
    if found["auc"] is None:
        lines.append("AUC: not measured, a class has no held-out document")
    else:
        error = found["auc_standard_error"]
        known = "unknown: too few documents to see a mistake" if error is None else f"{error:.4f}"
        lines.append(f"AUC {found['auc']:.4f} (standard error {known})")
    if found["brier"] is not None:
        lines.append(f"accuracy {found['accuracy']:.4f}, Brier {found['brier']:.4f}, ECE {found['ece']:.4f}")
        lines.append(f"{'score':>11} {'documents':>9} {'mean score':>10} {'positives':>9}")
    for row in found["bins"]:
        span = f"{row['from']:.1f} to {row['to']:.1f}"
        lines.append(f"{span:>11} {row['documents']:>9} {row['mean_score']:>10.3f} {row['positives']:>9.3f}")
    return "\n".join(lines)
