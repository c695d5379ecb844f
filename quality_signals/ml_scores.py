"""Learned quality scores of RedPajama-V2: `rps_doc_ml_wikiref_score`, `..._palm_score`, `..._wikipedia_score`.

Reference: togethercomputer/RedPajama-Data @ 6d2cee9, app/src/core/quality_signals/classifiers.py and
app/src/artifacts/ft_trainer.py.  A fastText classifier reads the text as one line; the score is the probability of
the most likely label, or one minus it where that label is `__label__cc`.

The models are not part of this package.  Three kinds of file are taken: fastText's `.bin` and `.ftz`, and a model of
kind 'classifier' with such a file in it.  `PALM` and `WIKIPEDIA` are the training recipes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import mmap
import os
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.dsir_spans import document_spans, rounded
from quality_signals.model_files import NAME_DIGITS, ModelFileError, open_model
from quality_signals.rpv2 import SPANS
from quality_signals.text_batch import SharedTexts

SIGNALS = {
    "rps_doc_ml_wikiref_score": "probability that the text is a page which Wikipedia refers to",
    "rps_doc_ml_palm_score": "probability that the text is of Wikipedia, a book or OpenWebText",
    "rps_doc_ml_wikipedia_score": "probability that the text is of Wikipedia",
}
_ENGLISH_ONLY = ("rps_doc_ml_wikiref_score", "rps_doc_ml_palm_score")
CC_LABEL = "__label__cc"  # app/src/core/constants.py, CCNET_LABEL
_PREFIX = "__label__"
CLASSIFIER_KIND = "classifier"
_MEMBERS = ("model.bin", "model.ftz")


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """How a classifier of RedPajama-V2 was trained: fastText's supervised mode with its defaults.

    Each domain gives samples // len(domains) documents; the source as many as all domains together gave.
    """

    label: str  # of the positive class
    domains: tuple[str, ...]
    samples: int = 75_000  # of a class: CLASSIFIERS_NUM_SAMPLES of configs/rp_v2.0.conf
    source: str = "ccnet"
    source_label: str = CC_LABEL
    # fastText's defaults for supervised training (src/args.cc).
    dim: int = 100
    epochs: int = 5
    learning_rate: float = 0.1
    word_ngrams: int = 1
    min_count: int = 1
    loss: str = "softmax"

    def texts(self, domains: Sequence[Iterable[str]], source: Iterable[str]) -> tuple[Iterator[str], Iterator[str]]:
        """Positives and negatives, prepared; read the positives to their end first: their number is the negatives'.

        domains: the corpora named by `self.domains`, shuffled, since the first documents are taken.
        """
        if len(domains) != len(self.domains):
            raise ValueError(
                f"{len(self.domains)} domains make this class ({', '.join(self.domains)}), not {len(domains)}"
            )
        each = self.samples // len(domains)
        given = 0

        def positives() -> Iterator[str]:
            nonlocal given
            for corpus in domains:
                for text in itertools.islice(corpus, each):
                    given += 1
                    yield prepared(text)

        def negatives() -> Iterator[str]:
            for text in itertools.islice(source, given):
                yield prepared(text)

        return positives(), negatives()


PALM = TrainingRecipe("__label__palm", ("wikipedia", "books", "openwebtext"))  # English
WIKIPEDIA = TrainingRecipe("__label__wikipedia", ("wikipedia",))  # other languages


def prepared(text: str) -> str:
    """One line as the classifiers read it: lines of str.splitlines joined by a space, ends stripped."""
    return " ".join(text.splitlines()).strip()


_MAGIC, _VERSIONS, _SUPERVISED = 793712314, (11, 12), 3  # fastText, src/fasttext.cc and src/args.h
_ENTRY_TAIL = 9  # after a word and its 0: count (int64), type (int8)
_LABEL_TYPE = 1
_CENTROIDS = 256  # of a sub-quantiser, src/productquantizer.h


class _Reader:
    """A fastText file from front to back; struct.error past its end."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.at = 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return found

    def skip(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a part of {size} bytes")
        self.at += size

    def entry(self) -> tuple[bytes, int]:
        """A word of the dictionary and its type."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise ValueError("its dictionary has no end")
        word = self.data[self.at : end]
        self.at = end + 1
        return word, self.numbers("qb")[1]

    def quantiser(self) -> None:
        dim, _, _, _ = self.numbers("4i")
        self.skip(4 * dim * _CENTROIDS)

    def matrix(self, quantised: bool) -> None:
        if not quantised:
            rows, columns = self.numbers("qq")
            self.skip(4 * rows * columns)
            return
        norms, rows, _, codes = self.numbers("?qqi")
        self.skip(codes)
        self.quantiser()
        if norms:
            self.skip(rows)
            self.quantiser()


def fasttext_labels(data: Any, path: str) -> tuple[str, ...]:
    """Labels of a supervised fastText model, the most frequent first; data: bytes or a map of the whole file.

    ModelFileError names `path` if it is no such model or has not the size that its parts need.
    """
    reader = _Reader(data)
    try:
        magic, version = reader.numbers("ii")
        if magic != _MAGIC or version not in _VERSIONS:
            raise ModelFileError(f"{path}: not a fastText model, nor a model file of gristmill")
        settings = reader.numbers("12id")
        if settings[7] != _SUPERVISED:
            raise ModelFileError(f"{path}: a fastText model of word vectors, not a classifier")
        size, _, labels, _, pruned = reader.numbers("3i2q")
        entries = [reader.entry() for _ in range(size)]
        reader.skip(8 * max(pruned, 0))
        (quantised,) = reader.numbers("?")
        reader.matrix(quantised)
        (quantised_output,) = reader.numbers("?")
        reader.matrix(quantised and quantised_output)
    except (struct.error, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: the fastText model is cut short or damaged ({error})") from error
    if reader.at != len(data):
        raise ModelFileError(f"{path}: the fastText model is cut short or damaged: {len(data)} bytes, not {reader.at}")
    found = tuple(word.decode("utf-8", "replace") for word, kind in entries if kind == _LABEL_TYPE)
    if len(found) != labels or not found:
        raise ModelFileError(f"{path}: the fastText model is damaged: {labels} labels announced, {len(found)} found")
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class FastTextFile:
    """A checked file: its hash, labels, and the negative label that its manifest names, if any."""

    path: str
    sha256: str
    labels: tuple[str, ...]
    member: str | None  # of a model file of kind 'classifier'
    negative: str | None = None


def open_fasttext(path: str | os.PathLike[str]) -> FastTextFile:
    """Checks a .bin or .ftz file, or a model file of kind 'classifier', without loading its matrices."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ModelFileError(f"{path}: no fastText model there ({error.strerror})") from error
    return _opened(os.fspath(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _opened(path: str, mtime_ns: int, size: int) -> FastTextFile:
    try:
        if zipfile.is_zipfile(path):
            return _opened_archive(path)
        with open(path, "rb") as file:
            if not size:
                raise ModelFileError(f"{path}: is empty, not a fastText model")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return FastTextFile(path, digest, fasttext_labels(data, path), None)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error


def _opened_archive(path: str) -> FastTextFile:
    model = open_model(path, CLASSIFIER_KIND)
    with zipfile.ZipFile(path) as archive:
        members = [name for name in _MEMBERS if name in archive.namelist()]
    if len(members) != 1:
        raise ModelFileError(f"{path}: holds {members or 'none'} of {', '.join(_MEMBERS)}, needed is one")
    labels = fasttext_labels(model.read(members[0]), f"{path} ({members[0]})")
    return FastTextFile(path, model.sha256, labels, members[0], _negative(model.manifest))


def _negative(manifest: Mapping[str, Any]) -> str | None:
    """fastText's label of the second of a fitted classifier's two labels, positive and negative."""
    options = manifest.get("options")
    labels = options.get("labels") if isinstance(options, dict) else None
    if not isinstance(labels, list) or len(labels) != 2 or not isinstance(labels[1], str):
        return None
    return _PREFIX + labels[1].removeprefix(_PREFIX)


@lru_cache(maxsize=8)
def _classifier(path: str, sha256: str) -> Any:
    """The loaded model, once a process."""
    try:
        import fasttext
    except ModuleNotFoundError as missing:
        raise ModelFileError(f"{path}: is run with fasttext: pip install fasttext-predict") from missing
    file = open_fasttext(path)
    if file.sha256 != sha256:
        raise ModelFileError(f"{path}: was changed: sha256 {sha256[:NAME_DIGITS]} was asked for, not {file.sha256}")
    if file.member is None:
        return fasttext.load_model(path)
    with tempfile.TemporaryDirectory() as folder:
        return fasttext.load_model(str(open_model(path, CLASSIFIER_KIND).extract(file.member, folder)))


@dataclasses.dataclass(frozen=True)
class MlScore:
    """Annotator: one of RedPajama-V2's learned scores, a list of one span over the text.

    path: a fastText classifier (.bin, .ftz) or a model file of kind 'classifier'.  signal: the column, one of
    `SIGNALS`.  negative_label: the label whose probability is turned round; None: `__label__cc`, else the one that a
    model file's manifest names.  languages: documents of others have no score; None: English for wikiref and palm,
    all for wikipedia.  default_language: of documents whose language is null.  kinds: the kinds of documents that
    are computed, None for all (those without kind always are); the others are null.

    No score for an empty text; one of white space is classified, as in the reference.  fastText's probability may
    exceed 1 by 1e-5, and a score with it.  ModelFileError at construction if the file is not such a model.
    """

    path: str
    signal: str = "rps_doc_ml_palm_score"
    negative_label: str | None = None
    languages: tuple[str, ...] | None = None
    default_language: str = "en"
    kinds: tuple[str, ...] | None = PROSE_KINDS
    sha256: str = dataclasses.field(init=False)  # of the model file: a copy in another process reads the same model

    family: ClassVar[str] = "ml_score"

    def __post_init__(self) -> None:
        if self.signal not in SIGNALS:
            raise ValueError(f"signal {self.signal!r} is unknown: one of {', '.join(SIGNALS)}")
        object.__setattr__(self, "path", os.fspath(self.path))
        file = open_fasttext(self.path)
        object.__setattr__(self, "sha256", file.sha256)
        if self.languages is None and self.signal in _ENGLISH_ONLY:
            object.__setattr__(self, "languages", ("en",))
        if self.negative_label is None:
            negative = CC_LABEL if CC_LABEL in file.labels else file.negative
            object.__setattr__(self, "negative_label", negative)
        if self.negative_label not in file.labels:
            wanted = CC_LABEL if self.negative_label is None else self.negative_label
            raise ModelFileError(
                f"{self.path}: has the labels {', '.join(file.labels[:5])}, none of them {wanted}: name the negative "
                "one as negative_label"
            )

    @property
    def name(self) -> str:
        return f"{self.family}@{self.sha256[:NAME_DIGITS]}"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([field(self.signal, SPANS, SIGNALS[self.signal], "1")])

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        scores = np.full(len(texts), np.nan)
        model = _classifier(self.path, self.sha256)
        languages = texts.languages(self.default_language)
        for i, (text, language) in enumerate(zip(texts.strings, languages, strict=True)):
            if not text or (self.languages is not None and language not in self.languages):
                continue
            labels, probabilities = model.predict(prepared(text), k=1)
            if labels:  # a model without the end-of-line word has none for a text of unknown words
                probability = float(probabilities[0])
                scores[i] = 1 - probability if labels[0] == self.negative_label else probability
        column = texts.scatter(document_spans(texts.lengths, rounded(scores)))
        return pa.RecordBatch.from_arrays([column], schema=self.schema)
