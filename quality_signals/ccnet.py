"""What cc_net says of a document (`ccnet@1`): paragraph hashes, its own repeated paragraphs, language, perplexity.

Reference: facebookresearch/cc_net @ bda555b; cc_net/mine.py gives the order: paragraphs are dropped first, and
language and perplexity are those of the text that is left.  Here only paragraphs that the document itself repeats
are dropped (as edits); those that other documents have too are found from `paragraph_hashes` of all of them, see
`ccnet_paragraphs`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.ccnet_paragraphs import Hashes, first_of_text, paragraph_hashes
from quality_signals.edits import edits_column, edits_field
from quality_signals.language import ccnet_language, known_languages
from quality_signals.line_views import Lines, split_lines
from quality_signals.ngram_model import perplexities, sums
from quality_signals.perplexity import LanguageModel, bucket, rounded
from quality_signals.text_batch import SharedTexts, TextBatch

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint32]

# cc_net @ bda555b, cc_net/data/cutoff.csv, percentiles 30 and 60 of cc_net's own models.
CUTOFFS: Mapping[str, tuple[float, float]] = {
    "en": (340.0, 520.0),
    "fr": (180.0, 330.0),
    "de": (370.0, 590.0),
    "es": (180.0, 290.0),
    "it": (220.0, 360.0),
}
ALL = "*"  # in place of a language: every language
REPEATED = "repeated_paragraph"

SCHEMA = pa.schema(
    [
        field("paragraph_hashes", pa.list_(pa.uint64()), "of every line, after cc_net's normalisation"),
        field("language", pa.string(), "of the text that is left, newlines removed; null below a score of 0.5"),
        field("language_score", pa.float64(), "its probability, to 2 decimals", "1"),
        field("length", pa.int64(), "characters of the text that is left", "code point"),
        field("nlines", pa.int64(), "lines of the text that is left", "1"),
        field("original_length", pa.int64(), "characters of the text", "code point"),
        field("original_nlines", pa.int64(), "lines of the text", "1"),
        field("perplexity", pa.float64(), "of the text that is left; null without a model of its language"),
        field("bucket", pa.string(), "head, middle or tail; all without perplexity or limits"),
        edits_field("paragraphs that the document has before"),
    ]
)


@dataclasses.dataclass(frozen=True)
class CcNet:
    """cc_net's columns.

    model: a language model for all languages, or one for each (code -> path); see perplexity.LanguageModel.
    pieces: SentencePiece models, likewise.  A file of another program is read as cc_net reads its models: the
    whole document is one sentence, normalised; a model file of fit_ngram as it was fitted: a sentence a line.
    limits: code -> perplexities below which a document is head, and middle; what is not named there has the
    model file's own limits, and for files of others those of cc_net's models (`CUTOFFS`).
    identify: whether language is found; without, models are chosen by the documents' column `language`, and the
    column here is null.
    """

    model: str | Mapping[str, str] | None = None
    pieces: str | Mapping[str, str] | None = None
    limits: Mapping[str, tuple[float, float]] | None = None
    identify: bool = True
    kinds: tuple[str, ...] = PROSE_KINDS
    models: tuple[tuple[str, LanguageModel], ...] = dataclasses.field(init=False, repr=False)

    name: ClassVar[str] = "ccnet@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        paths, pieces = _by_language(self.model), _by_language(self.pieces)
        for language in pieces:
            if language not in paths:
                raise ValueError(f"ccnet@1: pieces for {language!r}, but no model")
        if self.identify:
            for language in sorted({*paths, *(self.limits or {})} - {ALL}):
                if language not in known_languages():
                    raise ValueError(
                        f"ccnet@1: {language!r} is no language that is identified; "
                        f"allowed are the model's ISO 639 codes, such as en, de, zh"
                    )
        found = []
        for language, path in sorted(paths.items()):
            model = LanguageModel(path, None, pieces.get(language))
            if model.format != "own":
                model = LanguageModel(path, "ccnet", pieces.get(language))
            found.append((language, model))
        object.__setattr__(self, "models", tuple(found))
        for language, pair in (self.limits or {}).items():
            if len(pair) != 2 or not 0 <= pair[0] <= pair[1]:
                raise ValueError(f"ccnet@1: limits of {language!r}: {pair}; two perplexities, the lower one first")

    def _limits(self, language: str, model: LanguageModel) -> tuple[float, float] | None:
        if self.limits is not None and language in self.limits:
            head, middle = self.limits[language]
            return float(head), float(middle)
        return model.limits if model.format == "own" else CUTOFFS.get(language)

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        lines = texts.view(split_lines)
        hashes = texts.view(paragraph_hashes)
        empty = texts.lengths == 0
        kept = first_of_text(hashes, lines.offsets)
        points, offsets = _left(texts, lines, kept)
        original_lines = np.where(empty, 0, lines.counts)
        kept_lines = np.where(empty, 0, sums(kept, lines.counts).astype(np.int64))
        languages: list[str | None] = [None] * len(texts)
        scores: list[float | None] = [None] * len(texts)
        if self.identify:
            joined = points.tobytes().decode("utf-32-le", "surrogatepass")
            bounds = offsets.tolist()
            for i, (a, b) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
                languages[i], scores[i] = ccnet_language(joined[a:b])
        chosen = languages if self.identify else texts.column("language")
        perplexity, buckets = self._perplexities(texts, lines, kept, points, offsets, chosen)
        columns = [
            _hash_lists(hashes, lines, empty),
            pa.array(languages, pa.string()),
            pa.array(scores, pa.float64()),
            pa.array(np.diff(offsets)),
            pa.array(kept_lines),
            pa.array(texts.lengths),
            pa.array(original_lines),
            pa.array(perplexity, pa.float64()),
            pa.array(buckets, pa.string()),
            _edits(texts, lines, kept),
        ]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=SCHEMA)

    def _perplexities(
        self,
        texts: TextBatch,
        lines: Lines,
        kept: Bools,
        points: Points,
        offsets: Ints,
        languages: list[str | None],
    ) -> tuple[list[float | None], list[str]]:
        perplexity: list[float | None] = [None] * len(texts)
        buckets = ["all"] * len(texts)
        known = dict(self.models)
        counts: npt.NDArray[Any]
        for language, model in self.models:
            mine = np.array([self._model_of(known, code) == language for code in languages], bool)
            if not mine.any():
                continue
            if model.format == "own":
                of_mine = kept & np.repeat(mine, lines.counts)
                line_scores, tokens = model.score(texts.points, lines.starts[of_mine], lines.ends[of_mine])
                sizes = sums(of_mine, lines.counts).astype(np.int64)[mine]
                total, counts, ends = (sums(values, sizes) for values in (line_scores, tokens, tokens > 0))
            else:
                total, counts = model.score(points, offsets[:-1][mine], offsets[1:][mine])
                ends = np.ones(len(total))
            for i, value in zip(np.flatnonzero(mine).tolist(), rounded(perplexities(total, counts, ends)), strict=True):
                perplexity[i] = value
                buckets[i] = bucket(value, self._limits(languages[i] or "", model))
        return perplexity, buckets

    @staticmethod
    def _model_of(known: Mapping[str, LanguageModel], language: str | None) -> str | None:
        if language is None:
            return None  # cc_net scores documents of a known language only
        return language if language in known else ALL


def _by_language(paths: str | os.PathLike[str] | Mapping[str, str] | None) -> dict[str, str]:
    if paths is None:
        return {}
    return dict(paths) if isinstance(paths, Mapping) else {ALL: os.fspath(paths)}


def _left(texts: TextBatch, lines: Lines, kept: Bools) -> tuple[Points, Ints]:
    """The texts without the lines that are not kept, each with the newline before it."""
    if kept.all():
        return texts.points, texts.offsets
    change = np.zeros(len(texts.points) + 1, np.int64)
    np.add.at(change, lines.starts[~kept] - 1, 1)
    np.add.at(change, lines.ends[~kept], -1)
    stays = np.cumsum(change)[:-1] == 0
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(stays)])
    return texts.points[stays], before[texts.offsets]


def _hash_lists(hashes: Hashes, lines: Lines, empty: Bools) -> pa.ListArray:
    """An empty text has no paragraph."""
    of_empty = np.repeat(empty, lines.counts)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(empty, 0, lines.counts))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(hashes[~of_empty]))


def _edits(texts: TextBatch, lines: Lines, kept: Bools) -> pa.ListArray:
    dropped = np.flatnonzero(~kept)  # never the first line of a text
    first = np.repeat(texts.offsets[:-1], lines.counts)[dropped]
    sizes = sums(~kept, lines.counts).astype(np.int64)
    nothing = np.zeros(len(dropped), np.int64)
    return edits_column(
        lines.starts[dropped] - 1 - first,
        lines.ends[dropped] - first,
        nothing,
        nothing,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        rule_names=[REPEATED],
    )
