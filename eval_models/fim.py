"""Fill-in-the-middle: a document is cut in three, and what stood in the middle is written last.

    PSM     <fim_prefix> P <fim_suffix> S <fim_middle> M
    SPM     <fim_suffix> S <fim_prefix> P <fim_middle> M      variant `spm`
    SPM 2   <fim_prefix> <fim_suffix> S <fim_middle> P M      variant `spm2`, StarCoder's

Bavarian et al. 2022 (arXiv:2207.14255, section 3 and appendix D); Li et al. 2023 (arXiv:2305.06161, section 5.1);
Lozhkov et al. 2024 (arXiv:2402.19173, section 5.1).

Two ways to choose.  `fim_document` and `choose` follow from a hash of the document's id and a seed alone, so that they
are the same on any worker and in any order.  `permute` and `permute_sample` draw from a RandomState as the public
training code does (bigcode-project/Megatron-LM @ 7c325cd, megatron/data/gpt_dataset.py) and give its tokens.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_U64 = np.uint64

VARIANTS = ("spm2", "spm")
LEVELS = ("document", "file_sep")
FILE_SEPARATOR = "<file_sep>"
REPOSITORY_NAME = "<repo_name>"
# Share of the documents, and of the files of such a document, that are permuted: both papers.
RATE = 0.5
SPM_RATE = 0.5


class Mark(enum.Enum):
    """A token that stands for no text."""

    PREFIX = "prefix"
    MIDDLE = "middle"
    SUFFIX = "suffix"
    FILE_SEP = "file_sep"


def mix64(x: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit integers that looks random: the finaliser of SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = (x + _U64(0x9E3779B97F4A7C15)).astype(_U64)
        x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
        return x ^ (x >> _U64(31))


def hash_documents(doc_ids: Sequence[str]) -> np.ndarray:
    """64 bits of BLAKE2b of each document id: uint64 [documents]."""
    digests = b"".join(hashlib.blake2b(d.encode(), digest_size=8).digest() for d in doc_ids)
    return np.frombuffer(digests, dtype="<u8").astype(_U64)


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """How a piece is permuted: its middle is [start, stop), and whether the suffix comes first."""

    start: int
    stop: int
    spm: bool


def choose(key: int, length: int, rate: float, spm_rate: float = SPM_RATE) -> Cut | None:
    """The cuts of a piece of `length` units, uniform over 0..length each; None with probability 1 - rate.

    key   64 bits; every choice is a function of it
    """
    draws = mix64(np.array([key], _U64) ^ np.arange(1, 5, dtype=_U64))
    fractions = (draws >> _U64(11)).astype(np.float64) * 2.0**-53
    if not fractions[0] < rate:
        return None
    start, stop = sorted(int(cut) for cut in fractions[2:] * (length + 1))
    return Cut(start, stop, bool(fractions[1] >= 1 - spm_rate))


def arrange(prefix: Any, middle: Any, suffix: Any, *, spm: bool, variant: str = "spm2") -> list[Any]:
    """The three pieces and their marks in the order in which they are written; pieces may be empty."""
    if not spm:
        return [Mark.PREFIX, prefix, Mark.SUFFIX, suffix, Mark.MIDDLE, middle]
    if variant == "spm2":
        return [Mark.PREFIX, Mark.SUFFIX, suffix, Mark.MIDDLE, prefix, middle]
    if variant == "spm":
        return [Mark.SUFFIX, suffix, Mark.PREFIX, prefix, Mark.MIDDLE, middle]
    raise ValueError(f"variant is {variant!r}, allowed are {', '.join(VARIANTS)}")


def fim_document(
    document: str | npt.NDArray[Any],
    doc_id: str,
    *,
    rate: float = RATE,
    spm_rate: float = SPM_RATE,
    variant: str = "spm2",
    level: str = "document",
    seed: int = 0,
    epoch: int = 0,
    file_rate: float | None = None,
    separator: int | str = FILE_SEPARATOR,
    alone: int | str | None = REPOSITORY_NAME,
) -> list[Any] | None:
    """Pieces of the document and `Mark`s in the order in which they are written; None: it stays as it is.

    document    text, cut between characters, or numbers of tokens [tokens], cut between tokens
    rate        chance of a document
    file_rate   level file_sep: chance of each file of a document that has been chosen (None: rate); a document
                without a separator is treated as on the level of documents
    spm_rate    share of what is permuted that is written with the suffix first
    level       document; or file_sep: the files between separators, each for itself, separators kept as marks
    separator   how files are separated: a spelling in texts, a token in numbers
    alone       what begins with this is no file and is never permuted: the name of the repository (the StarCoder2
                report, section 5.1).  Nor is an empty piece
    epoch       of the same document: other choices

    Nothing is lost: without marks, and in the order of the document, the pieces are the document.
    Raises ValueError for a rate, a variant or a level that there is not.
    """
    for name, value in (("rate", rate), ("spm_rate", spm_rate), ("file_rate", file_rate)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, allowed are 0 to 1")
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}, allowed are {', '.join(VARIANTS)}")
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, allowed are {', '.join(LEVELS)}")
    if not rate:
        return None
    stream = mix64(mix64(np.array([seed & (2**64 - 1)], _U64)) ^ _U64(epoch))
    key = mix64(hash_documents([doc_id]) ^ stream)
    files = _split(document, separator) if level == "file_sep" else [document]
    if len(files) == 1:
        cut = choose(int(key[0]), len(document), rate, spm_rate) if len(document) else None
        return None if cut is None else _cut(document, cut, variant)
    # The chance of the document itself has a key of its own, so that it says nothing of the first file.
    if choose(int(key[0]), 0, rate) is None:
        return None
    keys = mix64(key ^ mix64(np.arange(1, len(files) + 1, dtype=_U64)))
    pieces: list[Any] = []
    changed = False
    for number, (file, each) in enumerate(zip(files, keys.tolist(), strict=True)):
        if number:
            pieces.append(Mark.FILE_SEP)
        cut = None
        if len(file) and not _begins(file, alone):
            cut = choose(each, len(file), rate if file_rate is None else file_rate, spm_rate)
        changed |= cut is not None
        pieces += [file] if cut is None else _cut(file, cut, variant)
    return pieces if changed else None


def _cut(document: Any, cut: Cut, variant: str) -> list[Any]:
    parts = document[: cut.start], document[cut.start : cut.stop], document[cut.stop :]
    return arrange(*parts, spm=cut.spm, variant=variant)


def _split(document: Any, separator: int | str) -> list[Any]:
    if isinstance(document, str):
        if not isinstance(separator, str) or not separator:
            raise ValueError(f"separator is {separator!r}; in a text it is a spelling")
        return list(document.split(separator))
    if isinstance(separator, str):
        raise ValueError(f"separator is {separator!r}; among tokens it is a number")
    at = np.flatnonzero(document == separator)
    return [document[start:stop] for start, stop in zip([0, *(at + 1)], [*at, len(document)], strict=True)]


def _begins(file: Any, alone: int | str | None) -> bool:
    if alone is None:
        return False
    if isinstance(file, str):
        return isinstance(alone, str) and file.startswith(alone)
    return not isinstance(alone, str) and int(file[0]) == alone


def tokens_of(
    pieces: Sequence[Any], encode: Callable[[str], npt.NDArray[Any]], marks: Mapping[Mark, int], dtype: Any = np.int64
) -> npt.NDArray[Any]:
    """What `fim_document` gave, as numbers of tokens [tokens]: texts through `encode`, marks by their number."""
    parts: list[Any] = [np.empty(0, dtype)]
    for piece in pieces:
        if isinstance(piece, Mark):
            parts.append(np.array([marks[piece]], dtype))
        elif len(piece):
            parts.append(np.asarray(encode(piece) if isinstance(piece, str) else piece, dtype))
    return np.concatenate(parts)


class Codec(Protocol):
    """A tokeniser as the reference uses it."""

    def tokenize(self, text: str) -> Sequence[int]: ...

    def detokenize(self, tokens: npt.NDArray[Any]) -> str: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of the special tokens."""

    end_of_document: int
    prefix: int
    middle: int
    suffix: int
    pad: int


def permute(
    sample: npt.NDArray[Any],
    rng: np.random.RandomState,
    rate: float,
    spm_rate: float,
    codec: Codec,
    numbers: Numbers,
    *,
    truncate_or_pad: bool = False,
) -> npt.NDArray[Any]:
    """A sequence of tokens as the reference permutes it: int64 [tokens].

    It is written as text, cut at characters, and each piece becomes tokens again, so that its length may change; a
    special token in it comes back as the tokens of its spelling.  An empty sequence is permuted, too.
    truncate_or_pad: the suffix is cut or padded to the old length; where it is too short for that, the sequence stays
    (the reference gives a pair of it and the generator there), without the last draw.
    """
    if not rng.binomial(1, rate):
        return sample
    text = codec.detokenize(sample)
    start, stop = sorted(rng.randint(low=0, high=len(text) + 1, size=2))
    prefix, middle, suffix = (
        np.array([*codec.tokenize(part)], dtype=np.int64) for part in (text[:start], text[start:stop], text[stop:])
    )
    if truncate_or_pad:
        more = len(prefix) + len(middle) + len(suffix) + 3 - len(sample)
        if more > 0:
            if len(suffix) <= more:
                return sample
            suffix = suffix[:-more]
        elif more < 0:
            suffix = np.concatenate([suffix, np.full(-more, numbers.pad)])
    pieces = arrange(prefix, middle, suffix, spm=bool(rng.binomial(1, spm_rate)))
    marks = {Mark.PREFIX: numbers.prefix, Mark.MIDDLE: numbers.middle, Mark.SUFFIX: numbers.suffix}
    return tokens_of(pieces, lambda text: np.empty(0), marks)


def permute_sample(
    sample: npt.NDArray[Any],
    rng: np.random.RandomState,
    codec: Codec,
    numbers: Numbers,
    *,
    rate: float = RATE,
    spm_rate: float = SPM_RATE,
    fragment_rate: float = RATE,
    split: int | None = None,
) -> npt.NDArray[Any]:
    """A packed sample of tokens as the reference's data set gives it: int64, of the same length.

    Its documents (between end-of-document tokens) are permuted, each with the chance `rate`; with `split` the files of
    a document that has it, with `fragment_rate`, if the document was chosen.  Too long is cut, too short is padded.
    As in the reference the first fragment (`<repo_name>R`) is a file like the others, an empty one goes with its
    separator, and what is behind the last separator is permuted even when it is empty.
    """
    sample = np.asarray(sample, np.int64)
    if not rate:
        return sample

    def one(part: npt.NDArray[Any], chance: float) -> npt.NDArray[Any]:
        return permute(part, rng, chance, spm_rate, codec, numbers)

    def document(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if split is None or split not in part:
            return one(part, rate)
        if not rng.binomial(1, rate):
            return part
        return _each(part, split, lambda fragment: one(fragment, fragment_rate))

    permuted = _each(sample, numbers.end_of_document, document)
    missing = len(sample) - len(permuted)
    return np.concatenate([permuted, np.full(max(missing, 0), numbers.pad)])[: len(sample)]


def _each(
    tokens: npt.NDArray[Any], separator: int, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """`change` on what is between separators; an empty piece goes with the separator behind it."""
    *before, last = _split(tokens, separator)
    parts: list[Any] = []
    for piece in before:
        if len(piece):
            parts += [change(piece), [separator]]
    parts.append(change(last))
    return np.concatenate(parts).astype(np.int64)
