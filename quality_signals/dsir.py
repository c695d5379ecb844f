"""DSIR: hashed n-gram features, and importance weights by them.

    score = sum over features of count * (ln(p_target + 1e-8) - ln(p_source + 1e-8)),    p = counts / their sum

Formulas and rounding of togethercomputer/RedPajama-Data @ 6d2cee9, app/src/core/quality_signals/
importance_weights.py.  The score is not divided by the length: a longer document has a larger magnitude.

Length correction: + ln(Poisson(L; lambda_target) + 1e-8) - ln(Poisson(L; lambda_source) + 1e-8).  lambda is a mean
number of WordPunct words, but the reference's L is the number of characters, for which both probabilities nearly
always underflow; `..._length_correction` is that, `..._length_correction_words` has L in words.

Annotators: `DsirFeatures` (dsir_features@rpv2), `DsirImportance` (dsir@<hash of the model>) and
`RedPajamaImportance` (rps_importance@1).  Models are fitted by `dsir_fit`.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.compiled import njit
from quality_signals.dsir_features import SCHEMES, Features, Scheme, hash_features
from quality_signals.dsir_fit import (
    KIND,
    SOURCE_COUNTS,
    TARGET_COUNTS,
    count_domain,
    fit,
    import_redpajama,
    write_importance,
)
from quality_signals.dsir_spans import document_spans, rounded
from quality_signals.model_files import NAME_DIGITS, ModelFile, ModelFileError, open_model
from quality_signals.rpv2 import SPANS
from quality_signals.text_batch import SharedTexts, TextBatch

__all__ = [
    "DsirFeatures",
    "DsirImportance",
    "ImportanceModel",
    "RedPajamaImportance",
    "count_domain",
    "fit",
    "import_redpajama",
    "open_importance",
    "write_importance",
]

Floats = npt.NDArray[np.float64]
_SMOOTHING = 1e-8  # importance_weights.py: added to every probability before its logarithm


@njit(error_model="numpy")
def _weighted(buckets, counts, offsets, weights, found):  # type: ignore[no-untyped-def]
    """found[text] = sum of counts * weights, with Neumaier's compensation: right to about the last bit,
    where the reference's depends on its BLAS."""
    for text in range(len(offsets) - 1):
        total = 0.0
        lost = 0.0
        for i in range(offsets[text], offsets[text + 1]):
            term = counts[i] * weights[buckets[i]]
            after = total + term
            if abs(total) >= abs(term):
                lost += (total - after) + term
            else:
                lost += (term - after) + total
            total = after
        found[text] = total + lost


@njit(error_model="numpy")
def _log_poisson(length, mean):  # type: ignore[no-untyped-def]
    """ln(Poisson(length; mean) + 1e-8), the probability computed as scipy.stats does."""
    if mean == 0.0:
        probability = 1.0 if length == 0 else 0.0
    else:
        log = length * math.log(mean) if length else 0.0
        probability = math.exp(log - math.lgamma(length + 1.0) - mean)
    return math.log(probability + _SMOOTHING)


@njit(error_model="numpy")
def _length_terms(lengths, target_mean, source_mean, found):  # type: ignore[no-untyped-def]
    for i in range(len(lengths)):
        length = np.float64(lengths[i])
        found[i] = _log_poisson(length, target_mean) - _log_poisson(length, source_mean)


@dataclasses.dataclass(frozen=True, slots=True)
class ImportanceModel:
    """An opened model of kind 'dsir'."""

    file: ModelFile
    features: Scheme
    language: str | None
    weights: Floats  # [buckets]
    target_mean: float | None  # WordPunct words a document
    source_mean: float | None

    def scores(self, texts: TextBatch) -> tuple[Floats, Floats, Floats]:
        """importance, with the length correction as released, and with the one in words: [texts] each, rounded to
        8 decimals; NaN for an empty text, corrections also where the model has no mean lengths."""
        found: Features = texts.view(hash_features, self.features, len(self.weights))
        plain = np.empty(len(texts))
        _weighted(found.buckets, found.counts, found.offsets, self.weights, plain)
        plain[texts.lengths == 0] = np.nan
        if self.target_mean is None or self.source_mean is None:
            nothing = np.full(len(texts), np.nan)
            return rounded(plain), nothing, nothing
        by_characters, by_words = np.empty(len(texts)), np.empty(len(texts))
        _length_terms(texts.lengths, self.target_mean, self.source_mean, by_characters)
        _length_terms(found.words, self.target_mean, self.source_mean, by_words)
        return rounded(plain), rounded(plain + by_characters), rounded(plain + by_words)


def _counts(file: ModelFile, member: str, buckets: object) -> npt.NDArray[np.int64]:
    try:
        counts = np.load(io.BytesIO(file.read(member)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ModelFileError(f"{file.path}: {member} is no array ({error})") from error
    if (
        counts.dtype != np.int64
        or counts.shape != (buckets,)
        or not len(counts)
        or counts.min() < 0
        or not counts.sum()
    ):
        raise ModelFileError(
            f"{file.path}: {member} holds {counts.dtype} {list(counts.shape)}, not the counts of {buckets} buckets"
        )
    return counts


def _mean_words(file: ModelFile, end: str) -> float | None:
    summary = file.manifest.get(end)
    value = summary.get("mean_words") if isinstance(summary, dict) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ModelFileError(f"{file.path}: mean_words of the {end} is {value!r}, not a number from 0")
    return float(value)


def _log_probabilities(counts: npt.NDArray[np.int64]) -> Floats:
    # math.log, since numpy's differs in the last bit from machine to machine.
    total = int(counts.sum())
    return np.array([math.log(count / total + _SMOOTHING) for count in counts.tolist()])


@lru_cache(maxsize=16)
def _model(path: str, sha256: str) -> ImportanceModel:
    file = open_model(path, KIND)
    if file.sha256 != sha256:
        raise ModelFileError(f"{path}: was changed: {KIND}@{sha256[:NAME_DIGITS]} was asked for, it is {file.name}")
    features = file.manifest.get("features")
    if features not in SCHEMES:
        raise ModelFileError(f"{path}: was fitted with features {features!r}; known are {' and '.join(SCHEMES)}")
    language = file.manifest.get("language")
    if language is not None and not isinstance(language, str):
        raise ModelFileError(f"{path}: its language is {language!r}, not a code such as 'en'")
    buckets = file.manifest.get("buckets")
    target, source = (_counts(file, member, buckets) for member in (TARGET_COUNTS, SOURCE_COUNTS))
    return ImportanceModel(
        file=file,
        features=features,
        language=language,
        weights=_log_probabilities(target) - _log_probabilities(source),
        target_mean=_mean_words(file, "target"),
        source_mean=_mean_words(file, "source"),
    )


def open_importance(path: str | os.PathLike[str], features: Scheme | None = None) -> ImportanceModel:
    """The model at `path`, read once a process.  ModelFileError names the file if it is missing, damaged, of another
    kind, or was fitted with other features than asked for."""
    model = _model(os.fspath(path), open_model(path, KIND).sha256)
    if features is not None and model.features != features:
        raise ModelFileError(f"{path}: was fitted with features {model.features!r}, needed are {features!r}")
    return model


@dataclasses.dataclass(frozen=True)
class DsirFeatures:
    """Annotator: the non-zero hash features of RedPajama-V2 with its 10,000 buckets.

    kinds: the kinds of documents that are computed, None for all (those without kind always are); the columns of
    others are null.  An empty text has empty lists.
    """

    kinds: tuple[str, ...] | None = PROSE_KINDS

    name: ClassVar[str] = "dsir_features@rpv2"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            field("buckets", pa.list_(pa.int32()), "buckets that are met, ascending"),
            field("counts", pa.list_(pa.int64()), "how often each of them is met"),
        ]
    )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        found: Features = texts.view(hash_features)
        offsets = pa.array(found.offsets.astype(np.int32))
        columns = [
            texts.scatter(pa.ListArray.from_arrays(offsets, pa.array(values)))
            for values in (found.buckets, found.counts)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


@dataclasses.dataclass(frozen=True)
class DsirImportance:
    """Annotator: importance of each document by a model of kind 'dsir'.

    path: the model file.  signal: name of the first column and beginning of the others' names.  features: what the
    model must have been fitted with ('rpv2' or 'dsir'); None takes what it has.  kinds: as in `DsirFeatures`.
    Null for an empty text.  ModelFileError at construction if the file is not such a model.
    """

    path: str
    signal: str = "importance"
    features: Scheme | None = None
    kinds: tuple[str, ...] | None = PROSE_KINDS
    sha256: str = dataclasses.field(init=False)  # of the model file: a copy in another process reads the same model

    def __post_init__(self) -> None:
        if not self.signal.isidentifier():
            raise ValueError(f"signal {self.signal!r} is not a name for columns: letters, digits and _")
        if self.features is not None and self.features not in SCHEMES:
            raise ValueError(f"features {self.features!r} are unknown: {' or '.join(SCHEMES)}")
        object.__setattr__(self, "path", os.fspath(self.path))
        object.__setattr__(self, "sha256", open_importance(self.path, self.features).file.sha256)

    @property
    def name(self) -> str:
        return f"{KIND}@{self.sha256[:NAME_DIGITS]}"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                field(self.signal, pa.float64(), "log-likelihood ratio of target to source", "nat"),
                field(f"{self.signal}_length_correction", pa.float64(), "corrected as released", "nat"),
                field(f"{self.signal}_length_correction_words", pa.float64(), "corrected by words", "nat"),
            ]
        )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        columns = [
            texts.scatter(pa.array(values, mask=np.isnan(values)))
            for values in _model(self.path, self.sha256).scores(texts)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


DOMAINS = ("wikipedia", "books", "openwebtext")
_EVERY_LANGUAGE = ("wikipedia",)  # the others have models for English only
_DOMAIN_NAMES = {"wikipedia": "Wikipedia", "books": "books", "openwebtext": "OpenWebText"}


def _redpajama_schema() -> pa.Schema:
    fields = []
    for domain in DOMAINS:
        text = f"log-likelihood ratio of {_DOMAIN_NAMES[domain]} to the web"
        fields.append(field(f"rps_doc_{domain}_importance", SPANS, text, "nat"))
        fields.append(field(f"rps_doc_{domain}_importance_length_correction", SPANS, f"{text}, corrected", "nat"))
    return pa.schema(fields)


@dataclasses.dataclass(frozen=True)
class RedPajamaImportance:
    """Annotator: the importance weights of RedPajama-V2 under its names, each a list of one span over the text.

    wikipedia: a model file (features 'rpv2'), or {language: model file}; books, openwebtext: a model file for
    English.  A model whose manifest names a language scores documents of that language; one that names none those
    of `default_language`, which is also the language of documents whose own is null.  The score is null in an empty
    text, in another language and without a model, as in the reference.  kinds: as in `DsirFeatures`.
    """

    wikipedia: str | Mapping[str, str] | None = None
    books: str | None = None
    openwebtext: str | None = None
    default_language: str = "en"
    kinds: tuple[str, ...] | None = PROSE_KINDS
    models: tuple[tuple[str, str, str, str], ...] = dataclasses.field(init=False, repr=False)
    """(domain, language, path, sha256)"""

    name: ClassVar[str] = "rps_importance@1"
    schema: ClassVar[pa.Schema] = _redpajama_schema()

    def __post_init__(self) -> None:
        models: dict[tuple[str, str], tuple[str, str]] = {}
        for domain in DOMAINS:
            given: Any = getattr(self, domain)
            if given is None:
                continue
            pairs = given.items() if isinstance(given, Mapping) else [(None, given)]
            for wanted, path in pairs:
                path = os.fspath(path)
                model = open_importance(path, "rpv2")
                language = wanted or model.language or self.default_language
                if model.language not in (None, language):
                    raise ModelFileError(f"{path}: is a model of language {model.language!r}, given for {wanted!r}")
                if domain not in _EVERY_LANGUAGE and language != "en":
                    raise ModelFileError(f"{path}: {domain} has a model for English only, this one is of {language!r}")
                models[domain, language] = (path, model.file.sha256)
        object.__setattr__(self, "models", tuple((*key, *value) for key, value in models.items()))

    def __hash__(self) -> int:
        return hash((self.models, self.default_language, self.kinds))

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        languages = np.array(texts.languages(self.default_language), object)
        found = {name: np.full(len(texts), np.nan) for name in self.schema.names}
        for domain, language, path, sha256 in self.models:
            rows = languages == language
            if not rows.any():
                continue
            plain, corrected, _ = _model(path, sha256).scores(texts)
            found[f"rps_doc_{domain}_importance"][rows] = plain[rows]
            found[f"rps_doc_{domain}_importance_length_correction"][rows] = corrected[rows]
        columns = [texts.scatter(document_spans(texts.lengths, found[name])) for name in self.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
