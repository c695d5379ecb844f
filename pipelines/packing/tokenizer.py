"""Tokenisers of packed samples: bytes, or a tokenizer.json of Hugging Face's `tokenizers`."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eval_models import vocabulary
from pipelines import storage
from pipelines.errors import UsageError

BYTES = "bytes"
# How tokenisers spell the end of a document, the usual ones first.
_END_OF_DOCUMENT = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<EOS>", "[SEP]")
# Spellings of the marks of fill-in-the-middle: StarCoder's and those of others that follow it.
FIM_MARKS = ("prefix", "middle", "suffix")
_FIM = {
    mark: (f"<fim_{mark}>", f"<fim-{mark}>", f"<|fim_{mark}|>", f"<|fim▁{mark}|>") for mark in FIM_MARKS
}  # fmt: skip
_CACHED_FILES = 4
# A text is tokenised in pieces of at most this many characters: `tokenizers` needs some 100 bytes a token.
_PIECE_CHARS = 1 << 20


class Tokenizer(Protocol):
    """Text -> numbers of tokens."""

    @property
    def end(self) -> int:
        """The end-of-document token; it is the padding, too."""

    @property
    def dtype(self) -> np.dtype:
        """uint16 where the vocabulary has at most 65,536 tokens, else uint32."""

    def encode(self, texts: Sequence[str], specials: bool = False) -> list[npt.NDArray[Any]]:
        """[texts] numbers of the tokens of each, without an end of document.

        specials: whether what is spelt as a special token becomes one; else it is text, and nothing in a document can
        end it.
        """

    def mark(self, name: str) -> int:
        """The token `prefix`, `middle` or `suffix` of fill-in-the-middle; raises UsageError where there is none."""

    def describe(self) -> dict[str, Any]:
        """For manifests: name, sha256 of the file, size of the vocabulary, version of the library."""


@dataclasses.dataclass(frozen=True)
class ByteTokenizer:
    """UTF-8 bytes, as the proxies read them (`eval_models.vocabulary`)."""

    end: int = vocabulary.END_OF_DOCUMENT
    dtype: np.dtype = dataclasses.field(default_factory=lambda: np.dtype(np.uint16))

    def encode(self, texts: Sequence[str], specials: bool = False) -> list[npt.NDArray[Any]]:
        return [np.frombuffer(text.encode(), np.uint8).astype(self.dtype) for text in texts]

    def mark(self, name: str) -> int:
        marks = {
            "prefix": vocabulary.FIM_PREFIX,
            "middle": vocabulary.FIM_MIDDLE,
            "suffix": vocabulary.FIM_SUFFIX,
        }
        return marks[name]

    def describe(self) -> dict[str, Any]:
        return {"name": BYTES, "sha256": None, "vocabulary": vocabulary.VOCABULARY_SIZE}


class FileTokenizer:
    """A tokenizer.json.  Raises UsageError for a file that is none, or that has no end of document."""

    def __init__(self, path: str) -> None:
        try:
            from tokenizers import Tokenizer as Parsed
        except ImportError:
            raise UsageError(f"tokenizer {path}: install gristmill[tokenizers]") from None
        self._path = path
        data = storage.read_bytes(path)
        try:
            self._parsed = Parsed.from_buffer(data)
        except Exception as error:  # `tokenizers` raises nothing more precise
            raise UsageError(f"tokenizer {path}: no tokenizer.json of `tokenizers`: {error}") from None
        # The file may ask for texts of one length, or cut them; documents are neither padded nor cut.
        self._parsed.no_padding()
        self._parsed.no_truncation()
        self._sha256 = storage.file_sha256(path)
        self._size = 1 + max(self._parsed.get_vocab(with_added_tokens=True).values(), default=0)
        self.end = self._known("end-of-document", _END_OF_DOCUMENT)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint16 if self._size <= 1 << 16 else np.uint32)

    def _known(self, what: str, spellings: Sequence[str]) -> int:
        for spelling in spellings:
            number = self._parsed.token_to_id(spelling)
            if number is not None:
                return int(number)
        raise UsageError(f"tokenizer {self._path} has no {what} token; known spellings: {', '.join(spellings)}")

    def encode(self, texts: Sequence[str], specials: bool = False) -> list[npt.NDArray[Any]]:
        self._parsed.encode_special_tokens = not specials
        return [self._encode_long(text) if len(text) > _PIECE_CHARS else self._encode(text) for text in texts]

    def _encode(self, text: str) -> npt.NDArray[Any]:
        # The fast one keeps no offsets: a third less time for the same numbers.
        (found,) = self._parsed.encode_batch_fast([text], add_special_tokens=False)
        return np.array(found.ids, self.dtype)

    def _encode_long(self, text: str) -> npt.NDArray[Any]:
        return np.concatenate([self._encode(piece) for piece in line_pieces(text)])

    def mark(self, name: str) -> int:
        return self._known(name, _FIM[name])

    def describe(self) -> dict[str, Any]:
        import tokenizers

        return {
            "name": self._path.rstrip("/").rpartition("/")[2],
            "sha256": self._sha256,
            "vocabulary": self._size,
            "tokenizers": tokenizers.__version__,
        }


def line_pieces(text: str, limit: int = _PIECE_CHARS) -> Iterator[str]:
    """The text in pieces of at most `limit` characters, cut behind a newline where there is one."""
    at = 0
    while len(text) - at > limit:
        stop = text.rfind("\n", at, at + limit) + 1 or at + limit
        yield text[at:stop]
        at = stop
    yield text[at:]


@functools.lru_cache(maxsize=_CACHED_FILES)
def open_tokenizer(name: str) -> Tokenizer:
    """`bytes`, or a path; one of each in a process.  Raises UsageError with what is allowed."""
    if name == BYTES:
        return ByteTokenizer()
    if not storage.exists(name):
        raise UsageError(f"tokenizer {name}: no such file; allowed: bytes, or a tokenizer.json")
    try:
        return FileTokenizer(name)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"tokenizer {name}: {error}") from None


def marks_of(tokenizer: Tokenizer) -> Mapping[str, int]:
    """The tokens of fill-in-the-middle by name."""
    return {mark: tokenizer.mark(mark) for mark in FIM_MARKS}
