"""What RedPajama-V2's normalisation does to each code point, as tables for `views.norm_words`.

Normalising is: delete ASCII punctuation, `str.lower`, squeeze white space, NFD last
(togethercomputer/RedPajama-Data @ 6d2cee9, app/src/utilities/text/normalization.py).  Lower case and decomposition
of a character depend on the character alone, the capital sigma apart, so both are one table, asked from the
running Python: the values agree with its version of Unicode.
"""

from __future__ import annotations

import string
import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import ASSIGNED, MARK, NUMERIC, SPACE, class_table

# Code points from here on stay as they are: unassigned, private use, or tags and variation selectors.
FOLD_LIMIT = 0x40000
# An entry of `fold` below HIGH is the one character that results.  Others are HIGH | kind << 24 | payload:
HIGH = 1 << 31
FOLD_SPACE = 0  # payload 1 for the newline
FOLD_DELETE = 1  # ASCII punctuation
FOLD_SIGMA = 2  # capital sigma: small or final, by its neighbours
FOLD_CHARS = 2  # kind - FOLD_CHARS characters from `chars[payload]` on, marks or numeric ones among them
NEWLINE = ord("\n")
SIGMA = 0x03A3

# Bits of `context`: what the rule of the final sigma asks of a neighbour.
IGNORED = 1  # case-ignorable: looked through
CASED = 2  # has case and is not ignored


class FoldTables(NamedTuple):
    """fold [FOLD_LIMIT] uint32 and chars uint32 as above; classes and context [1114112]
    uint8, combining class and the bits above."""

    fold: npt.NDArray[np.uint32]
    chars: npt.NDArray[np.uint32]
    classes: npt.NDArray[np.uint8]
    context: npt.NDArray[np.uint8]


def _context() -> npt.NDArray[np.uint8]:
    """Read off what `str.lower` makes of a sigma behind the character, with and without a letter before it."""
    table = np.zeros(len(class_table()), np.uint8)

    def final(before: str, chars: list[str]) -> npt.NDArray[np.bool_]:
        lowered = "".join([f"{before}{c}\u03a3\n" for c in chars]).lower()
        points = np.frombuffer(lowered.encode("utf-32-le", "surrogatepass"), np.uint32)
        return points[np.flatnonzero(points == NEWLINE) - 1] == 0x03C2

    for block in ASSIGNED:
        chars = [" " if c == NEWLINE else chr(c) for c in block]
        alone = final("", chars)
        part = table[block.start : block.stop]
        part[alone] = CASED
        part[final("A", chars) & ~alone] = IGNORED
    return table


@lru_cache(maxsize=1)
def fold_tables() -> FoldTables:
    """Built once a process, in about 0.3 s."""
    every = [chr(c) for c in range(FOLD_LIMIT)]
    every[NEWLINE] = " "
    # A newline between the characters keeps each to itself: it has no case, and no mark moves over it.
    chars = np.frombuffer(
        unicodedata.normalize("NFD", "\n".join(every).lower()).encode("utf-32-le", "surrogatepass"), np.uint32
    )
    ends = np.append(np.flatnonzero(chars == NEWLINE), len(chars))
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts
    bits = class_table()
    special = np.zeros(len(chars) + 1, np.int64)
    np.cumsum(bits[chars] & (MARK | NUMERIC) != 0, out=special[1:])
    listed = (lengths != 1) | (special[ends] > special[starts])
    fold = chars[starts].copy()
    # Only the listed characters stay in `chars`.
    kept = np.repeat(listed, lengths)
    inner = np.ones(len(chars), bool)
    inner[ends[:-1]] = False
    sequences = chars[inner][kept]
    places = np.zeros(FOLD_LIMIT + 1, np.int64)
    np.cumsum(np.where(listed, lengths, 0), out=places[1:])
    fold[listed] = (HIGH | (lengths[listed] + FOLD_CHARS) << 24 | places[:-1][listed]).astype(np.uint32)
    fold[bits[:FOLD_LIMIT] & SPACE != 0] = HIGH | FOLD_SPACE << 24
    fold[NEWLINE] = HIGH | FOLD_SPACE << 24 | 1
    fold[np.frombuffer(string.punctuation.encode(), np.uint8)] = HIGH | FOLD_DELETE << 24
    fold[SIGMA] = HIGH | FOLD_SIGMA << 24
    classes = np.zeros(len(bits), np.uint8)
    for c in np.flatnonzero(bits[:FOLD_LIMIT] & MARK).tolist():
        classes[c] = unicodedata.combining(chr(c))
    return FoldTables(fold, sequences, classes, _context())
