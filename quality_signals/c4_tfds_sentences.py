"""Sentences of a line for `c4@tfds`: a counter without a model, and nltk's Punkt where the user has it.

The counter, of a line that holds a word: one, and one more for each place where a sentence ends before the end of the
line.  A sentence ends at a row of . ? ! (and of closing quotes and brackets behind it) that is followed by white space
and then by anything but a lower-case letter or one more mark, unless the row is one full stop behind an abbreviation of
ABBREVIATIONS, a single letter ("J. Smith"), or a word that holds a full stop already ("U.S. Army", "e.g. this";
looked for in the last 64 characters).
So abbreviations that end a sentence do not count, as they rarely do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import ALPHA, LOWER, SPACE
from quality_signals.compiled import njit

# Common English abbreviations before a capital or a number; collected for this project.
ABBREVIATIONS = (
    "mr mrs ms dr prof rev hon gen col maj capt lt sgt gov sen rep st mt ft jr sr bros inc ltd co corp vs etc al "
    "approx dept est fig figs no nos vol vols ed eds pp sec art ch cf jan feb mar apr jun jul aug sep sept oct nov dec"
).split()
_WORD = 64  # characters of a word that are looked at
_MAX_LETTERS = 8  # of an abbreviation: eight 7-bit letters are one number

_DOT, _QUESTION, _EXCLAMATION = (ord(c) for c in ".?!")


@lru_cache(maxsize=1)
def abbreviation_keys() -> npt.NDArray[np.uint64]:
    """ABBREVIATIONS as numbers of 7 bits a letter."""
    keys = []
    for word in ABBREVIATIONS:
        key = 0
        for letter in word:
            key = key << 7 | ord(letter)
        keys.append(key)
    return np.array(keys, dtype=np.uint64)


@njit(error_model="numpy")
def _closes(c):  # type: ignore[no-untyped-def]
    """Closing quotes and brackets: " ' ) ] } and their typographic forms."""
    return c == 34 or c == 39 or c == 41 or c == 93 or c == 125 or c == 0x2019 or c == 0x201D or c == 0xBB


@njit(error_model="numpy")
def _abbreviates(points, low, dot, table, keys):  # type: ignore[no-untyped-def]
    """Whether the word before the full stop at `dot` is an abbreviation."""
    start = dot
    key = np.uint64(0)
    while start > low and not table[points[start - 1]] & SPACE:
        start -= 1
        if points[start] == _DOT:
            return True
        if dot - start > _WORD:
            return False
    while start < dot and not table[points[start]] & ALPHA:
        start += 1
    if dot - start == 1:
        return True
    if dot - start > _MAX_LETTERS:
        return False
    for i in range(start, dot):
        c = points[i]
        if not 97 <= (c | 32) <= 122:
            return False
        key = key << np.uint64(7) | np.uint64(c | 32)
    for each in keys:
        if each == key:
            return True
    return False


@njit(error_model="numpy")
def count_sentences(points, low, high, table, keys):  # type: ignore[no-untyped-def]
    """Sentences of points[low:high], see above; 0 without a character but white space.

    table: of `codepoints.class_table`; keys: of `abbreviation_keys`.  Time linear in the characters.
    """
    count = 0
    i = low
    open_ = False  # whether a sentence has begun
    while i < high:
        c = points[i]
        if not (c == _DOT or c == _QUESTION or c == _EXCLAMATION):
            open_ |= not table[c] & SPACE
            i += 1
            continue
        open_ = True
        first = i
        while i < high and (points[i] == _DOT or points[i] == _QUESTION or points[i] == _EXCLAMATION):
            i += 1
        single = i == first + 1 and c == _DOT
        while i < high and _closes(points[i]):
            i += 1
        behind = i
        while i < high and table[points[i]] & SPACE:
            i += 1
        if i == high or i == behind:
            continue
        c = points[i]
        if table[c] & LOWER or c == _DOT or c == _QUESTION or c == _EXCLAMATION:
            continue
        if single and _abbreviates(points, low, first, table, keys):
            continue
        count += 1
        open_ = False
    return count + open_


@njit(error_model="numpy")
def ends_sentence(points, low, high, table, keys):  # type: ignore[no-untyped-def]
    """Whether a sentence ends with the word points[low:high] of str.split, unless a lower-case letter, a mark or
    nothing follows: `count_sentences` is one more than such words, where there is a word."""
    i = low
    while i < high:
        c = points[i]
        if not (c == _DOT or c == _QUESTION or c == _EXCLAMATION):
            i += 1
            continue
        first = i
        while i < high and (points[i] == _DOT or points[i] == _QUESTION or points[i] == _EXCLAMATION):
            i += 1
        single = i == first + 1 and c == _DOT
        while i < high and _closes(points[i]):
            i += 1
        if i == high:
            return not (single and _abbreviates(points, low, first, table, keys))
    return False


@lru_cache(maxsize=1)
def load_punkt() -> Callable[[str], Sequence[str]]:
    """nltk's English Punkt tokenizer.  Raises ImportError without nltk, LookupError without its data."""
    try:
        import nltk
    except ImportError as error:
        raise ImportError("c4@tfds: sentences='punkt' needs the package nltk") from error
    try:
        from nltk.tokenize.punkt import PunktTokenizer  # nltk >= 3.8.2, data punkt_tab

        return PunktTokenizer("english").tokenize
    except (ImportError, LookupError):
        pass
    try:
        return nltk.data.load("tokenizers/punkt/english.pickle").tokenize
    except (LookupError, ValueError) as error:
        raise LookupError("c4@tfds: nltk has no English Punkt model; nltk.download('punkt_tab') fetches it") from error
