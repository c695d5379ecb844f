"""Perplexity of documents and lines by an n-gram model (`perplexity@<hash>`).

    Perplexity("en.ngram")                                             a model file of fit_ngram
    Perplexity("en.arpa", normalise="ccnet")                           an ARPA file of anybody
    Perplexity("en.arpa.bin", pieces="en.sp.model", sentence="document", normalise="ccnet")
                                                                       a model of cc_net: KenLM and SentencePiece

KenLM's binary files are scored by the package kenlm (`gristmill[kenlm]`); the other two by `ngram_model`, which gives
KenLM's values, wherever they are scored.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.ccnet_normalise import normalised
from quality_signals.line_views import split_lines
from quality_signals.model_files import NAME_DIGITS, ModelFileError, open_model
from quality_signals.ngram_model import KIND, NgramModel, load_ngram, perplexities, sums
from quality_signals.ngram_model_arpa import is_arpa
from quality_signals.text_batch import SharedTexts, TextBatch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KENLM_MAGIC = b"mmap lm http://kheafield.com/code format version"  # kpu/kenlm, lm/binary_format.cc
_KENLM_UNFINISHED = b"mmap lm http://kheafield.com/code incomplete"
_DECIMALS = 1  # cc_net @ bda555b, perplexity.py, DocLM
SENTENCES = ("line", "document")

LINES = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("score", pa.float64())]))
SCHEMA = pa.schema(
    [
        field("perplexity", pa.float64(), "of the text, per token and sentence end; null without a token"),
        field("log10_score", pa.float64(), "log10 probability of the text"),
        field("tokens", pa.int64(), "tokens of the text", "1"),
        field("lines", LINES, "perplexity of each line (code points); null for one without a token"),
        field("bucket", pa.string(), "head, middle or tail by the limits; all without limits or perplexity"),
    ]
)


class MissingExtra(ImportError):
    """A package of an extra is not installed; the message names the extra."""


def file_sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: no {KIND} model there ({error.strerror})") from error


@lru_cache(maxsize=4)
def _pieces(path: str, sha256: str) -> Any:
    if file_sha256(path) != sha256:
        raise ModelFileError(f"{path}: the file has changed since the annotator was made")
    try:
        import sentencepiece
    except ModuleNotFoundError as missing:
        raise MissingExtra("SentencePiece models need the extra kenlm: pip install 'gristmill[kenlm]'") from missing
    try:
        return sentencepiece.SentencePieceProcessor(model_file=path)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{path}: not a SentencePiece model ({error})") from error


@lru_cache(maxsize=4)
def _kenlm(path: str, sha256: str) -> Any:
    try:
        import kenlm
    except ModuleNotFoundError as missing:
        raise MissingExtra(f"{path}: KenLM's binary files need the extra: pip install 'gristmill[kenlm]'") from missing
    try:
        return kenlm.Model(path)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{path}: KenLM cannot read it ({error})") from error


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """A model as a file on disk, of one of three formats, known by its hash.

    normalise: ccnet or none; None: as the model was fitted, none for files of others.  pieces: a SentencePiece
    model whose pieces are the tokens, else words are.  ModelFileError: missing, damaged or of another format.
    """

    path: str
    normalise: str | None = None
    pieces: str | None = None
    sha256: str = dataclasses.field(init=False, repr=False)
    format: str = dataclasses.field(init=False)  # own, arpa or kenlm
    pieces_sha256: str = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        def put(name: str, value: str | None) -> None:
            object.__setattr__(self, name, value)

        if self.normalise is not None and self.normalise not in ("ccnet", "none"):
            raise ValueError(f"normalise {self.normalise!r}; ccnet or none")
        put("path", os.fspath(self.path))
        put("sha256", file_sha256(self.path))
        with open(self.path, "rb") as file:
            head = file.read(64)
        if head.startswith(_KENLM_UNFINISHED):
            raise ModelFileError(f"{self.path}: a KenLM file whose writing did not end")
        if head.startswith(KENLM_MAGIC):
            put("format", "kenlm")
            _kenlm(self.path, self.sha256)
        elif is_arpa(head):
            put("format", "arpa")
            load_ngram(self.path)  # the whole file: nothing less shows that it is complete
        else:
            put("format", "own")
            options = open_model(self.path, KIND).manifest["options"]
            if self.normalise not in (None, options["normalise"]):
                raise ValueError(f"{self.path}: fitted with normalise {options['normalise']!r}, not {self.normalise!r}")
        put("pieces_sha256", "" if self.pieces is None else file_sha256(self.pieces))
        if self.pieces is not None:
            if self.format == "own":
                raise ValueError(f"{self.path}: a model file has its own tokens, so pieces must be None")
            _pieces(self.pieces, self.pieces_sha256)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Below which perplexity a text is head, and middle: the percentiles that a model file keeps."""
        if self.format != "own":
            return None
        cutoffs = open_model(self.path, KIND).manifest["cutoffs"]
        return None if cutoffs["p30"] is None else (cutoffs["p30"], cutoffs["p60"])

    def score(self, points: npt.NDArray[np.uint32], starts: Ints, ends: Ints) -> tuple[Floats, Ints]:
        """Of the sentences points[starts[i]:ends[i]]: log10 probability with the end, and tokens."""
        if self.format == "own" or (self.format == "arpa" and self.pieces is None):
            model = _model(self.path, self.sha256, self.normalise)
            return model.line_scores(model.tokens(points, starts, ends))
        utf8, offsets = normalised(points, starts, ends, self.normalise or "none")
        joined, bounds = utf8.tobytes(), offsets.tolist()
        strings = [joined[a:b].decode() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        if self.pieces is not None:
            encode = _pieces(self.pieces, self.pieces_sha256).encode
            strings = [" ".join(encode(text, out_type=str)) for text in strings]
        counts = np.array([len(text.split()) for text in strings], np.int64)
        if self.format == "kenlm":
            score = _kenlm(self.path, self.sha256).score
            return np.array([score(text) if n else 0.0 for text, n in zip(strings, counts, strict=True)]), counts
        model = _model(self.path, self.sha256, None)
        all_points = np.frombuffer("".join(strings).encode("utf-32-le"), np.uint32)
        ends = np.cumsum([len(text) for text in strings], dtype=np.int64)
        starts = ends - np.array([len(text) for text in strings], np.int64)
        return model.line_scores(model.tokens(all_points, starts, ends))


@lru_cache(maxsize=4)
def _model(path: str, sha256: str, normalise: str | None) -> NgramModel:
    if file_sha256(path) != sha256:
        raise ModelFileError(f"{path}: the file has changed since the annotator was made")
    model = load_ngram(path)
    return model if normalise in (None, model.normalise) else dataclasses.replace(model, normalise=normalise)


def bucket(perplexity: float | None, limits: tuple[float, float] | None) -> str:
    """head, middle, tail or all (cc_net @ bda555b, perplexity.py, PerplexityBucket)."""
    if perplexity is None or limits is None:
        return "all"
    head, middle = limits
    return "head" if perplexity < head else "middle" if perplexity < middle else "tail"


def rounded(values: Floats) -> list[float | None]:
    """To one decimal as Python rounds; None for NaN."""
    return [None if value != value else round(value, _DECIMALS) for value in values.tolist()]


def as_spans(starts: Ints, ends: Ints, scores: Sequence[float | None], offsets: Ints) -> pa.ListArray:
    """list<struct<start, end, score>> [texts] of lines; starts and ends in code points of their text."""
    columns = [pa.array(starts, pa.int32()), pa.array(ends, pa.int32()), pa.array(scores, pa.float64())]
    spans = pa.StructArray.from_arrays(columns, fields=list(LINES.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), spans, type=LINES)


@dataclasses.dataclass(frozen=True)
class Perplexity:
    """Perplexity of documents and of their lines.

    path, normalise, pieces: see LanguageModel.  sentence: whether each line is a sentence of the model (lines
    without a token are left out) or the document is one.  limits: perplexities below which a document is head,
    and middle; None: those that the model file keeps.  languages: codes of the documents that the model is for;
    None: all.  kinds: kinds of documents that are scored; those without kind always are.
    """

    path: str
    normalise: str | None = None
    pieces: str | None = None
    sentence: str = "line"
    limits: tuple[float, float] | None = None
    languages: tuple[str, ...] | None = None
    kinds: tuple[str, ...] = PROSE_KINDS
    model: LanguageModel = dataclasses.field(init=False, repr=False)

    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.sentence not in SENTENCES:
            raise ValueError(f"perplexity: sentence {self.sentence!r}; {' or '.join(SENTENCES)}")
        model = LanguageModel(self.path, self.normalise, self.pieces)
        object.__setattr__(self, "path", model.path)
        object.__setattr__(self, "model", model)
        limits = model.limits if self.limits is None else tuple(map(float, self.limits))
        if limits is not None and (len(limits) != 2 or not 0 <= limits[0] <= limits[1]):
            raise ValueError(f"perplexity: limits {self.limits}; two perplexities, the lower one first")
        object.__setattr__(self, "limits", limits)

    @property
    def name(self) -> str:
        return f"perplexity@{self.model.sha256[:NAME_DIGITS]}"

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        if self.languages is not None:
            of_language = np.array([language in self.languages for language in texts.column("language")], bool)
            rows = texts.rows.copy()
            rows[rows] = of_language
            texts = TextBatch(shared.batch, rows) if not of_language.all() else texts
        lines = texts.view(split_lines)
        counts: npt.NDArray[Any]
        ends: npt.NDArray[Any]
        if self.sentence == "line":
            scores, tokens = self.model.score(texts.points, lines.starts, lines.ends)
            per_line = rounded(perplexities(scores, tokens, np.ones(len(tokens), np.int64)))
            total, counts, ends = (sums(values, lines.counts) for values in (scores, tokens, tokens > 0))
            first = np.repeat(texts.offsets[:-1], lines.counts)
            spans = as_spans(lines.starts - first, lines.ends - first, per_line, lines.offsets)
        else:
            total, counts = self.model.score(texts.points, texts.offsets[:-1], texts.offsets[1:])
            ends = np.ones(len(texts), np.int64)
            spans = pa.nulls(len(texts), LINES)
        per_text = rounded(perplexities(total, counts, ends))
        columns = [
            pa.array(per_text, pa.float64()),
            pa.array(total, mask=counts == 0),
            pa.array(counts.astype(np.int64)),
            spans,
            pa.array([bucket(value, self.limits) for value in per_text], pa.string()),
        ]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=SCHEMA)
