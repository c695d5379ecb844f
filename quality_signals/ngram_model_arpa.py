"""ARPA files: n-gram models as text, as SRILM, KenLM and others read and write them.

    \\data\\
    ngram 1=6
    ngram 2=9

    \\1-grams:
    -1.2041<tab>mill<tab>-0.30103         log10 probability, words, log10 backoff (left out: 0)
    ...
    \\end\\
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from quality_signals.model_files import ModelFileError
from quality_signals.ngram_model_tables import MAX_ORDER, Level, gram_rows, tables
from quality_signals.ngram_model_tokens import BEGIN, MARKS, UNKNOWN

MISSING_UNKNOWN = -100.0  # log10 probability of <unk> where a model has none: KenLM's, lm/config.cc
_OTHER_SPELLINGS = {b"<UNK>": b"<unk>", b"<S>": b"<s>", b"</S>": b"</s>"}


def write_arpa(path: str | os.PathLike[str], words: Sequence[bytes], levels: Sequence[Level]) -> None:
    """Writes the model; numbers are written so that reading gives the same float32.

    words: [rows of order 1], UTF-8 without white space.  The file is replaced at once, when it is complete.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(b"\\data\\\n")
            for k, level in enumerate(levels, 1):
                file.write(b"ngram %d=%d\n" % (k, len(level.word)))
            names: list[bytes] = [b""]
            for k, level in enumerate(levels, 1):
                file.write(b"\n\\%d-grams:\n" % k)
                names = [
                    words[word] if k == 1 else names[context] + b" " + words[word]
                    for context, word in zip(level.context.tolist(), level.word.tolist(), strict=True)
                ]
                probabilities = level.log_probability.astype("U").tolist()
                backoffs = level.log_backoff.astype("U").tolist()
                for name, probability, backoff in zip(names, probabilities, backoffs, strict=True):
                    tail = f"\t{backoff}\n" if k < len(levels) else "\n"
                    file.write(probability.encode() + b"\t" + name + tail.encode())
            file.write(b"\n\\end\\\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


class _Lines:
    """The lines of an ARPA file without blank ones, and errors that name the place."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path, self.file, self.number = path, file, 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            for line in self.file:
                self.number += 1
                line = line.strip()
                if line:
                    yield line
        except (EOFError, OSError) as error:
            raise self.error(f"cannot read on: {error}") from error

    def error(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: line {self.number}: {what}")


def is_arpa(head: bytes) -> bool:
    """Whether a file that starts with these bytes may be an ARPA file (perhaps compressed by gzip)."""
    return head.lstrip().startswith(b"\\data\\") or head.startswith(b"\x1f\x8b")


def read_arpa(path: str | os.PathLike[str]) -> tuple[list[bytes], list[Level]]:
    """The words and levels of an ARPA file, perhaps compressed by gzip.

    Words are numbered <unk>, <s>, </s> and then as in the file; n-grams of higher orders keep the file's order.
    ModelFileError names file, line and what is wrong: cut short, counts that differ from the header, an n-gram
    whose words or context are not there, one that stands twice, what is not a number.  Holds the model in memory,
    about 150 bytes an n-gram while it is read.
    """
    name = str(path)
    try:
        with open(name, "rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(name, "rb") if packed else open(name, "rb") as file:
            return _read(_Lines(name, file))  # type: ignore[arg-type]
    except OSError as error:
        raise ModelFileError(f"{name}: cannot be read as an ARPA file ({error})") from error


def _read(lines: _Lines) -> tuple[list[bytes], list[Level]]:
    source = iter(lines)
    if next(source, b"") != b"\\data\\":
        raise lines.error("an ARPA file starts with \\data\\")
    sizes: list[int] = []
    line = b""
    for line in source:
        if not line.startswith(b"ngram "):
            break
        order, _, count = line[6:].partition(b"=")
        if order.strip() != b"%d" % (len(sizes) + 1) or not count.strip().isdigit():
            raise lines.error(f"expected 'ngram {len(sizes) + 1}=<count>', found {_shown(line)}")
        sizes.append(int(count))
    if not 1 <= len(sizes) <= MAX_ORDER:
        raise lines.error(f"{len(sizes)} orders in the header; 1 to {MAX_ORDER}")
    words: list[bytes] = [mark.encode() for mark in MARKS]
    numbers = {word: i for i, word in enumerate(words)}
    levels: list[Level] = []
    for k, size in enumerate(sizes, 1):
        if line != b"\\%d-grams:" % k:
            raise lines.error(f"expected \\{k}-grams:, found {_shown(line)}" if line else "the file is cut short")
        grams: list[int] = []
        values: list[tuple[float, float]] = []
        line = b""
        for line in source:
            if line.startswith(b"\\"):
                parts = line.split()
                if len(parts) == 1:  # a word may start with a backslash, a number may not
                    break
            if len(values) == size:
                raise lines.error(f"more {k}-grams than the {size} of the header")
            _, parsed = _entry(lines, line, k, len(sizes), numbers, words, grams)
            values.append(parsed)
            line = b""
        if len(values) != size:
            cut = "the file is cut short: " if not line else ""
            raise lines.error(f"{cut}{len(values)} {k}-grams, the header says {size}")
        levels.append(_level(lines, k, grams, values, levels, len(words)))
    if line != b"\\end\\":
        raise lines.error(
            "the file is cut short: no \\end\\" if not line else f"expected \\end\\, found {_shown(line)}"
        )
    return words, levels


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace"))


def _entry(
    lines: _Lines, line: bytes, k: int, orders: int, numbers: dict[bytes, int], words: list[bytes], grams: list[int]
) -> tuple[int, tuple[float, float]]:
    """Appends the ids of one n-gram to `grams`; returns their number and its two values."""
    parts = line.split()
    if not k + 1 <= len(parts) <= k + 1 + (k < orders):
        raise lines.error(f"not a {k}-gram: {_shown(line)}")
    try:
        probability = float(parts[0])
        backoff = float(parts[k + 1]) if len(parts) == k + 2 else 0.0
    except ValueError:
        raise lines.error(f"not a number in {_shown(line)}") from None
    if math.isnan(probability) or math.isnan(backoff) or probability > 0:
        raise lines.error(f"not the logarithm of a probability in {_shown(line)}")
    for word in parts[1 : k + 1]:
        word = _OTHER_SPELLINGS.get(word, word)
        number = numbers.get(word)
        if k == 1:
            if number is None:
                number = numbers[word] = len(words)
                words.append(word)
            elif number >= len(MARKS) or number in grams:
                raise lines.error(f"the 1-gram {_shown(word)} stands twice")
        elif number is None:
            raise lines.error(f"the word {_shown(word)} has no 1-gram")
        grams.append(number)
    return k, (probability, backoff)


def _level(
    lines: _Lines, k: int, grams: list[int], values: list[tuple[float, float]], lower: list[Level], words: int
) -> Level:
    pairs = np.array(values, np.float64).reshape(-1, 2).astype(np.float32)
    ids = np.array(grams, np.int32).reshape(-1, k)
    if k == 1:
        numbers = np.arange(words, dtype=np.int32)
        probability, backoff = np.zeros(words, np.float32), np.zeros(words, np.float32)
        probability[UNKNOWN] = MISSING_UNKNOWN
        probability[BEGIN] = MISSING_UNKNOWN
        probability[BEGIN + 1] = MISSING_UNKNOWN
        probability[ids[:, 0]], backoff[ids[:, 0]] = pairs[:, 0], pairs[:, 1]
        return Level(np.zeros(words, np.int32), numbers, probability, backoff)
    context = ids[:, 0].astype(np.int64) if k == 2 else gram_rows(ids[:, :-1], tables(lower))
    missing = np.flatnonzero(context < 0)
    if len(missing):
        raise lines.error(f"{k}-gram {missing[0] + 1}: its context, the first {k - 1} words, is not in the file")
    found = Level(context.astype(np.int32), ids[:, -1].copy(), pairs[:, 0].copy(), pairs[:, 1].copy())
    try:
        tables([*lower, found])
    except ValueError as error:
        raise lines.error(str(error)) from error
    return found
