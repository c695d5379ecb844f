"""An n-gram language model with interpolated modified Kneser-Ney smoothing: fit, model file, ARPA, scores.

    fit_ngram(texts, path, *, order=5, unit="word", normalise="ccnet", min_count=1, held_out=0.1,
              cutoff_texts=None, inputs=None) -> ModelFile          # model kind "ngram"
    load_ngram(path) -> NgramModel                                  # such a file, or an ARPA file of anybody
    model.write_arpa(path)

A sentence of the model is a line of a text, normalised, without the lines that have no token.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from quality_signals import ngram_model_tables as tables
from quality_signals.batches import batch_of
from quality_signals.ccnet_normalise import FORMS, normalised
from quality_signals.line_views import split_lines
from quality_signals.model_files import ModelFile, ModelFileError, open_model, write_model
from quality_signals.ngram_model_arpa import is_arpa, read_arpa, write_arpa
from quality_signals.ngram_model_fit import estimate
from quality_signals.ngram_model_tables import MAX_ORDER, Level, Tables
from quality_signals.ngram_model_tokens import BEGIN, END, MARKS, UNITS, UNKNOWN, Tokens, Vocabulary, split
from quality_signals.text_batch import TextBatch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KIND = "ngram"
HEAD_PERCENTILE, TAIL_PERCENTILE = 30, 60  # cc_net @ bda555b, perplexity.py, PerplexityBucket
_BATCH_CHARACTERS = 1 << 20
_WORDS = "words.txt"


class FitError(ValueError):
    """What a model was to be fitted on does not allow it."""


@dataclasses.dataclass(frozen=True)
class NgramModel:
    """words: UTF-8, the marks <unk>, <s>, </s> first; levels: the n-grams of each order."""

    words: tuple[bytes, ...]
    levels: tuple[Level, ...]
    unit: str = "word"
    normalise: str = "none"

    def __post_init__(self) -> None:
        if self.unit not in UNITS or self.normalise not in FORMS:
            raise ValueError(f"n-gram model: unit {self.unit!r}, normalise {self.normalise!r}")

    @property
    def order(self) -> int:
        return len(self.levels)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.words[len(MARKS) :])

    @cached_property
    def tables(self) -> Tables:
        return tables.tables(self.levels)

    def tokens(self, points: npt.NDArray[np.uint32], starts: Ints, ends: Ints) -> Tokens:
        """Of the lines points[starts[l]:ends[l]] (code points), normalised."""
        utf8, lines = normalised(points, starts, ends, self.normalise)
        return split(utf8, lines, self.unit)

    def line_scores(self, tokens: Tokens) -> tuple[Floats, Ints]:
        """Of each line: the log10 probability of its tokens and its end (float64), and the number of its tokens.

        A line without tokens gets 0 and 0.
        """
        counts = np.diff(tokens.offsets)
        scores = tables.score(self.vocabulary.ids(tokens), tokens.offsets, self.tables)
        if not len(counts):
            return np.zeros(0), counts
        first = tokens.offsets[:-1] + np.arange(len(counts))
        return np.where(counts > 0, np.add.reduceat(scores.astype(np.float64), first), 0.0), counts

    def token_scores(self, text: str) -> list[tuple[str, float]]:
        """The tokens of one line, each with its log10 probability; the last is </s>."""
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        tokens = self.tokens(points, np.zeros(1, np.int64), np.array([len(points)]))
        scores = tables.score(self.vocabulary.ids(tokens), tokens.offsets, self.tables).tolist()
        joined = tokens.utf8.tobytes()
        names = [joined[a:b].decode() for a, b in zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)]
        return list(zip([*names, MARKS[END]], scores, strict=True))

    def write_arpa(self, path: str | os.PathLike[str]) -> None:
        write_arpa(path, self.words, self.levels)

    def members(self) -> dict[str, bytes]:
        """The members of the model file."""
        found = {_WORDS: b"\n".join(self.words)}
        for k, level in enumerate(self.levels, 1):
            for name, array in level._asdict().items():
                file = io.BytesIO()
                np.save(file, array)
                found[f"{k}/{name}.npy"] = file.getvalue()
        return found


def perplexities(scores: Floats, tokens: npt.NDArray[Any], ends: npt.NDArray[Any]) -> Floats:
    """10 ** (-score / (tokens + ends)): per token, each sentence's end counted as one (cc_net @ bda555b,
    perplexity.py, `pp`); NaN without tokens."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(tokens > 0, np.power(10.0, -scores / (tokens + ends)), np.nan)


def load_ngram(path: str | os.PathLike[str]) -> NgramModel:
    """A model file of `fit_ngram` or an ARPA file; loaded once a process.  ModelFileError names what is wrong."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ModelFileError(f"{path}: no {KIND} model there ({error.strerror})") from error
    return _loaded(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _loaded(path: str, mtime_ns: int, size: int) -> NgramModel:
    with open(path, "rb") as file:
        head = file.read(64)
    if is_arpa(head):
        words, levels = read_arpa(path)
        return NgramModel(tuple(words), tuple(levels))
    model = open_model(path, KIND)
    options = model.manifest["options"]

    def level(k: int) -> Level:
        names = Level._fields
        return Level(*(np.load(io.BytesIO(model.read(f"{k}/{name}.npy")), allow_pickle=False) for name in names))

    words = model.read(_WORDS).split(b"\n")
    found = tuple(level(k) for k in range(1, int(options["order"]) + 1))
    return NgramModel(tuple(words), found, options["unit"], options["normalise"])


def batches(texts: Iterable[str]) -> Iterator[TextBatch]:
    """The texts in batches of about a million characters."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        if not isinstance(text, str):
            raise FitError(f"a text is a string, not {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise FitError(f"a text has a lone surrogate at character {error.start}") from error
        waiting.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield _texts(waiting)
            waiting, size = [], 0
    if waiting:
        yield _texts(waiting)


def _texts(strings: Sequence[str]) -> TextBatch:
    batch: pa.RecordBatch = batch_of(strings)
    return TextBatch(batch, np.ones(len(strings), bool))


def document_hashes(strings: Iterable[str]) -> Floats:
    """A number in [0, 1) for each text, a function of its characters alone (xxh3): equal texts are on one side of
    a split."""
    return np.array([xxhash.xxh3_64_intdigest(text.encode()) / 2**64 for text in strings])


class _Corpus:
    """Token ids of a corpus as they come: 4 bytes a token, 1 a line, and the vocabulary."""

    def __init__(self, unit: str, normalise: str) -> None:
        self.unit, self.normalise = unit, normalise
        self.vocabulary = Vocabulary()
        self.ids: list[npt.NDArray[np.int32]] = []
        self.sizes: list[npt.NDArray[np.int64]] = []

    def add(self, texts: TextBatch, chosen: npt.NDArray[np.bool_]) -> None:
        found = texts.view(split_lines)
        mine = np.repeat(chosen, found.counts)
        utf8, lines = normalised(texts.points, found.starts[mine], found.ends[mine], self.normalise)
        tokens = split(utf8, lines, self.unit)
        self.ids.append(self.vocabulary.add(tokens))
        sizes = np.diff(tokens.offsets)
        self.sizes.append(sizes[sizes > 0])

    def stream(self, min_count: int) -> tuple[tuple[bytes, ...], npt.NDArray[np.int32], Ints, int]:
        """Words in their final order, all lines with their marks, the place of each token in its line, lines."""
        ids = np.concatenate([np.zeros(0, np.int32), *self.ids])
        sizes = np.concatenate([np.zeros(0, np.int64), *self.sizes])
        if not len(ids):
            raise FitError("n-gram model: no token in the texts")
        words, counts = self.vocabulary.words(), self.vocabulary.counts
        kept = [i for i in range(len(MARKS), len(words)) if counts[i] >= min_count]
        kept.sort(key=words.__getitem__)  # so that the order of the documents does not matter
        renamed = np.zeros(len(words), np.int32)
        renamed[kept] = np.arange(len(MARKS), len(MARKS) + len(kept), dtype=np.int32)
        first = np.cumsum(sizes + 2) - (sizes + 2)
        stream = np.full(len(ids) + 2 * len(sizes), END, np.int32)
        places = np.arange(len(stream)) - np.repeat(first, sizes + 2)
        inner = (places > 0) & (places <= np.repeat(sizes, sizes + 2))
        stream[inner] = renamed[ids]
        stream[first] = BEGIN
        return (*[mark.encode() for mark in MARKS], *(words[i] for i in kept)), stream, places, len(sizes)


def document_scores(model: NgramModel, texts: TextBatch) -> tuple[Floats, Ints, Ints]:
    """Of each text: log10 score of its lines, tokens, and lines with tokens."""
    lines = texts.view(split_lines)
    scores, tokens = model.line_scores(model.tokens(texts.points, lines.starts, lines.ends))
    counts, ends = sums(tokens, lines.counts), sums(tokens > 0, lines.counts)
    return sums(scores, lines.counts), counts.astype(np.int64), ends.astype(np.int64)


def sums(values: npt.NDArray[Any], counts: Ints) -> Floats:
    """[texts] float64: the sum of the values [lines] of each text, of which counts [texts] has the number.

    Added one by one, so what is beside a text does not change its sum.
    """
    of = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(of, values, len(counts)).astype(np.float64)


def fit_ngram(
    texts: Iterable[str],
    path: str | os.PathLike[str],
    *,
    order: int = 5,
    unit: str = "word",
    normalise: str = "ccnet",
    min_count: int = 1,
    held_out: float = 0.1,
    cutoff_texts: Iterable[str] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> ModelFile:
    """Fits a model to the lines of `texts` and writes it to `path`.

    unit: word (between white space) or character.  normalise: ccnet (`ccnet_normalise.normalise`) or none.
    min_count: rarer words become <unk>.  held_out: share of the texts, chosen by their hash, that is not learnt
    but measured: the 30th and 60th percentile of their perplexities are the model's limits of head and middle.
    cutoff_texts: texts to take those percentiles of instead, as cc_net did with the crawl and a model of
    Wikipedia.  inputs: names and SHA-256 of the files that the texts come from, for the manifest.

    The model depends on the texts, not on their order.  Memory: about 80 bytes a token, about 60 a different n-gram
    (a text of 1 M words has about 1.5 M of them), and the held-out texts.  FitError: no tokens, options out of range,
    or what is no text.
    """
    if not 1 <= order <= MAX_ORDER:
        raise FitError(f"n-gram model: order {order}; 1 to {MAX_ORDER}")
    if unit not in UNITS or normalise not in ("ccnet", "none"):
        raise FitError(f"n-gram model: unit {unit!r} ({', '.join(UNITS)}), normalise {normalise!r} (ccnet, none)")
    if min_count < 1 or not 0 <= held_out < 1:
        raise FitError(f"n-gram model: min_count {min_count} (1 or more), held_out {held_out} (0 or more, below 1)")
    corpus = _Corpus(unit, normalise)
    apart: list[str] = []
    learnt = 0
    digest = np.zeros(2, np.uint64)  # sums of hashes: the same whatever the order of the texts
    for batch in batches(texts):
        chosen = document_hashes(batch.strings) >= held_out
        corpus.add(batch, chosen)
        for text, own in zip(batch.strings, chosen.tolist(), strict=True):
            digest += np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], np.uint64)
            if own:
                learnt += 1
            else:
                apart.append(text)
    words, stream, places, lines = corpus.stream(min_count)
    levels, discounts = estimate(stream, places, order, len(words))
    model = NgramModel(words, tuple(levels), unit, normalise)
    measured = _measured(model, apart)
    limits = measured if cutoff_texts is None else _measured(model, cutoff_texts)
    manifest: dict[str, Any] = {
        "options": {
            "order": order, "unit": unit, "normalise": normalise, "min_count": min_count, "held_out": held_out,
        },
        "trained_on": {
            "inputs": dict(inputs or {}), "documents": learnt, "sentences": lines,
            "tokens": len(stream) - 2 * lines, "unknown_tokens": int((stream == UNKNOWN).sum()),
            "texts_digest": digest.tobytes().hex(),
        },
        "ngrams": [len(level.word) for level in levels],
        "discounts": [dataclasses.asdict(chosen) for chosen in discounts],
        "held_out": measured,
        "cutoffs": {"of": "held-out texts" if cutoff_texts is None else "cutoff_texts", **limits},
        "versions": {"numpy": np.__version__},
    }  # fmt: skip
    return write_model(path, KIND, manifest, model.members())


def _measured(model: NgramModel, texts: Iterable[str]) -> dict[str, Any]:
    """Perplexity of texts as a whole, and percentiles of that of each, to one decimal; None without texts."""
    found: list[Floats] = []
    score, tokens, ends = 0.0, 0, 0
    for batch in batches(texts):
        scores, counts, lines = document_scores(model, batch)
        found.append(perplexities(scores, counts, lines)[counts > 0])
        score, tokens, ends = math.fsum([score, *scores.tolist()]), tokens + int(counts.sum()), ends + int(lines.sum())
    each = np.concatenate([np.zeros(0), *found])
    measured: dict[str, Any] = {"documents": len(each), "tokens": tokens, "perplexity": None, "p30": None, "p60": None}
    if len(each):
        measured["perplexity"] = round(10 ** (-score / (tokens + ends)), 1)
        measured["p30"] = round(float(np.percentile(each, HEAD_PERCENTILE)), 1)
        measured["p60"] = round(float(np.percentile(each, TAIL_PERCENTILE)), 1)
    return measured
