"""Tokens of normalised lines, and the vocabulary that gives each its number.

A token is a range of UTF-8 bytes.  unit "word": what stands between white space; unit "character": each code point,
and `BLANK` for each run of white space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import mix
from quality_signals.compiled import njit

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

UNITS = ("word", "character")
BLANK = "\u2581"  # the mark that SentencePiece writes for a space
UNKNOWN, BEGIN, END = 0, 1, 2  # ids of <unk>, <s>, </s>
MARKS = ("<unk>", "<s>", "</s>")


class Tokens(NamedTuple):
    """utf8[starts[i]:ends[i]] is token i; the tokens of line l are offsets[l] to offsets[l + 1]."""

    utf8: Bytes
    starts: Ints
    ends: Ints
    offsets: Ints


@njit(error_model="numpy")
def space_bytes(utf8, i, end):  # type: ignore[no-untyped-def]
    """Bytes of the white space (str.isspace) at utf8[i], 0 if there is none."""
    c = utf8[i]
    if c < 0x80:
        return 1 if c == 0x20 or 0x09 <= c <= 0x0D or 0x1C <= c <= 0x1F else 0
    if c == 0xC2:
        return 2 if utf8[i + 1] == 0x85 or utf8[i + 1] == 0xA0 else 0
    if c < 0xE1 or c > 0xE3:
        return 0
    d = utf8[i + 1]
    e = utf8[i + 2]
    if c == 0xE1:
        return 3 if d == 0x9A and e == 0x80 else 0
    if c == 0xE3:
        return 3 if d == 0x80 and e == 0x80 else 0
    if d == 0x80:
        return 3 if e <= 0x8A or e == 0xA8 or e == 0xA9 or e == 0xAF else 0
    return 3 if d == 0x81 and e == 0x9F else 0


@njit(error_model="numpy")
def _split(utf8, lines, characters, blank, starts, ends, offsets):  # type: ignore[no-untyped-def]
    """blank: where the bytes of BLANK stand in utf8."""
    n = 0
    for line in range(len(lines) - 1):
        i = lines[line]
        end = lines[line + 1]
        while i < end:
            width = space_bytes(utf8, i, end)
            if width:
                while i < end:
                    width = space_bytes(utf8, i, end)
                    if width == 0:
                        break
                    i += width
                if characters:
                    starts[n] = blank
                    ends[n] = blank + 3
                    n += 1
                continue
            starts[n] = i
            i += 1
            if characters:
                while i < end and utf8[i] & 0xC0 == 0x80:
                    i += 1
            else:
                while i < end and space_bytes(utf8, i, end) == 0:
                    i += 1
            ends[n] = i
            n += 1
        offsets[line + 1] = n
    return n


def split(utf8: Bytes, lines: Ints, unit: str) -> Tokens:
    """Tokens of the lines utf8[lines[l]:lines[l + 1]]."""
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r}; {' or '.join(UNITS)}")
    blank = np.frombuffer(BLANK.encode(), np.uint8)
    joined = np.concatenate([utf8, blank])
    most = len(utf8) if unit == "character" else len(utf8) // 2 + len(lines)
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    offsets = np.zeros(len(lines), np.int64)
    n = _split(joined, lines, unit == "character", len(utf8), starts, ends, offsets)
    return Tokens(joined, starts[:n], ends[:n], offsets)


@njit(error_model="numpy")
def _intern(utf8, starts, ends, ids, words, offsets, counts, slots, known, grow):  # type: ignore[no-untyped-def]
    """ids of the tokens in a vocabulary of `known` words; grow: unknown ones are added, else they get 0.

    The caller sees to it that words, offsets, counts and slots (a power of two, -1 where free) are large enough.
    """
    mask = len(slots) - 1
    for token in range(len(starts)):
        start = starts[token]
        end = ends[token]
        h = np.uint64(0xCBF29CE484222325)
        for i in range(start, end):
            h = (h ^ np.uint64(utf8[i])) * np.uint64(0x100000001B3)
        slot = np.int64(mix(h) & np.uint64(mask))
        found = -1
        while slots[slot] >= 0:
            word = slots[slot]
            at = offsets[word]
            if offsets[word + 1] - at == end - start:
                same = True
                for i in range(end - start):
                    if words[at + i] != utf8[start + i]:
                        same = False
                        break
                if same:
                    found = word
                    break
            slot = (slot + 1) & mask
        if found < 0:
            if not grow:
                ids[token] = 0
                continue
            found = known
            slots[slot] = found
            at = offsets[found]
            for i in range(end - start):
                words[at + i] = utf8[start + i]
            offsets[found + 1] = at + end - start
            known += 1
        if grow:
            counts[found] += 1
        ids[token] = found
    return known


class Vocabulary:
    """Distinct words, numbered as they come, after the marks.  A word of a text that reads like a mark is number 0.

    Memory: the words' bytes, 16 bytes a word, and 8 to 16 bytes of slots a word.
    """

    def __init__(self, words: Sequence[bytes] = (), marks: Sequence[str] = MARKS) -> None:
        self.size = 0
        self._marks = len(marks)
        self._words = np.zeros(1 << 12, np.uint8)
        self._offsets = np.zeros(1 << 8, np.int64)
        self._counts = np.zeros(1 << 8, np.int64)
        self._slots = np.full(1 << 10, -1, np.int32)
        self._add([mark.encode() for mark in marks])
        self._add(words)
        if self.size != len(marks) + len(words):
            raise ValueError("a word stands twice in the vocabulary")

    def _add(self, words: Sequence[bytes]) -> None:
        utf8 = np.frombuffer(b"".join(words), np.uint8)
        ends = np.cumsum([len(word) for word in words], dtype=np.int64)
        self._interned(utf8, np.concatenate([np.zeros(1, np.int64), ends])[: len(words)], ends, True)

    def _interned(self, utf8: Bytes, starts: Ints, ends: Ints, grow: bool) -> Ids:
        ids = np.empty(len(starts), np.int32)
        if grow:
            self._reserve(self.size + len(starts), int(self._offsets[self.size]) + int((ends - starts).sum()))
        self.size = _intern(
            utf8, starts, ends, ids, self._words, self._offsets, self._counts, self._slots, self.size, grow
        )
        return ids

    def _reserve(self, words: int, size: int) -> None:
        def grown(array: npt.NDArray, least: int) -> npt.NDArray:  # type: ignore[type-arg]
            if len(array) >= least:
                return array
            longer = np.zeros(max(least, 2 * len(array)), array.dtype)
            longer[: len(array)] = array
            return longer

        self._words = grown(self._words, size)
        self._offsets = grown(self._offsets, words + 1)
        self._counts = grown(self._counts, words)
        if len(self._slots) < 2 * words:
            known = self.size
            self._slots = np.full(1 << (2 * words).bit_length(), -1, np.int32)
            self.size = 0
            ids = np.empty(known, np.int32)
            counts = self._counts.copy()
            kept, offsets = self._words.copy(), self._offsets[: known + 1].copy()
            self.size = _intern(
                kept, offsets[:-1], offsets[1:], ids, self._words, self._offsets, self._counts, self._slots, 0, True
            )
            self._counts[:] = counts

    def add(self, tokens: Tokens) -> Ids:
        """Ids of the tokens; new words are added, and every occurrence is counted."""
        ids = self._interned(tokens.utf8, tokens.starts, tokens.ends, True)
        return np.where(ids < self._marks, np.int32(UNKNOWN), ids)

    def ids(self, tokens: Tokens) -> Ids:
        """Ids of the tokens, 0 for those that are not in the vocabulary."""
        ids = self._interned(tokens.utf8, tokens.starts, tokens.ends, False)
        return np.where(ids < self._marks, np.int32(UNKNOWN), ids)

    @property
    def counts(self) -> Ints:
        """[words] occurrences given to `add`, once more for each word given at construction."""
        return self._counts[: self.size].copy()

    def words(self) -> list[bytes]:
        """All words, the marks first."""
        joined, ends = self._words.tobytes(), self._offsets[: self.size + 1].tolist()
        return [joined[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
